"""What is installed, and the landmark digests of a dataset, as JSON: `python inspect_environment.py [DATASET]`.

Runs with the interpreter of an environment that is tested, so it needs nothing of the checkout.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distributions


def main() -> None:
    """Print versions by name, and digests by "split/video"."""
    names = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in distributions()}
    found: dict[str, dict[str, str]] = {"versions": names, "digests": {}}
    if len(sys.argv) > 1:
        import pyarrow.parquet as pq

        rows = pq.read_table(f"{sys.argv[1]}/videos.parquet", columns=["split", "video_id", "landmark_digest"])
        found["digests"] = {f"{row['split']}/{row['video_id']}": row["landmark_digest"] for row in rows.to_pylist()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
