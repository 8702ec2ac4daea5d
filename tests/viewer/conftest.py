from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.viewer.made_up import compute, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("viewer") / "source")


@pytest.fixture(scope="module")
def dataset(source: Path) -> Path:
    return compute(source, source.parent / "output")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium. `make setup-browser` installs it; without it a test that asks for it is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup-browser")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program = str(own) if own.exists() else shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            pytest.skip("there is no Chromium: make setup-browser")
        # As root, which CI often is, Chromium has no sandbox. It opens our own pages alone.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
