"""The pages build as a site, in which every internal link and anchor leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link or a page outside the navigation fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_the_pages_from_outside_the_folder_of_docs(site: Path) -> None:
    for name in ("index.html", "quickstart.html", "CONTRIBUTING.html", "jobs/index.html", "jobs/slurm.sbatch"):
        assert (site / name).is_file()


def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(\w+:)?//", text)
        fetched += re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)[^>]+href=\"?(\w+:)?//", text)
        assert not fetched, page


def test_reports_say_that_they_are(site: Path) -> None:
    """A reader who wants to use the package is to see that these pages are not needed for it."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    reports = re.findall(r"- (\S+\.md)", navigation.partition("- Engineering reports:")[2])
    assert reports
    for name in reports:
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert re.match(r"# [^\n]+\n\n> \*\*Engineering report\.\*\* ", page), name
