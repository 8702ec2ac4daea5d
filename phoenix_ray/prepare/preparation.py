"""`phoenix-ray prepare`: a dataset through the pipeline into files, shard by shard.

A shard (some videos of one split) is a pure function of the dataset and the settings, so shards can be written by any
number of processes, and written again after a crash, with the same bytes. `ledger` records what is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow.compute as pc

from phoenix_ray import __version__
from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.snapshot import unreadable_in
from phoenix_ray.dataset.storage import Storage, hash_file
from phoenix_ray.errors import OutputError
from phoenix_ray.prepare import output
from phoenix_ray.prepare.examples import GLOSS_SPECIALS, WORD_SPECIALS, Example, Vocabulary, text_of, to_example
from phoenix_ray.prepare.normalise import measure_is_missing
from phoenix_ray.prepare.output import WRITERS
from phoenix_ray.prepare.pipeline import PrepareSettings, axis_names, build_pipeline, chosen_heads, parts_needed
from phoenix_ray.prepare.point_sets import flat_index, resolve_points
from phoenix_ray.prepare.prepared import Prepared
from phoenix_ray.text import counted


@dataclass(frozen=True, slots=True)
class ExampleShard:
    """Videos of one split that are written together: their sorted IDs, and the position of the shard in the split."""

    split: str
    number: int
    video_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{safe_name(self.split)}-{self.number:06}.json"


@dataclass(frozen=True, slots=True)
class Work:
    """What every shard needs; goes to worker processes. Vocabularies are by kind of text, `gloss` and `translation`."""

    dataset: Dataset
    storage: Storage
    settings: PrepareSettings
    vocabularies: Mapping[str, Vocabulary]


@dataclass(slots=True)
class Counts:
    """What was seen in a shard, added up as its examples go by.

    Attributes:
        videos: Examples.
        frames: Their frames.
        values: Frames times points.
        missing: How many of them have no value.
        filled: How many were filled.
        without_measure: Examples without anything to normalise by: all their points are missing.
    """

    videos: int = 0
    frames: int = 0
    values: int = 0
    missing: int = 0
    filled: int = 0
    without_measure: list[str] = field(default_factory=list)

    def add(self, prepared: Prepared, video_id: str) -> None:
        """Take an example in."""
        self.videos += 1
        self.frames += len(prepared)
        self.values += prepared.filled.size
        self.missing += int(np.count_nonzero(~prepared.mask))
        self.filled += int(np.count_nonzero(prepared.filled))
        if any(measure_is_missing(placement) for placement in prepared.placements):
            self.without_measure.append(video_id)


def prepare_dataset(
    dataset: Dataset,
    storage: Storage,
    settings: PrepareSettings,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> output.Json:
    """Write a dataset as training inputs, or the rest of it where a run was stopped.

    Args:
        dataset: What to prepare.
        storage: The output's folder.
        settings: What to do.
        workers: Processes; the files do not depend on it.
        progress: Called after each shard with the shards done and the shards in all.

    Returns:
        What `prepare.json` says.

    Raises:
        ConfigError: The settings do not fit the dataset.
        OutputError: The output holds something else, or cannot be written; or the dataset cannot be read.
    """
    chosen = dataset.select(split=settings.files.splits or None)
    readable = dataset.select(max_unreadable=settings.files.max_unreadable)
    source = chosen.select(max_unreadable=settings.files.max_unreadable)
    if not len(source):
        reason = f"all {len(chosen):,} lack more frames than files.max_unreadable allows" if len(chosen) else "none"
        raise OutputError(f"The dataset holds no video to prepare: {reason}.")
    if unfinished := source.unfinished():
        more = f" and {counted(len(unfinished) - 1, 'other video')} lack" if len(unfinished) > 1 else " lacks"
        raise OutputError(f"{'/'.join(unfinished[0])}{more} frames that are not computed yet: finish the run first.")
    # Refuses what cannot be built before anything is written.
    build_pipeline(settings, dataset.layout, mirrored=settings.mirror.mode != "no")
    vocabularies = build_vocabularies(readable, settings)
    affected = len(unreadable_in(chosen.videos()))
    left_out = len(chosen) - len(source)
    description = describe_work(source, settings, vocabularies) | {
        "partly_unreadable": {"videos": affected, "left_out": left_out}
    }
    report = output.begin(storage, description)
    if report is None:
        shards = list(plan_shards(source, settings.files.videos_per_shard))
        done = output.shards_done(storage)
        open_shards = [shard for shard in shards if shard.name not in done]
        work = Work(source.select(parts=parts_needed(settings, dataset.layout)), storage, settings, vocabularies)
        for count, _ in enumerate(_write_all(work, open_shards, workers), start=len(shards) - len(open_shards) + 1):
            if progress is not None:
                progress(count, len(shards))
        report = output.finish(storage, description, [shard.name for shard in shards])
    output.tidy(storage)
    return report


def build_vocabularies(dataset: Dataset, settings: PrepareSettings) -> dict[str, Vocabulary]:
    """Return the vocabularies of the training split; none of a kind of text that it does not have."""
    videos = dataset.videos()
    training = videos.filter(pc.equal(videos["split"].cast("string"), settings.text.training_split))
    vocabularies = {}
    for name, specials in (("gloss", GLOSS_SPECIALS), ("translation", WORD_SPECIALS)):
        texts = [text_of({name: text}, name, settings) for text in training[name].to_pylist()]
        vocabulary = Vocabulary.build(texts, specials, settings.text.min_count)
        if len(vocabulary.tokens) > len(specials):
            vocabularies[name] = vocabulary
    return vocabularies


def describe_work(
    dataset: Dataset, settings: PrepareSettings, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, Any]:
    """Return all that the files depend on, which is also most of what `prepare.json` says."""
    layout = dataset.layout
    heads = chosen_heads(settings, layout)
    texts = dataset.videos().select(["split", "video_id", "gloss", "translation", "signer", "annotation"]).to_pylist()
    return {
        "phoenix_ray": __version__,
        "dataset": {
            "fingerprint": dataset.identity.fingerprint,
            "landmark_digest": f"{dataset.digest():032x}",
            "annotations_sha256": hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest(),
            "layout": dataset.identity.layout,
            "model": dict(sorted(dataset.identity.model.items())),
        },
        "settings": settings.model_dump(mode="json"),
        "axes": axis_names(settings),
        "points": [
            {"part": part, "index": index, "name": layout.part(part).points[index], "flat": flat_index(layout, point)}
            for point in resolve_points(layout, settings.points.select)
            for part, index in [point]
        ],
        **({"heads": {head.name: head.classes for head in heads}} if heads else {}),
        "vocabularies": {name: vocabulary.to_json() for name, vocabulary in vocabularies.items()},
    }


def plan_shards(dataset: Dataset, videos_per_shard: int) -> Iterator[ExampleShard]:
    """Yield the shards, sorted."""
    for split, keys in groupby(dataset.keys(), key=lambda key: key[0]):
        ids = tuple(video_id for _, video_id in keys)
        for number, first in enumerate(range(0, len(ids), videos_per_shard)):
            yield ExampleShard(split, number, ids[first : first + videos_per_shard])


def write_shard(work: Work, shard: ExampleShard) -> None:
    """Write the files of a shard, then its receipt."""
    counts = Counts()
    write = WRITERS[work.settings.files.format]
    names = write(work.storage, shard.split, shard.number, _examples(work, shard, counts))
    files = []
    for name in names:
        size, sha256 = hash_file(work.storage, name)
        files.append({"name": name, "bytes": size, "sha256": sha256})
    output.record(work.storage, shard.name, {"split": shard.split, "counts": asdict(counts), "files": files})


def _write_all(work: Work, shards: list[ExampleShard], workers: int) -> Iterator[None]:
    if workers == 1 or len(shards) <= 1:
        yield from map(partial(write_shard, work), shards)
        return
    # A fork would copy the locks of Arrow's threads in whatever state they are.
    with ProcessPoolExecutor(min(workers, len(shards)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(write_shard, work), shards)


def _examples(work: Work, shard: ExampleShard, counts: Counts) -> Iterator[Example]:
    settings, layout = work.settings, work.dataset.layout
    mirrored = not settings.mirror.splits or shard.split in settings.mirror.splits
    mode = settings.mirror.mode if mirrored else "no"
    suffixes = {"no": {"": False}, "only": {"": True}, "also": {"": False, ".mirrored": True}}[mode]
    pipelines = {suffix: build_pipeline(settings, layout, mirrored) for suffix, mirrored in suffixes.items()}
    for video_id in shard.video_ids:
        # All pipelines take the same points. The whole video is given up before they are transformed.
        taken = next(iter(pipelines.values())).take(work.dataset.load(shard.split, video_id))
        for suffix, pipeline in pipelines.items():
            prepared = pipeline.transform(taken)
            counts.add(prepared, video_id + suffix)
            yield to_example(prepared, video_id + suffix, settings, work.vocabularies)
