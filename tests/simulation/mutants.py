"""Ways to get it wrong, one rule of `dataset.publication` left out each: the simulation must find every one.

The first two are what an earlier version did (`old_logic`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import Compacted
from phoenix_ray.dataset.compaction_plan import Absorbed
from phoenix_ray.dataset.drop_history import DropHistory
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile, Manifest, check_files, publish_manifest, read_manifest
from phoenix_ray.dataset.publication import _agree
from phoenix_ray.dataset.storage import Storage, hash_file
from phoenix_ray.dataset.survey import CompactedRows, Survey
from phoenix_ray.dataset.video_table import describe_data_file, gather_videos, read_entries, select_videos
from tests.dataset.made_up import IDENTITY
from tests.simulation import drop_scenarios, old_logic, scenarios
from tests.simulation.explorer import Scenario

# What the simulation says of a lost row.
LOSS = "does not see|did not see|the next run computes|a check finds .*'lost'"
# And of a row that was dropped.
RETURN = "sees a dropped row|the next sweep leaves"
PUBLICATION, UNPUBLISHED = "phoenix_ray.dataset.publication", "phoenix_ray.dataset.publication"


@dataclass(frozen=True)
class Mutant:
    """A mistake, and a scenario in which it costs a row.

    Attributes:
        name: What is wrong.
        replaced: Name of each function that is replaced → by what.
        scenario: Makes the scenario.
    """

    name: str
    replaced: dict[str, Callable[..., Any]]
    scenario: Callable[[], Scenario]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the mistake."""
        with ExitStack() as stack:
            for name, function in self.replaced.items():
                stack.enter_context(patch(name, function))
            yield


def without_comparing(
    storage: Storage, identity: DatasetIdentity, manifest: Manifest, condemned: Collection[str] = ()
) -> Manifest:
    """Write the next generation whether or not somebody else has."""
    storage.delete(paths.manifest_path(manifest.generation + 1))
    published = publish_manifest(storage, identity, manifest, condemned)
    assert published is not None
    return published


def without_condemning(
    storage: Storage, identity: DatasetIdentity, manifest: Manifest, condemned: Collection[str] = ()
) -> Manifest | None:
    """Delete data files that nothing published condemns."""
    if manifest.names == read_manifest(storage, identity).names:
        return replace(manifest, condemned=manifest.condemned | set(condemned))
    return publish_manifest(storage, identity, manifest, condemned)


def any_video_elsewhere(
    storage: Storage, survey: Survey, only: Collection[str] | None
) -> tuple[list[DataFile], set[str]]:
    """Condemn a file as soon as any of its videos lies elsewhere."""
    elsewhere = {(video.split, video.video_id) for video in survey.open_videos() if video.whole is not None}
    added: list[DataFile] = []
    condemned: set[str] = set()
    for file in storage.list(paths.DATA):
        if (
            file.name not in survey.manifest.names
            and paths.is_data_file_name(file.name)
            and not (only and file.name not in only)
        ):
            entries = read_entries(storage, IDENTITY, file.name)
            keys = {(entry.split, entry.video_id) for entry in entries}
            if keys & elsewhere or select_videos(survey.videos, keys):
                condemned.add(file.name)
            else:
                added.append(describe_data_file(file.name, entries, *hash_file(storage, file.name)))
                elsewhere |= keys
    return added, condemned


def without_looking_again(
    storage: Storage, identity: DatasetIdentity, columns: Sequence[str], manifest: Manifest | None = None
) -> CompactedRows:
    """Take every file that is gone for lost."""
    sound, lost = check_files(storage, read_manifest(storage, identity))
    videos, unreadable = gather_videos(storage, identity, sound, columns)
    found = sound.replace({file.name for file in unreadable}, ())
    return CompactedRows(found, videos, [*lost, *unreadable], DropHistory())


def delete_by_name(storage: Storage, identity: DatasetIdentity, name: str, version: object) -> bool:
    """Delete a partition whatever it holds by now."""
    storage.delete(name)
    return True


def trust_the_plan(
    storage: Storage, identity: DatasetIdentity, videos: object, absorbed: Sequence[Absorbed], older: bool = False
) -> list[str]:
    """Delete what was planned to be absorbed, whatever the newest manifest says."""
    return [one.name for one in absorbed if delete_by_name(storage, identity, one.name, one.version)]


def without_asking_for_drops(
    storage: Storage, identity: DatasetIdentity, before: Manifest, videos: Any, results: Sequence[Compacted], _: object
) -> list[Compacted]:
    """Publish what was planned before a drop."""
    return _agree(storage, identity, before, videos, results, DropHistory())


def _old(name: str, scenario: Callable[[], Scenario]) -> Mutant:
    return Mutant(
        name,
        {
            "tests.simulation.scenarios.publish": old_logic.old_publish,
            "tests.simulation.scenarios.sweep_once": old_logic.old_sweep,
        },
        scenario,
    )


def two_publications() -> Scenario:
    return scenarios.two_publish(crashes=0)


def one_sweep() -> Scenario:
    return scenarios.sweeps_without_manifest(crashes=0, drivers=1)


MUTANTS = (
    _old("the earlier version: another driver's manifest is overwritten", two_publications),
    _old("the earlier version: a file goes when any of its videos lies elsewhere", one_sweep),
    Mutant(
        "a generation is written without comparing",
        {f"{PUBLICATION}.publish_manifest": without_comparing},
        two_publications,
    ),
    Mutant(
        "a file is condemned when any of its videos lies elsewhere",
        {f"{UNPUBLISHED}._sort_out": any_video_elsewhere},
        one_sweep,
    ),
    Mutant(
        "a data file is deleted that nothing condemns",
        {f"{UNPUBLISHED}.publish_manifest": without_condemning},
        lambda: scenarios.publish_beside_sweep(crashes=0),
    ),
    Mutant(
        "a reader believes that a replaced file is lost",
        {"phoenix_ray.dataset.survey.read_compacted": without_looking_again},
        lambda: scenarios.reader_beside_rewriting(torn=False),
    ),
    Mutant(
        "a partition is deleted for what it was when the compaction was planned",
        {f"{PUBLICATION}.delete_version": delete_by_name},
        scenarios.recomputed_meanwhile,
    ),
    Mutant(
        "a driver believes in the generation that it made",
        {f"{PUBLICATION}.delete_absorbed": trust_the_plan},
        scenarios.slow_publisher,
    ),
    Mutant(
        "a sweeper believes in the generation that it made",
        {f"{PUBLICATION}._counts": lambda *_: True},
        scenarios.slow_sweeper,
    ),
)
# These bring a dropped row back.
DROP_MUTANTS = (
    Mutant(
        "a driver publishes what it planned before a drop",
        {f"{PUBLICATION}._agree": without_asking_for_drops},
        drop_scenarios.drop_beside_compaction,
    ),
    Mutant(
        "a reader trusts the manifest while a drop is completed",
        {"phoenix_ray.dataset.survey._permitted": lambda videos, _: videos},
        drop_scenarios.drop_beside_sweep,
    ),
    Mutant(
        "a sweep leaves earlier generations of the manifest",
        {f"{PUBLICATION}.remove_old_generations": lambda *_, **__: None},
        drop_scenarios.drop_beside_sweep,
    ),
)
