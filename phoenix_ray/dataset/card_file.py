"""Writes the dataset card at the end of a run and of a compaction, unless a person has edited it.

The last line of a card that phoenix_ray wrote is a comment with the sha256 of the text above it. Where that still
fits, nobody has edited the card, and it is written anew with the dataset. An edited card stays as it is; the run says
so where its YAML no longer fits the data files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import STATE_PREFIX, CardWords, describe_state, make_card, parse_front_matter
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import Manifest, newest_generation, read_manifest
from phoenix_ray.dataset.sealing import parse_mapping
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import printable_line

_MARK = "<!-- phoenix_ray writes this file anew until it is edited. "
_MARK_END = " -->\n"
_LAST_LINE = re.compile(f"{re.escape(_MARK)}(.*){re.escape(_MARK_END)}")
_SPLITS_NAMED = 5


@dataclass(frozen=True, slots=True)
class _OwnCard:
    """A card that nobody has edited."""

    text: str
    words: CardWords


def write_card(storage: Storage, identity: DatasetIdentity, words: CardWords, say: Callable[[str], None]) -> None:
    """Bring the card up to date with the newest manifest; without data files, only a card that is there.

    Args:
        storage: The dataset.
        identity: Its identity.
        words: What the caller knows beside them; an empty word keeps that of the card.
        say: Receives a line where the card was edited and no longer fits, or cannot be read or written.
    """
    try:
        while True:
            manifest = read_manifest(storage, identity)
            # After a drop of all videos the card would still count them; it may also have the licence.
            if not manifest.files and not _has_card(storage):
                return
            if line := _bring_up_to_date(storage, identity, manifest, words):
                say(line)
            # As for `videos.parquet`: the last to write it has seen the newest generation.
            if newest_generation(storage) == manifest.generation:
                return
    except OutputError as error:
        say(f"The dataset card could not be written. {error}")


def _has_card(storage: Storage) -> bool:
    try:
        return bool(storage.read(paths.CARD))
    except FileNotFoundError:
        return False


def is_edited(storage: Storage) -> bool:
    """Whether a dataset has a card that a person has written or edited."""
    try:
        return _parse_own(storage.read(paths.CARD).decode("utf-8", "replace")) is None
    except FileNotFoundError:
        return False


def _bring_up_to_date(storage: Storage, identity: DatasetIdentity, manifest: Manifest, words: CardWords) -> str:
    """Write the card where it is missing or outdated; return what is wrong with an edited one, or an empty text."""
    try:
        present = storage.read(paths.CARD).decode("utf-8", "replace")
    except FileNotFoundError:
        present = None
    own = _parse_own(present) if present is not None else None
    if present is not None and own is None:
        problem = _misfit(present, manifest)
        line = printable_line(f"{storage.root}/{paths.CARD} was edited and stays as it is, but {problem}.")
        return f"{line} Change its `configs`, or move it away to have it written anew." if problem else ""
    known = own.words if own else CardWords()
    merged = CardWords(words.license or known.license, words.source or known.source)
    text = _sealed(make_card(identity, find_layout(identity), manifest, merged), merged)
    if text != present:
        storage.write(paths.CARD, text.encode())
    return ""


def _sealed(text: str, words: CardWords) -> str:
    tree = {"license": words.license, "source": words.source, "sha256": _digest(text, words)}
    # No text may end the comment.
    line = json.dumps(tree).replace(">", "\\u003e")
    return f"{text}\n{_MARK}{line}{_MARK_END}"


def _parse_own(card: str) -> _OwnCard | None:
    """Return a card that phoenix_ray wrote; None where it was edited, or is another file."""
    head, newline, last = card.removesuffix("\n").rpartition("\n")
    found = _LAST_LINE.fullmatch(f"{last}\n")
    if not newline or not found:
        return None
    try:
        tree = parse_mapping(found[1])
    except ValueError:
        return None
    words = CardWords(str(tree.get("license", "")), str(tree.get("source", "")))
    return _OwnCard(head, words) if tree.get("sha256") == _digest(head, words) else None


def _digest(text: str, words: CardWords) -> str:
    content = json.dumps([text, words.license, words.source])
    return hashlib.sha256(content.encode()).hexdigest()


def _misfit(card: str, manifest: Manifest) -> str:
    """Return how the YAML of an edited card does not fit the data files; empty where it does."""
    try:
        configs = parse_front_matter(card.replace("\r\n", "\n")).get("configs")
    except ValueError as error:
        return f"its YAML cannot be read ({str(error).splitlines()[0]})"
    patterns = set(_patterns(configs, set()))
    files = {file.name: file.split for file in manifest.files}
    if not any(pattern.startswith((f"{paths.DATA}/", "*")) for pattern in patterns):
        return "its YAML names no data files, so that Hugging Face's `datasets` puts everything into one split"
    uncovered = {split for name, split in files.items() if not any(fnmatchcase(name, pattern) for pattern in patterns)}
    if uncovered:
        named = ", ".join(f"'{split}'" for split in sorted(uncovered)[:_SPLITS_NAMED])
        return f"its YAML lacks the files of {len(uncovered)} of {len(set(files.values()))} splits: {named}"
    for pattern in sorted(patterns):
        if pattern.startswith(f"{paths.DATA}/") and not any(fnmatchcase(name, pattern) for name in files):
            return f"no data file has a name like {pattern}, which its YAML asks for"
    if set(_states(configs)) - {state := describe_state(manifest)}:
        return (
            f"its YAML describes earlier data files, so that `load_dataset` may return earlier rows from its cache: "
            f"write `description: {state}`"
        )
    return ""


def _states(configs: object) -> Iterator[str]:
    """Yield each `description` in the `configs` of a card that phoenix_ray has written."""
    for config in configs if isinstance(configs, list) else ():
        state = config.get("description") if isinstance(config, dict) else None
        if isinstance(state, str) and state.startswith(STATE_PREFIX):
            yield state


def _patterns(tree: object, seen: set[int]) -> Iterator[str]:
    """Yield the patterns in the `configs` of a card, whichever of their forms they have.

    YAML may repeat a part of itself, and a few lines may so stand for billions: `seen` holds the parts that were read.
    """
    if isinstance(tree, str):
        yield tree.removeprefix("./")
    elif isinstance(tree, (list, dict)) and id(tree) not in seen:
        seen.add(id(tree))
        items: Iterable[object] = tree
        if isinstance(tree, dict):
            named = tree.keys() & {"data_files", "path", "config_name"}
            items = (tree.get("data_files"), tree.get("path")) if named else tree.values()
        for item in items:
            yield from _patterns(item, seen)
