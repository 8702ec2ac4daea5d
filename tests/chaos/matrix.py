"""The faults that are tried, each at its crash point: what is done to a run, and how that run may end.

A `Trial` is one row of the table in `docs/guarantees.md`. Its function disturbs a run and returns what the dataset must
show; the rerun afterwards, and the judgement, are the same for all (`tests.chaos.trials`).
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import read_failures
from tests.chaos.faults import ALWAYS, DAY, Action, Fault, Point, Process, strikes
from tests.chaos.laboratory import (
    LONG_RUN_SECONDS,
    RUN_SECONDS,
    SHARD_FRAMES,
    VIDEOS,
    FrameKey,
    Laboratory,
    Run,
    actor_processes,
    data_files,
    partitions,
    wait_until,
)
from tests.chaos.outputs import Output

KILLED = -signal.SIGKILL
# A lease of another machine counts for 60 s without a heartbeat.
HEARTBEAT_GONE_SECONDS, STOPPED_SECONDS = 62.0, 85.0
NOBODY: frozenset[FrameKey] = frozenset()

Disturb = Callable[[Laboratory, Random, Output], "Aftermath"]


@dataclass(frozen=True)
class Aftermath:
    """How a disturbed run ended.

    Attributes:
        survived: Whether the run itself finished the dataset, so that the rerun must find nothing to do.
        flagged: Frames that are to have status `failed`.
    """

    survived: bool
    flagged: frozenset[FrameKey] = NOBODY


@dataclass(frozen=True)
class Trial:
    """A fault at a crash point."""

    fault: str
    point: str
    disturb: Disturb

    @property
    def name(self) -> str:
        return f"{self.fault}: {self.point}"


def driver(
    point: Point, target: str, *words: str, skip: int = 0, action: Action = "kill", code: int = KILLED
) -> Disturb:
    """The driver meets a fault when it passes a point with a file, after up to `skip` such files."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        fault = Fault("driver", point, target, action, skip=random.randint(0, skip))
        expect(laboratory.start(output, *words, faults=[fault]), code)
        assert strikes(output.path) == 1
        return Aftermath(survived=code == 0)

    return disturb


def once(process: Process, point: Point, action: Action, *words: str, code: int = 0, times: int = 1) -> Disturb:
    """Something happens `times` times, at frames or files of a random video, or at any where frames have no names."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        split, video, frame = random_frame(random)
        targets = {"decode": f"^{video}/{frame}$", "inference": f"^{video}/{frame}$", "ready": ""}
        target = targets.get(point, f"data/{split}-" if process == "compaction" else f"split={split}/")
        expect(laboratory.start(output, *words, faults=[Fault(process, point, target, action, times)]), code)
        assert strikes(output.path) == times
        return Aftermath(survived=code == 0)

    return disturb


def poison(point: Point, action: Action, *words: str) -> Disturb:
    """A frame does something to every worker that comes to it; it alone is flagged."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        key = random_frame(random)
        fault = Fault("worker", point, f"^{key[1]}/{key[2]}$", action, times=ALWAYS)
        quick = ("cluster.shard_frames=8", "cluster.max_attempts=1")
        expect(laboratory.start(output, *quick, *words, faults=[fault]), 0)
        return Aftermath(survived=True, flagged=frozenset([key]))

    return disturb


def raises_throughout(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    split, video = random.choice(sorted(VIDEOS))
    fault = Fault("worker", "inference", f"^{video}/", "raise", times=ALWAYS)
    expect(laboratory.start(output, faults=[fault]), 3)
    assert failed_frames(output) == {(split, video, frame) for frame in range(VIDEOS[split, video])}
    return Aftermath(survived=False)


def full_for_good(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    split = random.choice(["train", "dev", "test"])
    fault = Fault("worker", "write", f"split={split}/", "no space", times=ALWAYS)
    expect(laboratory.start(output, faults=[fault]), 3)
    expected = {(one, video, frame) for (one, video), count in VIDEOS.items() if one == split for frame in range(count)}
    assert failed_frames(output) == expected
    return Aftermath(survived=False)


def leaks(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    # In a shard that comes early, so that there is work left for the replacement.
    fault = Fault("worker", "inference", f"^1/{random.randrange(SHARD_FRAMES)}$", "leak")
    expect(laboratory.start(output, "cluster.recycle_memory_mb=400", faults=[fault]), 0)
    # A slow machine takes so long to fill the memory that the other worker computes the shard too, and the run ends.
    noted = run_log(output)
    assert "MB and is replaced" in noted or "is done a second time" in noted, f"the run noted:\n{noted}"
    return Aftermath(survived=True)


def killed_among_commits(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    run = started(laboratory, random, output)
    run.send(signal.SIGKILL)
    expect(run, KILLED)
    return Aftermath(survived=False)


def worker_killed_from_outside(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    run = started(laboratory, random, output)
    for process in random.sample(actor_processes(), 1):
        process.kill()
    expect(run, 0)
    return Aftermath(survived=True)


def node_killed(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    run = started(laboratory, random, output)
    laboratory.cluster.remove_node(random.choice(workers_of(laboratory)), allow_graceful=False)
    laboratory.renew_nodes()
    expect(run, 0)
    return Aftermath(survived=True)


def all_nodes_killed(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    run = started(laboratory, random, output)
    for node in workers_of(laboratory):
        laboratory.cluster.remove_node(node, allow_graceful=False)
    time.sleep(random.random())
    laboratory.renew_nodes()
    expect(run, 0)
    return Aftermath(survived=True)


def node_joins(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    laboratory.cluster.remove_node(workers_of(laboratory)[-1], allow_graceful=False)
    laboratory.cluster.wait_for_nodes()
    # Every fifth frame of the long videos takes a second, so that there is work left when the new node is noticed.
    slow = Fault("worker", "decode", "^[125]/[0-9]*[05]$", "pause", times=ALWAYS)
    run = laboratory.start(output, faults=[slow])
    wait_until(lambda: len(partitions(output)) >= random.randint(1, 2), run)
    laboratory.renew_nodes()
    expect(run, 0)
    assert "1 more worker:" in run.said(), f"no worker was added; the run said:\n{run.said()}"
    return Aftermath(survived=True)


def head_restarted(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    from ray.cluster_utils import Cluster

    doomed = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    run = laboratory.start(output, address=doomed.address)
    wait_until(lambda: len(partitions(output)) >= random.randint(1, 3), run)
    doomed.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    assert run.wait() != 0
    return Aftermath(survived=False)


def signalled(*numbers: signal.Signals, code: int) -> Disturb:
    """The driver is asked to stop."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        run = started(laboratory, random, output)
        for number in numbers:
            run.send(number)
            time.sleep(0.05)
        expect(run, code)
        return Aftermath(survived=False)

    return disturb


def second_driver(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    run = started(laboratory, random, output)
    expect(laboratory.start(output), 6)
    expect(run, 0)
    return Aftermath(survived=True)


def second_driver_later(*words: str, fault: Fault) -> Disturb:
    """A run lasts longer than a lease counts without a heartbeat; a second driver comes 62 s after its start."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        run = laboratory.start(output, *words, faults=[fault])
        time.sleep(HEARTBEAT_GONE_SECONDS)
        assert run.process.is_alive(), run.said()
        expect(laboratory.start_again(output), 6)
        expect(run, 0, LONG_RUN_SECONDS)
        return Aftermath(survived=True)

    return disturb


def second_driver_beside_compaction(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The last compaction alone lasts longer than a lease counts without a heartbeat."""
    run = laboratory.start(output, faults=[Fault("compaction", "rename", "^data/", "sleep")])
    assert wait_until(lambda: strikes(output.path) == 1, run), run.said()
    time.sleep(HEARTBEAT_GONE_SECONDS)
    assert run.process.is_alive(), run.said()
    second = laboratory.start_again(output)
    expect(second, 6)
    expect(run, 0, LONG_RUN_SECONDS)
    return Aftermath(survived=True)


def driver_stopped(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The driver's process is stopped for 85 s; it lives, so that no other is let in."""
    run = started(laboratory, random, output)
    run.send(signal.SIGSTOP)
    try:
        time.sleep(STOPPED_SECONDS)
        expect(laboratory.start_again(output), 6)
    finally:
        run.send(signal.SIGCONT)
    expect(run, 0, LONG_RUN_SECONDS)
    return Aftermath(survived=True)


def slow_manifest(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """A driver sleeps with a manifest in its hand while another, forced, publishes one.

    The first finds its lease taken, or its generation, and in either case takes nothing away.
    """
    first = laboratory.start(output, faults=[Fault("driver", "rename", "^manifests/", "doze")])
    assert wait_until(lambda: strikes(output.path) == 1, first), first.said()
    second = laboratory.start_again(output, "run.force=true")
    assert second.wait() in (0, 3), second.said()
    assert first.wait() in (0, 3, 6), first.said()
    return Aftermath(survived=False)


def partition_deleted(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Somebody deletes a committed partition; the run notices at its end, and computes it again."""
    run = started(laboratory, random, output)
    output.storage.delete(random.choice(partitions(output)))
    expect(run, 0)
    return Aftermath(survived=True)


def chain_broken(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The driver is killed in mid-video, and then somebody deletes a link or damages its state."""
    run = started(laboratory, random, output)
    run.send(signal.SIGKILL)
    expect(run, KILLED)
    link = random.choice(partitions(output))
    if random.random() < 0.5:
        output.storage.delete(link)
    else:
        content = bytearray(output.storage.read(link))
        content[content.rindex(b'"float32"') + random.randrange(20, 900)] ^= 1
        output.storage.write(link, bytes(content))
    return Aftermath(survived=False)


def resumed_with_other_links(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Links of other lengths go on where the first run was killed."""
    run = started(laboratory, random, output)
    run.send(signal.SIGKILL)
    expect(run, KILLED)
    expect(laboratory.start(output, f"cluster.shard_frames={random.randint(5, 40)}"), 0)
    return Aftermath(survived=True)


def folder_removed(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Somebody removes the whole output; what cannot be written then is tried again."""
    run = started(laboratory, random, output)
    output.remove()
    code = run.wait()
    assert code in (0, 3), run.said()
    return Aftermath(survived=code == 0)


def forced_driver(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Either may find partitions gone that the other has merged; the first stops when it sees the other's lease."""
    first = started(laboratory, random, output)
    second = laboratory.start(output, "run.force=true")
    assert second.wait() in (0, 3), second.said()
    assert first.wait() in (0, 3, 6), first.said()
    return Aftermath(survived=False)


def other_settings(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """The second is refused for what it would compute; the first may see that it took the lease, and stop."""
    first = started(laboratory, random, output)
    expect(laboratory.start(output, "run.force=true", "source.limit_frames=3"), 6)
    assert first.wait() in (0, 6), first.said()
    return Aftermath(survived=False)


def truncated_partition(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    expect(laboratory.start(output, "output.compact=false"), 0)
    truncate(output, random.choice(partitions(output)), random)
    return Aftermath(survived=False)


def flipped_partition(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
    """Damage that shows when rows are read makes the run that merges them incomplete; the next one mends it."""
    expect(laboratory.start(output, "output.compact=false"), 0)
    flip_bit(output, random.choice(partitions(output)), random)
    assert laboratory.start(output).wait() in (0, 3)
    return Aftermath(survived=False)


def damaged_dataset(damage: Callable[[Output, Random], None]) -> Disturb:
    """A finished dataset is damaged."""

    def disturb(laboratory: Laboratory, random: Random, output: Output) -> Aftermath:
        laboratory.clean.copy_to(output)
        damage(output, random)
        return Aftermath(survived=False)

    return disturb


def truncate(output: Output, name: str, random: Random) -> None:
    content = output.storage.read(name)
    output.storage.write(name, content[: random.randrange(len(content))])


def flip_bit(output: Output, name: str, random: Random) -> None:
    content = bytearray(output.storage.read(name))
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    output.storage.write(name, bytes(content))


def truncate_data(output: Output, random: Random) -> None:
    truncate(output, random.choice(data_files(output)), random)


def remove_data(output: Output, random: Random) -> None:
    output.storage.delete(random.choice(data_files(output)))


def remove_table(output: Output, _: Random) -> None:
    output.storage.delete(paths.VIDEOS)


def add_remains(output: Output, random: Random) -> None:
    """Leave what a killed writer leaves: temporary files, and a data file that no manifest names."""
    data = random.choice(data_files(output))
    folder = data.rpartition("/")[0]
    output.storage.write(f"{folder}/.tmp-0123456789abcdef", b"PAR1")
    output.storage.write(".tmp-0123456789abcdef", b"{")
    output.storage.write(f"{folder}/{random.getrandbits(128):032x}.parquet", output.storage.read(data))


def lease_from_elsewhere(output: Output, random: Random) -> None:
    """A driver on a machine whose clock is ahead has died."""
    now = time.time() + random.choice([-1, 1]) * DAY
    holder = {"run_id": "gone", "host": "elsewhere", "pid": 1, "since": now, "heartbeat": now}
    output.storage.write(paths.LEASE, json.dumps(holder).encode())


def expect(run: Run, code: int, seconds: float = RUN_SECONDS) -> None:
    assert run.wait(seconds) == code, f"exit code {run.process.exitcode}, not {code}; the run said:\n{run.said()}"


def started(laboratory: Laboratory, random: Random, output: Output) -> Run:
    """Return a run that has committed a random number of its shards."""
    run, count = laboratory.start(output), random.randint(1, 5)
    assert wait_until(lambda: len(partitions(output)) >= count, run), run.said()
    return run


def busy(laboratory: Laboratory, random: Random, output: Output) -> Run:
    """Return a run that has committed a few shards and has seconds of work left."""
    slow = Fault("worker", "decode", "^[125]/[0-9]*[05]$", "pause", times=ALWAYS)
    run, count = laboratory.start(output, faults=[slow]), random.randint(1, 4)
    assert wait_until(lambda: len(partitions(output)) >= count, run), run.said()
    return run


def random_frame(random: Random) -> FrameKey:
    split, video = random.choice(sorted(VIDEOS))
    return split, video, random.randrange(VIDEOS[split, video])


def failed_frames(output: Output) -> set[FrameKey]:
    listed = read_failures(output.storage)
    return {(one.split, one.video_id, frame) for one in listed for frame in range(one.first, one.last)}


def run_log(output: Output) -> str:
    return "".join(output.storage.read(name).decode() for name in output.names("runs", "/log"))


def workers_of(laboratory: Laboratory) -> Sequence[object]:
    return [node for node in laboratory.cluster.list_all_nodes() if node is not laboratory.cluster.head_node]


_SHARDS = sum(-(-count // SHARD_FRAMES) for count in VIDEOS.values())

TRIALS = (
    Trial("driver killed", "before `dataset.json`", driver("create", "^dataset.json")),
    Trial("driver killed", "after `dataset.json`", driver("created", "^dataset.json")),
    Trial("driver killed", "holding a new lease", driver("created", "^lease.json")),
    Trial("driver killed", "writing `status.json`", driver("rename", "/status.json", skip=1)),
    Trial("driver killed", "among commits", killed_among_commits),
    Trial(
        "driver killed", "compaction writes a data file", once("compaction", "rename", "kill the driver", code=KILLED)
    ),
    Trial("driver killed", "before the manifest is written", driver("create", "^manifests/")),
    Trial("driver killed", "between write and rename of the manifest", driver("rename", "^manifests/")),
    Trial("driver killed", "after the manifest is published", driver("created", "^manifests/")),
    Trial("driver killed", "deleting absorbed partitions", driver("deleted", "^partitions/", skip=_SHARDS - 1)),
    Trial("driver killed", "writing `videos.parquet`", driver("rename", "^videos.parquet")),
    Trial("driver killed", "writing `summary.json`", driver("rename", "/summary.json")),
    Trial("driver killed", "publishing beside the workers", driver("rename", "^manifests/", "output.compact_every=3")),
    Trial("worker killed", "starting", once("worker", "ready", "kill")),
    Trial("worker killed", "decoding", once("worker", "decode", "kill")),
    Trial("worker killed", "inference", once("worker", "inference", "kill")),
    Trial("worker killed", "before it writes", once("worker", "write", "kill")),
    Trial("worker killed", "between write and rename", once("worker", "rename", "kill")),
    Trial("worker killed", "after the rename, before its receipt", once("worker", "written", "kill")),
    Trial("worker killed", "at any moment", worker_killed_from_outside),
    Trial("compaction task killed", "between write and rename", once("compaction", "rename", "kill")),
    Trial("segmentation fault on one frame", "inference, always", poison("inference", "segfault")),
    Trial("killed for memory on one frame", "decoding, always", poison("decode", "kill")),
    Trial("hangs on one frame", "inference, always", poison("inference", "hang", "cluster.stall_seconds=5")),
    Trial("`MemoryError` on one frame", "inference, always", poison("inference", "memory")),
    Trial("exception on one frame", "inference, always", poison("inference", "raise")),
    Trial("exception on all frames of a video", "inference, whole run", raises_throughout),
    Trial("memory leak", "inference", leaks),
    Trial("disk full", "a worker writes, three times", once("worker", "write", "no space", times=3)),
    Trial("disk full", "a worker writes, whole run", full_for_good),
    Trial("disk full", "compaction writes a data file", once("compaction", "write", "no space", code=6)),
    Trial("disk full", "the manifest is written", driver("rename", "^manifests/", action="no space", code=6)),
    Trial("input/output error", "between write and rename", once("worker", "rename", "input/output", times=2)),
    Trial(
        "input/output error",
        "absorbed partitions are deleted",
        driver("delete", "^partitions/", skip=3, action="input/output", code=6),
    ),
    Trial("a read stalls", "decoding", once("worker", "decode", "hang", "cluster.stall_seconds=4")),
    Trial("node killed", "among commits", node_killed),
    Trial("all nodes but the head killed", "among commits; new ones join", all_nodes_killed),
    Trial("node joins", "among commits", node_joins),
    Trial("head killed", "among commits; a new cluster", head_restarted),
    Trial("SIGTERM", "among commits", signalled(signal.SIGTERM, code=143)),
    Trial("SIGTERM twice", "among commits", signalled(signal.SIGTERM, signal.SIGTERM, code=143)),
    Trial("SIGINT", "among commits", signalled(signal.SIGINT, code=130)),
    Trial("a second driver", "among commits, refused", second_driver),
    Trial("a second driver", "among commits, forced", forced_driver),
    Trial("a second driver", "among commits, forced, with other settings", other_settings),
    Trial(
        "a second driver",
        "after 62 s of a run that reports every 2 s, refused",
        second_driver_later("run.progress_seconds=2", fault=Fault("worker", "inference", "", "pause", times=ALWAYS)),
    ),
    Trial("a second driver", "62 s into the last compaction, refused", second_driver_beside_compaction),
    Trial("a second driver", "while the first publishes a manifest, forced", slow_manifest),
    Trial("driver stopped for 85 s", "among commits; a second driver, refused", driver_stopped),
    Trial("partition deleted", "among commits", partition_deleted),
    Trial("output removed", "among commits", folder_removed),
    Trial("truncated partition", "between two runs", truncated_partition),
    Trial("flipped bit in a partition", "between two runs", flipped_partition),
    Trial("truncated data file", "between two runs", damaged_dataset(truncate_data)),
    Trial("lost data file", "between two runs", damaged_dataset(remove_data)),
    Trial("lost `videos.parquet`", "between two runs", damaged_dataset(remove_table)),
    Trial("remains of a killed writer", "between two runs", damaged_dataset(add_remains)),
    Trial("lease of another clock", "between two runs", damaged_dataset(lease_from_elsewhere)),
    Trial("clock jumps a day", "among commits", driver("written", "/status.json", action="jump", code=0)),
)

# In mode tracking, where each link of a video begins with the state that the one before ended with.
CHAIN_TRIALS = (
    Trial("driver killed in a chain", "among commits", killed_among_commits),
    Trial("driver killed in a chain", "then a link is deleted or its state damaged", chain_broken),
    Trial("driver killed in a chain", "then links of another length", resumed_with_other_links),
    Trial("worker killed in a chain", "from outside", worker_killed_from_outside),
    Trial("worker killed in a chain", "between write and rename", once("worker", "rename", "kill")),
    Trial("node killed in a chain", "among commits", node_killed),
    Trial("two drivers in a chain", "forced", forced_driver),
    Trial("partition deleted in a chain", "by somebody, during the run", partition_deleted),
    Trial("segmentation fault on one frame of a chain", "inference, always", poison("inference", "segfault")),
    Trial("exception on one frame of a chain", "inference, always", poison("inference", "raise")),
)
