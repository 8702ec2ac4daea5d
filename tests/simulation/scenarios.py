"""What is simulated: drivers, repairs and readers on a dataset of two or three tiny videos, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any
from unittest.mock import patch

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.files import TO_REPAIR, of_kinds
from phoenix_ray.dataset.check.repair import repair
from phoenix_ray.dataset.compaction import Compacted, compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import OutputError
from phoenix_ray.sources.base import Video
from tests.dataset.earlier_form import give_earlier_form
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video
from tests.simulation.explorer import Scenario
from tests.simulation.old_logic import old_publish
from tests.simulation.storage import Ended, Files, Program, SimulatedStorage, alone, take

# Smaller than a data file, so that a compaction takes none up again; and so large that it takes up all.
APART, TOGETHER = 1, 10**9
SHARD_FRAMES = 1
Row = tuple[str, str, int]
Code = Callable[[SimulatedStorage], Any]


class _Serial:
    """A pool of threads without threads: the order of steps of one process is not what is simulated."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> _Serial:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(function, list(items))


@contextmanager
def simulated() -> Iterator[None]:
    """Run the package's code without threads and without a clock.

    Only the newest generation of the manifest is kept, so that others are often gone when somebody asks for them.
    """
    with ExitStack() as stack:
        for module in ("partitions", "video_table", "publication", "removal"):
            stack.enter_context(patch(f"phoenix_ray.dataset.{module}.ThreadPoolExecutor", _Serial))
        stack.enter_context(patch("phoenix_ray.dataset.manifest.GENERATIONS_KEPT", 1))
        stack.enter_context(patch("time.time", lambda: 1.0))
        stack.enter_context(patch("time.strftime", lambda *_: "now"))
        yield


def video(name: str, frames: int = 2) -> Video:
    return make_video(name, frames=frames)


def plan_and_write(storage: Storage, target_bytes: float = APART, only: Iterable[str] | None = None) -> list[Compacted]:
    """Write the data files of a compaction, of some videos or of all that are whole."""
    survey = take_survey(storage, IDENTITY)
    tasks = plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), target_bytes)
    wanted = None if only is None else set(only)
    chosen = [task for task in tasks if wanted is None or wanted & {one.video_id for one in task.videos}]
    return [compact_videos(storage, task, SETTINGS) for task in chosen]


def compaction(target_bytes: float = APART, only: Iterable[str] | None = None) -> Code:
    """A compaction from plan to end."""
    return lambda storage: _publish(storage, plan_and_write(storage, target_bytes, only))


def publication(results: Sequence[Compacted]) -> Code:
    """The publication of data files that are written."""
    return lambda storage: _publish(storage, results)


def _publish(storage: Storage, results: Sequence[Compacted]) -> None:
    publish(storage, IDENTITY, results)


def sweep_once(storage: Storage, identity: DatasetIdentity) -> None:
    sweep(storage, identity, temporary_seconds=0)


def sweeping(storage: SimulatedStorage) -> None:
    sweep_once(storage, IDENTITY)


def driving(target_bytes: float = APART) -> Code:
    """A driver that finds all its videos computed: it sweeps, and compacts."""

    def drive(storage: SimulatedStorage) -> None:
        sweeping(storage)
        publish(storage, IDENTITY, plan_and_write(storage, target_bytes))

    return drive


def old_driving(storage: SimulatedStorage) -> None:
    """What a driver of an earlier version did at its end."""
    old_publish(storage, IDENTITY, plan_and_write(storage))


def reading(storage: SimulatedStorage) -> frozenset[Row]:
    """A reader that looks and then reads every row that it saw."""
    dataset = Dataset(storage, IDENTITY)
    return frozenset(row for rows in dataset.scan() for row in _rows(rows.select(["split", "video_id", "frame_index"])))


def repairing(storage: SimulatedStorage) -> None:
    """`phoenix-ray check --repair`, forced beside others."""
    try:
        repair(storage, check_dataset(storage))
    except OutputError as error:
        # It must refuse when others are at work; what it may not do is lose a row.
        if "repair it again" not in str(error) and "changes while" not in str(error):
            raise


def committing(*videos: Video) -> Code:
    """Workers that commit all shards of some videos."""

    def work(storage: SimulatedStorage) -> None:
        for one in videos:
            _commit_all(storage, one)

    return work


def _commit_all(storage: Storage, one: Video) -> None:
    for first in range(0, one.frame_count, SHARD_FRAMES):
        commit(storage, one, first, min(one.frame_count, first + SHARD_FRAMES))


def dataset_of(*videos: Video) -> Files:
    """Return a dataset whose videos lie in partitions."""
    storage, files = alone({})
    claim_dataset(storage, IDENTITY)
    for one in videos:
        _commit_all(storage, one)
    return files


def after(files: Files, name: str, code: Code) -> tuple[Files, Any]:
    """Return what a storage holds after a process has had it for itself, and what that returned."""
    program = Program(name, code)
    node = program.begin(files)
    while not isinstance(step := program.at(node), Ended):
        files, answer = take(files, step)
        node = program.advance(node, answer, files)
    if step.error:
        raise step.error
    return files, step.value


def without(files: Files, folder: str) -> Files:
    """Return what a storage holds when a folder was deleted."""
    return {name: content for name, content in files.items() if not name.startswith(f"{folder}/")}


def rows_of(*videos: Video) -> frozenset[Row]:
    return frozenset((one.split, one.video_id, frame) for one in videos for frame in range(one.frame_count))


def readable(expected: frozenset[Row]) -> Callable[[Files], str | None]:
    """Return a check that a reader sees each of some rows, and none twice."""

    def check(files: Files) -> str | None:
        storage, _ = alone(files)
        try:
            manifest = read_manifest(storage, IDENTITY)
            dataset = Dataset(storage, IDENTITY)
            keys = list(dataset.keys())
            found = [
                row
                for key in keys
                for row in _rows(dataset.read_video(*key).select(["split", "video_id", "frame_index"]))
            ]
        except Exception as error:
            return f"it cannot be read: {error!r}"
        if len(set(keys)) < len(keys) or len(set(found)) < len(found):
            return "a reader sees a row twice"
        if manifest.names & manifest.condemned:
            return "a data file is both published and condemned"
        lost = sorted(expected - set(found))
        return f"a reader does not see {lost}" if lost else None

    return check


def finished(videos: Sequence[Video], late: Sequence[Video] = ()) -> Callable[[Files], str | None]:
    """Return a check that the next run computes nothing but what is late, and that the dataset is whole after it."""

    def check(files: Files) -> str | None:
        if wrong := _mended(files, readable(rows_of(*videos))):
            return wrong
        storage, held = alone(files)
        computed: list[str] = []
        for _ in range(2):
            committed = committed_in(sweep(storage, IDENTITY, temporary_seconds=0).survey)
            for one in videos:
                computed += [f"{one.video_id} {ranges}" for ranges in committed.missing_ranges(one)]
            for one in late:
                for first, last in committed.missing_ranges(one):
                    commit(storage, one, first, last)
            publish(storage, IDENTITY, plan_and_write(storage))
        if computed:
            return f"the next run computes {computed}"
        if findings := check_dataset(storage).findings:
            return f"the next run leaves {findings}"
        if left := [name for name in held if name.startswith(f"{paths.PARTITIONS}/")]:
            return f"the next run leaves {left}"
        if read_manifest(storage, IDENTITY).tally.rows != len(rows_of(*videos, *late)):
            return "the manifest counts other rows"
        return readable(rows_of(*videos, *late))(held)

    return check


def whole(files: Files) -> str | None:
    """Return what `phoenix-ray check` finds."""
    findings = check_dataset(alone(files)[0]).findings
    return f"a check finds {findings}" if findings else None


def _mended(files: Files, check: Callable[[Files], str | None]) -> str | None:
    """Return what is wrong after `phoenix-ray check --repair`."""
    storage, held = alone(files)
    repair(storage, check_dataset(storage))
    if findings := of_kinds(check_dataset(storage).findings, TO_REPAIR):
        return f"a repair leaves {findings}"
    if wrong := check(held):
        return f"after a repair, {wrong}"
    return None


def ended_well(expected: frozenset[Row] | None = None) -> Callable[[Ended], str | None]:
    """Return a check that a process raised nothing, and that a reader among them saw all rows."""

    def check(ended: Ended) -> str | None:
        if ended.error is not None:
            return f"it raised {ended.error!r}"
        if isinstance(ended.value, frozenset) and expected is not None and (lost := expected - ended.value):
            return f"it did not see {sorted(lost)}"
        return None

    return check


def _rows(table: Any) -> Iterator[Row]:
    columns = (table.column(name).to_pylist() for name in ("split", "video_id", "frame_index"))
    yield from zip(*columns, strict=True)


def scenario(
    name: str,
    files: Files,
    videos: Sequence[Video],
    *processes: tuple[str, Code],
    crashes: int = 0,
    torn: bool = False,
    recovery: Code | None = None,
    late: Sequence[Video] = (),
    readable_first: bool = True,
    tidy: bool = False,
) -> Scenario:
    """Put a scenario together.

    Args:
        name: In a few words.
        files: What lies there at first.
        videos: Whose rows are there from the beginning.
        processes: Name and code of each.
        crashes: How many crashes there are in all.
        torn: Whether listings take several steps.
        recovery: What a process that has crashed is followed by; None is nothing, until all have ended.
        late: Videos that a process commits meanwhile.
        readable_first: Whether readers see everything from the beginning; else only those after the end do.
        tidy: Whether the dataset must be whole as soon as the processes have ended, without another run.
    """
    expected = rows_of(*videos)
    programs = [
        [
            Program(label, code, torn),
            *(Program(f"{label} {number + 2}", recovery, torn) for number in range(crashes) if recovery),
        ]
        for label, code in processes
    ]
    always = lru_cache(None)(lambda key: readable(expected if readable_first else frozenset())(dict(key)))
    last = lru_cache(None)(lambda key: (whole(dict(key)) if tidy else None) or finished(videos, late)(dict(key)))
    return Scenario(
        name,
        files,
        programs,
        crashes,
        lambda files: always(frozenset(files.items())),
        lambda files: last(frozenset(files.items())),
        ended_well(expected),
    )


A, B = video("a"), video("b")
C, D, E = (video(name, 1) for name in "cde")


def two_publish(crashes: int = 1, torn: bool = False) -> Scenario:
    """Two drivers have written data files of different videos, and publish them."""
    files = dataset_of(A, B)
    files, one = after(files, "writes a", lambda storage: plan_and_write(storage, only=["a"]))
    files, other = after(files, "writes b", lambda storage: plan_and_write(storage, only=["b"]))
    name = f"two drivers publish different videos, {crashes} crashes"
    processes = (("one", publication(one)), ("other", publication(other)))
    return scenario(name, files, [A, B], *processes, crashes=crashes, torn=torn, tidy=not crashes)


def two_publish_the_same(crashes: int = 1, torn: bool = False) -> Scenario:
    """Two drivers have compacted the same videos, each in its own way."""
    files = dataset_of(A, B)
    files, one = after(files, "writes apart", lambda storage: plan_and_write(storage, APART))
    files, other = after(files, "writes together", lambda storage: plan_and_write(storage, TOGETHER))
    name = f"two drivers publish the same videos, {crashes} crashes"
    processes = (("one", publication(one)), ("other", publication(other)))
    return scenario(name, files, [A, B], *processes, crashes=crashes, torn=torn, tidy=not crashes)


def publish_beside_sweep(crashes: int = 1, torn: bool = False) -> Scenario:
    """A driver publishes what it has written while another one sweeps."""
    files = dataset_of(A)
    files, one = after(files, "writes", plan_and_write)
    name = f"a driver publishes while another sweeps, {crashes} crashes"
    processes = (("one", publication(one)), ("other", sweeping))
    return scenario(name, files, [A], *processes, crashes=crashes, torn=torn, tidy=not crashes)


def driver_beside_publish(crashes: int = 1, torn: bool = False) -> Scenario:
    """A driver starts while another one, which lost its lease, publishes a rewritten file with a new video."""
    files = dataset_of(A)
    files, _ = after(files, "earlier", driving())
    files, _ = after(files, "commits", committing(C))
    files, one = after(files, "writes", lambda storage: plan_and_write(storage, TOGETHER))
    name = f"a driver sweeps and compacts while another publishes a rewritten file, {crashes} crashes"
    processes = (("one", publication(one)), ("other", driving(TOGETHER)))
    return scenario(name, files, [A, C], *processes, crashes=crashes, torn=torn)


def two_drivers(crashes: int = 1, torn: bool = False) -> Scenario:
    """Two drivers on the same partitions, forced, from their sweep to the end."""
    name = f"two drivers sweep and compact, {crashes} crashes"
    return scenario(name, dataset_of(A), [A], ("one", driving()), ("other", driving()), crashes=crashes, torn=torn)


def sweeps_without_manifest(crashes: int = 1, torn: bool = False, drivers: int = 2) -> Scenario:
    """Somebody deleted the manifests, and of two files that share a video each holds one that the other lacks."""
    files = dataset_of(A, C)
    files, _ = after(files, "first", driving(TOGETHER))
    first = {name: content for name, content in files.items() if name.startswith(f"{paths.DATA}/")}
    files = without(without(files, paths.MANIFESTS), paths.DATA)
    files, _ = after(files, "commits", committing(B, C))
    files, _ = after(files, "second", driving(TOGETHER))
    files = without(files, paths.MANIFESTS) | first
    name = f"{drivers} drivers sweep after the manifests were deleted, {crashes} crashes"
    processes = [(f"driver {number + 1}", sweeping) for number in range(drivers)]
    return scenario(name, files, [A, B, C], *processes, crashes=crashes, torn=torn, readable_first=False)


def reader_beside_rewriting(crashes: int = 0, torn: bool = True) -> Scenario:
    """A reader looks and reads while a file is rewritten and partitions are absorbed."""
    files = dataset_of(A)
    files, _ = after(files, "earlier", driving())
    files, _ = after(files, "commits", committing(B))
    processes = (("compaction", compaction(TOGETHER)), ("reader", reading))
    return scenario(
        "a reader beside a compaction that rewrites a file", files, [A, B], *processes, crashes=crashes, torn=torn
    )


def reader_beside_two(crashes: int = 0, torn: bool = False) -> Scenario:
    """A reader beside two drivers that publish."""
    files = dataset_of(A, C)
    files, one = after(files, "writes a", lambda storage: plan_and_write(storage, only=["a"]))
    files, other = after(files, "writes c", lambda storage: plan_and_write(storage, only=["c"]))
    processes = (("one", publication(one)), ("other", publication(other)), ("reader", reading))
    return scenario("a reader beside two drivers that publish", files, [A, C], *processes, crashes=crashes, torn=torn)


def reader_beside_upgrade(crashes: int = 1, torn: bool = False) -> Scenario:
    """The first compaction of a dataset that an earlier version wrote, with its one manifest."""
    files = dataset_of(A)
    files, _ = after(files, "earlier", old_driving)
    files, _ = after(files, "commits", committing(C))
    processes = (("compaction", compaction(TOGETHER)), ("reader", reading))
    return scenario(
        "a dataset of an earlier version is compacted", files, [A, C], *processes, crashes=crashes, torn=torn
    )


def in_earlier_form(*videos: Video) -> Files:
    """Return a finished dataset of an earlier version."""
    files, _ = after(dataset_of(*videos), "earlier", driving(TOGETHER))
    return after(files, "earlier form", lambda storage: give_earlier_form(storage, IDENTITY))[0]


def reader_beside_conversion(crashes: int = 1, torn: bool = False) -> Scenario:
    """A compaction that has nothing to merge gives a data file its present form."""
    processes = (("compaction", compaction()), ("reader", reading))
    name = f"a data file of an earlier version is converted, {crashes} crashes"
    return scenario(name, in_earlier_form(A), [A], *processes, crashes=crashes, torn=torn)


def two_convert(crashes: int = 1, torn: bool = False) -> Scenario:
    """Two drivers convert the same files, and one has a new video to merge with them."""
    files, _ = after(in_earlier_form(A), "commits", committing(C))
    processes = (("one", driving()), ("other", driving(TOGETHER)))
    name = f"two drivers convert a dataset of an earlier version, {crashes} crashes"
    return scenario(name, files, [A, C], *processes, crashes=crashes, torn=torn)


def slow_publisher(crashes: int = 0, torn: bool = False) -> Scenario:
    """A driver sleeps while others publish so often that the generation it wants to make is pruned already."""
    files = dataset_of(C, D, E)
    files, one = after(files, "writes c", lambda storage: plan_and_write(storage, only=["c"]))
    files, second = after(files, "writes d", lambda storage: plan_and_write(storage, only=["d"]))
    files, third = after(files, "writes e", lambda storage: plan_and_write(storage, only=["e"]))

    def others(storage: SimulatedStorage) -> None:
        publish(storage, IDENTITY, second)
        publish(storage, IDENTITY, third)

    name = "a driver sleeps over several generations"
    return scenario(
        name, files, [C, D, E], ("sleeper", publication(one)), ("others", others), crashes=crashes, torn=torn
    )


def slow_sweeper(crashes: int = 0, torn: bool = False) -> Scenario:
    """A sweeper condemns a file that is about to be published, and sleeps until the generation it wants is pruned."""
    files = dataset_of(C, D)
    files, one = after(files, "writes c", lambda storage: plan_and_write(storage, only=["c"]))
    files, second = after(files, "writes d", lambda storage: plan_and_write(storage, only=["d"]))

    def others(storage: SimulatedStorage) -> None:
        publish(storage, IDENTITY, one)
        publish(storage, IDENTITY, second)

    name = "a sweeper sleeps over several generations"
    return scenario(name, files, [C, D], ("sweeper", sweeping), ("others", others), crashes=crashes, torn=torn)


def repair_beside_publish(crashes: int = 1, torn: bool = False) -> Scenario:
    """`check --repair`, forced beside a driver that publishes, finds its file left over."""
    files = dataset_of(A)
    files, one = after(files, "writes", plan_and_write)
    processes = (("driver", publication(one)), ("repair", repairing))
    return scenario(f"a repair beside a driver, {crashes} crashes", files, [A], *processes, crashes=crashes, torn=torn)


def workers_beside_compaction(crashes: int = 1, torn: bool = False) -> Scenario:
    """Workers commit while a compaction beside them absorbs what is whole, and somebody reads."""
    files = dataset_of(A)
    processes = (("worker", committing(B)), ("compaction", compaction()), ("reader", reading))
    return scenario("workers commit beside a compaction", files, [A], *processes, crashes=crashes, torn=torn, late=[B])


def changed_video(crashes: int = 1, torn: bool = False) -> Scenario:
    """A video has changed and was computed again; one driver compacts it, another sweeps."""
    changed = make_video("a", frames=2, signature="2")
    files = dataset_of(A)
    files, _ = after(files, "earlier", driving())
    files, _ = after(files, "commits", committing(changed))
    processes = (("one", compaction()), ("other", sweeping))
    return scenario(f"a changed video, {crashes} crashes", files, [changed], *processes, crashes=crashes, torn=torn)


def recomputed_meanwhile(crashes: int = 0, torn: bool = False) -> Scenario:
    """A driver publishes a version of a video while workers of another commit a later one under the same names."""
    changed = make_video("c", frames=1, signature="2")
    files = dataset_of(C)
    files, one = after(files, "writes", plan_and_write)
    files, _ = after(files, "commits", committing(changed))
    return scenario(
        "a video is computed again while its old rows are published",
        files,
        [changed],
        ("one", publication(one)),
        ("reader", reading),
        crashes=crashes,
        torn=torn,
    )


def publishing_thrice(crashes: int = 0, torn: bool = False) -> Scenario:
    """Three drivers publish a video each."""
    files = dataset_of(C, D, E)
    processes: list[tuple[str, Code]] = []
    for name in "cde":
        files, results = after(files, f"writes {name}", partial(plan_and_write, only=[name]))
        processes.append((f"publishes {name}", publication(results)))
    return scenario("three drivers publish", files, [C, D, E], *processes, crashes=crashes, torn=torn)
