"""Runs the loaders of other projects on what we export: their own code, in a process of its own.

The projects are looked for in the folder that PHOENIX_RAY_PEERS names, one checkout each:

    MSKA/         https://github.com/sutwangyan/MSKA
    SLRT/         https://github.com/FangyunWei/SLRT
    mmpose/       https://github.com/open-mmlab/mmpose
    site-packages/  packages that a loader imports and our environment lacks (pip install --no-deps --target)

MSKA and TwoStreamNetwork import much that their loaders never call (tensorflow, wandb, tkinter, …): such modules are
replaced by empty ones where they are not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PREAMBLE = """
import importlib.abc, importlib.machinery, json, sys
from unittest.mock import MagicMock

class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        pass

sys.meta_path.append(Absent())
sys.modules.update({{name: MagicMock() for name in {absent!r} if "." in name}})
sys.path[:0] = {paths!r}
given = json.loads(sys.argv[1])

def answer(value):
    print("ANSWER" + json.dumps(value))
"""


def peer(name: str) -> Path:
    """Return the checkout of a project, or skip the test where it is absent."""
    folder = os.environ.get("PHOENIX_RAY_PEERS")
    if not folder:
        pytest.skip("PHOENIX_RAY_PEERS names no folder with checkouts of other projects")
    found = Path(folder) / name
    if not found.is_dir():
        pytest.skip(f"no {found}")
    return found


def ask(root: Path, script: str, given: dict[str, Any], absent: tuple[str, ...] = ()) -> Any:
    """Run a script with a project on the path and return what it passes to `answer`.

    Args:
        root: Folder to import from and to run in.
        script: Python; it has `given` and `answer`.
        given: Plain values for it.
        absent: Modules that are replaced by empty ones where they are not installed, those with a dot in any case.
    """
    extra = Path(os.environ["PHOENIX_RAY_PEERS"]) / "site-packages"
    source = _PREAMBLE.format(absent=absent, paths=[str(root), str(extra)]) + script
    done = subprocess.run(
        [sys.executable, "-c", source, json.dumps(given)], cwd=root, capture_output=True, text=True, timeout=250
    )
    if "No module named" in done.stderr:
        pytest.skip(f"{root.name}: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])
