"""What an output folder of `phoenix-ray prepare` is made from, and how far it is.

`begun.json` says what the files depend on; a receipt follows each shard; `prepare.json` comes last and takes the
receipts in. So a stopped run goes on behind the last receipt, and an output of another dataset or of other settings is
refused, never mixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError

REPORT = "prepare.json"
BEGUN = "begun.json"
RECEIPTS = "receipts"

Json = dict[str, Any]


def begin(storage: Storage, description: Mapping[str, Any]) -> Json | None:
    """Record what is about to be done, or check that it is what was begun or finished here.

    Args:
        storage: The output.
        description: All that the files depend on.

    Returns:
        The report, if everything has been done before.

    Raises:
        OutputError: The folder holds something else.
    """
    names = {file.name for file in storage.list("") if not file.temporary}
    record = next((name for name in (REPORT, BEGUN) if name in names), None)
    if record is None:
        if names:
            raise OutputError(f"{storage.root} holds other files ({min(names)}, …): give a new or empty folder.")
        storage.write(BEGUN, _to_json(description))
        return None
    was = _read(storage, record)
    now = json.loads(_to_json(description))
    changed = [key for key in now if was.get(key) != now[key]]
    if changed:
        raise OutputError(
            f"{storage.root} was made from something else ({', '.join(changed)} differ, see {record}): give a new "
            "folder, or delete that one."
        )
    return was if record == REPORT else None


def shards_done(storage: Storage) -> set[str]:
    """Return the names of the shards that have a receipt."""
    return {file.name.removeprefix(f"{RECEIPTS}/") for file in storage.list(RECEIPTS) if not file.temporary}


def record(storage: Storage, shard: str, receipt: Mapping[str, Any]) -> None:
    """Write the receipt of a shard, whose files are all in place."""
    storage.write(f"{RECEIPTS}/{shard}", _to_json(receipt))


def finish(storage: Storage, description: Mapping[str, Any], shards: Iterable[str]) -> Json:
    """Write and return the report: the description, the counts of each split added up, and every file.

    Args:
        storage: The output.
        description: As in `begin`.
        shards: The names of all shards, in order; each has a receipt {split, counts, files}.
    """
    splits: dict[str, Json] = {}
    files: list[Json] = []
    for receipt in (_read(storage, f"{RECEIPTS}/{shard}") for shard in shards):
        counts = splits.setdefault(receipt["split"], {})
        for key, value in receipt["counts"].items():
            counts[key] = counts[key] + value if key in counts else value
        files += receipt["files"]
    report = {**description, "splits": splits, "files": files}
    storage.write(REPORT, _to_json(report))
    return report


def tidy(storage: Storage) -> None:
    """Delete what the report has made superfluous: receipts, and what a killed run has left half written."""
    for file in list(storage.list("")):
        if file.temporary or file.name == BEGUN or file.name.startswith(f"{RECEIPTS}/"):
            storage.delete(file.name)


def _to_json(tree: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file."""
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def _read(storage: Storage, name: str) -> Json:
    try:
        return dict(json.loads(storage.read(name)))
    except ValueError as error:
        raise OutputError(f"{storage.root}/{name} is damaged ({error}): delete the folder and start again.") from None
