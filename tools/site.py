"""Adds to the documentation site what lies outside docs/. mkdocs.yml names this module as a hook.

In the repository, README.md links to `docs/reading.md` and the pages in docs/ link to `../jobs/README.md`. The site has
docs/ as its root, so such links are rewritten and the files that they lead to are added.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md"} | {name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "jobs/README.md")}
FOLDERS = ("jobs", "benchmarks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/. MkDocs calls this when it has listed docs/."""
    scripts = {
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).iterdir() if path.is_file()
    }
    for name, source in ({name: name for name in scripts} | PAGES).items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite links between docs/ and the folders beside it. MkDocs calls this for each page before it renders it."""
    if page.file.src_uri == "jobs/README.md":
        return markdown.replace("](../docs/", "](../")
    return re.sub(r"\]\((?:\.\./|docs/)", "](", markdown)
