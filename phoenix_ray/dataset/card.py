"""The dataset card: `README.md` with the YAML that Hugging Face reads, and what a person wants to know of a dataset.

With the card, `datasets.load_dataset(OUTPUT)` gives the frames by split, and `load_dataset(OUTPUT, "videos")` the
videos, from a folder or from the Hub. The text follows from manifest, identity and a few words, so the same dataset has
the same card. It names no path, host or user: the card is what is published. `card_file` writes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import yaml

from phoenix_ray import __version__
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile, Manifest
from phoenix_ray.dataset.tally import Tally, digest_text, total
from phoenix_ray.layouts import Layout
from phoenix_ray.text import counted, printable_line

# Names of the two configurations of `load_dataset`; the first is the default.
FRAMES_CONFIG = "frames"
VIDEOS_CONFIG = "videos"
# How a configuration's `description` begins; the rest differs with the data files.
STATE_PREFIX = "data files "
# Between these lines stands what `datasets` and the Hub read.
FRONT_MATTER = "---\n"
# Splits that Hugging Face's `datasets` takes; it keeps "all" for the union of all splits.
_HUB_SPLIT = re.compile(r"\w+(\.\w+)*")
_RESERVED = "all"
# In bytes: `datasets` names cache files after a split, and file systems allow 255.
_LONGEST_SPLIT = 100
_SPLITS_SHOWN = 100
_KERNELS_SHOWN = 8
# The head of a card with 10,000 splits is shorter.
_LONGEST_HEAD = 1_000_000
# The Hub's size categories: their upper ends, in rows.
_SIZES = (("1K", 10**3), ("10K", 10**4), ("100K", 10**5), ("1M", 10**6), ("10M", 10**7), ("100M", 10**8), ("1B", 10**9))

_LICENSE_MISSING = """\
No licence is recorded yet. State the one that you give the landmarks: `phoenix-ray compact PATH output.license=…`, or
write `license: …` into the first lines of this file."""

_TEXT = """\
# {title}

Landmarks of people in {source}: one row per frame, whatever was found in it. `phoenix_ray` computed them; no picture is
part of this dataset.

| split | `load_dataset` | videos | frames | {parts} |
|---|---|---|---|{dashes}
{splits}

The last columns give the share of frames in which each part was found.{renamed}

## Read it

```python
from datasets import load_dataset

frames = load_dataset("PATH")                              # by split
videos = load_dataset("PATH", "videos", split="videos")    # one row per video: frame rate, labels, detection rates
```

```python
import pandas

frames = pandas.read_parquet("PATH/data", columns=["split", "video_id", "frame_index", "{column}"])
```

`PATH` is the folder that holds this file, or the dataset's name on the Hugging Face Hub (for pandas,
`hf://datasets/NAME`). polars, DuckDB, Spark and every other reader of Parquet open `data/` in the same way. With
`pip install phoenix-ray`, `phoenix_ray.open("PATH")` gives the arrays of a video.

## Columns

`split`, `video_id`, `frame_name` and `frame_index` name a frame; `timestamp` is in seconds, `width` and `height` in
pixels. `status` is `ok`, `no_person`, `unreadable` or `failed`, and `error` says why. Each axis of a part is a column
of lists:

| part | points | columns |
|---|---|---|
{columns}

`x` and `y` are fractions of the picture's width and height; `z` is scaled like `x`; `pose_world` is in metres. A part
that was not found is null in all of its columns. `left` is the signer's left. Points come in the order of the layout
`{layout}`.
{heads}
## How it was made

```
{making}
```

Datasets with the same digest hold the same landmarks, bit for bit. `phoenix-ray check PATH` compares every byte with
what was written.

## Licence and consent

{license}

Landmarks show how a person moves and signs, and may identify them. The licence of the videos and the consent of the
people in them bind whoever uses or shares this dataset.
"""

_HEADS = """
Other networks have looked at the crop of a part:

| head | part | columns | classes, in the order of the logits |
|---|---|---|---|
{heads}

They are the networks' own numbers, frame by frame, without smoothing over time; null where the part was not found.
`quality` is between 0 and 1.
"""


@dataclass(frozen=True, slots=True)
class CardWords:
    """What a card says that neither manifest nor identity hold.

    Attributes:
        license: As the Hub writes it, such as `cc-by-nc-4.0`; empty where none is given.
        source: What the landmarks were computed from, in a few words without a place; empty where that is not known.
    """

    license: str = ""
    source: str = ""


def hub_splits(splits: Collection[str]) -> dict[str, str]:
    """Return the name of each split in `load_dataset`: its own wherever Hugging Face takes that."""
    names: dict[str, str] = {}
    for split in sorted(splits, key=lambda split: (not _is_hub_split(split), split)):
        name = split if _is_hub_split(split) else _to_hub_split(split)
        taken = set(names.values())
        numbered = (f"{name}_{number}" for number in count(2))
        names[split] = name if name not in taken else next(other for other in numbered if other not in taken)
    return dict(sorted(names.items()))


def _is_hub_split(split: str) -> bool:
    fits = _HUB_SPLIT.fullmatch(split) is not None
    return fits and split.lower() != _RESERVED and len(split.encode()) <= _LONGEST_SPLIT


def _to_hub_split(split: str) -> str:
    name = re.sub(r"\W+", "_", split).encode()[:_LONGEST_SPLIT].decode(errors="ignore")
    return f"{name}_videos" if name.lower() == _RESERVED else name or "_"


def make_card(identity: DatasetIdentity, layout: Layout, manifest: Manifest, words: CardWords) -> str:
    """Return the text of the card of a dataset; one without data files offers only its table of videos."""
    splits: dict[str, list[DataFile]] = {}
    for file in manifest.files:
        splits.setdefault(file.split, []).append(file)
    names = hub_splits(splits)
    title = _plain(f"Sign-language landmarks: {identity.model.get('model', layout.name)}")
    parts = [part.name for part in layout.parts]
    text = _TEXT.format(
        title=title,
        source=words.source or "videos",
        parts=" | ".join(parts),
        dashes="---|" * len(parts),
        splits="\n".join(_split_rows(splits, names, parts)),
        renamed=_renamed(names),
        column=next(layout.parts[0].columns()),
        columns="\n".join(
            f"| `{part.name}` | {len(part.points)} | {', '.join(f'`{name}`' for name in part.columns())}"
            f"{f', `{part.name}_score`' if part.scored else ''} |"
            for part in layout.parts
        ),
        layout=_plain(layout.name),
        heads=_heads(layout),
        making="\n".join(_making(identity, manifest.tally)),
        license=f"Licence: `{_plain(words.license)}`" if words.license else _LICENSE_MISSING,
    )
    head = _front_matter(title, names, manifest.tally.rows, words.license, describe_state(manifest))
    return f"{FRONT_MATTER}{head}{FRONT_MATTER}\n{text}"


def _heads(layout: Layout) -> str:
    """Return the section about heads, empty where there are none."""
    if not layout.heads:
        return ""
    rows = (
        f"| `{head.name}` | `{head.part}` | {', '.join(f'`{name}`' for name in head.columns())} "
        f"| {_plain(', '.join(head.classes)) or 'none'} |"
        for head in layout.heads
    )
    return _HEADS.format(heads="\n".join(rows))


def describe_state(manifest: Manifest) -> str:
    """Return the `description` of both configurations, which is another one for any other set of data files.

    `datasets` names its cache after what the card says, not after the files that its patterns find. Without this,
    `load_dataset` would return the rows of its first call for ever, also those that were dropped since.
    """
    state = hashlib.sha256("\n".join(file.sha256 for file in manifest.files).encode()).hexdigest()
    return f"{STATE_PREFIX}{state[:16]}"


def data_patterns(splits: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the `data_files` of the frames in the YAML of a card, given the name of each split in `load_dataset`."""
    return [{"split": name, "path": paths.data_path(split, "*")} for split, name in splits.items()]


def _front_matter(title: str, splits: Mapping[str, str], rows: int, license_name: str, state: str) -> str:
    tree: dict[str, Any] = {"license": license_name} if license_name else {}
    tree |= {
        "pretty_name": title,
        "task_categories": ["keypoint-detection"],
        "tags": ["sign-language", "pose-estimation", "landmarks"],
        "size_categories": [_size_category(rows)],
        "configs": [
            {
                "config_name": FRAMES_CONFIG,
                "description": state,
                "default": True,
                "data_files": data_patterns(splits),
            },
            {
                "config_name": VIDEOS_CONFIG,
                "description": state,
                "data_files": [{"split": VIDEOS_CONFIG, "path": paths.VIDEOS}],
            },
        ],
    }
    if not splits:
        # `datasets` refuses a configuration without files.
        del tree["configs"][0]
    missing = "" if license_name else "# license: the licence that you give the landmarks, as the Hub writes it\n"
    return missing + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _size_category(rows: int) -> str:
    lower = ""
    for name, end in _SIZES:
        if rows < end:
            return f"{lower}<n<{name}" if lower else f"n<{name}"
        lower = name
    return "n>1B"


def _split_rows(splits: Mapping[str, Sequence[DataFile]], names: Mapping[str, str], parts: Sequence[str]) -> list[str]:
    rows = []
    for split, files in sorted(splits.items())[:_SPLITS_SHOWN]:
        tally = total(file.tally for file in files)
        rates = " | ".join(f"{100 * tally.rate(part):.1f} %" for part in parts)
        videos = sum(file.videos for file in files)
        rows.append(f"| `{_plain(split)}` | `{names[split]}` | {videos:,} | {tally.rows:,} | {rates} |")
    hidden = [file for _, files in sorted(splits.items())[_SPLITS_SHOWN:] for file in files]
    if hidden:
        videos, frames = sum(file.videos for file in hidden), sum(file.rows for file in hidden)
        more = counted(len(splits) - _SPLITS_SHOWN, "more split")
        rows.append(f"| {more} | | {videos:,} | {frames:,} | {' | '.join('' for _ in parts)} |")
    return rows


def _renamed(names: Mapping[str, str]) -> str:
    renamed = [split for split, name in names.items() if split != name]
    if not renamed:
        return ""
    splits = counted(len(renamed), "split")
    return (
        f" Hugging Face's `datasets` does not take the names of {splits}, which therefore "
        f"{'has' if len(renamed) == 1 else 'have'} another name there; the column `split` has the source's."
    )


def _making(identity: DatasetIdentity, tally: Tally) -> list[str]:
    weights = {name: value for name, value in identity.model.items() if name.startswith("weights.")}
    # What the manifests of heads say fills a page; `dataset.json` has it.
    settings = {
        name: value for name, value in identity.model.items() if name not in weights and not name.startswith("head.")
    }
    lines = [
        f"written by      phoenix_ray {__version__}",
        f"frames          {tally.rows:,}",
        f"digest          {digest_text(tally.digest)}",
        f"fingerprint     {identity.fingerprint}",
        f"settings        {', '.join(f'{name}={value}' for name, value in sorted(settings.items()))}",
    ]
    if identity.limit_frames is not None:
        lines.append(f"limit           the first {counted(identity.limit_frames, 'frame')} of each video")
    if weights:
        shown = ", ".join(f"{name.removeprefix('weights.')} {value[:12]}" for name, value in sorted(weights.items()))
        lines.append(f"weights         {shown}")
    kernels = sorted(tally.kernels.items(), key=lambda pair: (-pair[1], pair[0]))
    lines += [f"computed with   {line} ({frames:,} frames)" for line, frames in kernels[:_KERNELS_SHOWN]]
    return [_plain(line).rstrip() for line in lines]


def _plain(text: str) -> str:
    """Return text from outside that neither ends a row, a code span nor a block of Markdown, nor is HTML."""
    harmless = printable_line(text).replace("`", "'").replace("|", "¦")
    return harmless.replace("<", "(").replace(">", ")")


def parse_front_matter(text: str) -> dict[str, Any]:
    """Return the YAML at the head of a card; empty where there is none.

    Raises:
        ValueError: It is not a YAML mapping.
    """
    if not text.startswith(FRONT_MATTER):
        return {}
    head, end, _ = text.removeprefix(FRONT_MATTER).partition(f"\n{FRONT_MATTER}")
    if len(head) > _LONGEST_HEAD:
        raise ValueError(f"it has {len(head):,} characters")
    try:
        tree = yaml.safe_load(head) if end else {}
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(tree, dict):
        raise ValueError("it is not a mapping")
    return tree
