"""`python -m phoenix_ray.run`: the same as `phoenix-ray run`."""

from __future__ import annotations

import sys

from phoenix_ray.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
