"""Brings a dataset to completion: compute what is missing, merge it, look, and compute again what got lost meanwhile.

A committed file may vanish while a run goes on: somebody deletes a partition, or the whole output; a file proves to be
damaged when it is merged; another driver was forced onto the dataset. So a run says that it is finished only after it
has compared the dataset with the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.chains import Chains, link_frames, shards_at_once
from phoenix_ray.cluster.claim import Claim
from phoenix_ray.cluster.driver import Driver
from phoenix_ray.cluster.plan import MissingRanges, Plan, plan_run
from phoenix_ray.cluster.reduce import BackgroundReduce, reduce_all
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.session import RaySession, StopRequest
from phoenix_ray.cluster.shards import Blame
from phoenix_ray.cluster.worker_plan import require_spare_cpu, workers_wanted
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import remove_dead_leases
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.lease import LeaseLostError
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import discard
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.shards import CommittedFrames, Expected, VersionKey, version_key
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import Survey, committed_in, take_survey
from phoenix_ray.errors import OutputError
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Source

# How often lost rows are computed again: whatever removes files twice will go on.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Job:
    """What the parts of a run share; `auto` is decided in its settings."""

    settings: Settings
    source: Source
    identity: DatasetIdentity
    claim: Claim
    session: RaySession
    record: RunRecord
    stop: StopRequest

    @property
    def storage(self) -> Storage:
        """The dataset."""
        return self.claim.storage


def complete(job: Job, plan: Plan, expected: Expected) -> int:
    """Compute what is missing, merge the rows, and compute again what got lost; return how many workers were asked for.

    Raises:
        PhoenixRayError: The run cannot go on.
    """

    def compute_again(missing: int, committed: CommittedFrames) -> bool:
        if not job.stop:
            again = plan_run(job.settings, job.source, without_given_up(committed, job.record.given_up_videos))
            job.record.rows_lost(missing, again.missing_frames)
            clear_away(job, committed, again)
            _compute(job, again)
        return not job.stop

    workers = _compute(job, plan)
    if not job.stop:
        missing = recompute_lost(job.storage, job.identity, expected, job.record.given_up_videos, compute_again)
        if missing and not job.stop:
            job.record.videos_missing(missing)
        if not job.claim.share:
            job.claim.lease.confirm()
            remove_half_written(job.storage)
    return workers


def remove_half_written(storage: Storage) -> None:
    """Remove partitions that a worker had not finished when it was killed; no worker of the dataset lives any more."""
    for file in storage.list(paths.PARTITIONS):
        if file.temporary:
            storage.delete(file.name)


def take_stock(claim: Claim, identity: DatasetIdentity, say: Callable[[str], None] = lambda _: None) -> CommittedFrames:
    """Return what is committed; a driver for all videos first removes what a crash left, and what drops ban."""
    if claim.share:
        return committed_in(take_survey(claim.storage, identity))
    swept = sweep(claim.storage, identity, temporary_seconds=0)
    for line in swept.removal.lines():
        say(line)
    remove_dead_leases(claim.storage, None)
    return committed_in(swept.survey)


def clear_away(job: Job, committed: CommittedFrames, plan: Plan) -> None:
    """Delete what will be computed again: damaged files, and partitions of videos that have changed since.

    An element of an array leaves files alone that may be another's: those that no video of its plan has.
    """
    folders = {paths.video_folder(paths.PARTITIONS, *shard.key[:2]) for shard in plan.shards if committed.damaged}
    for damaged in committed.damaged:
        if job.claim.share and damaged.name.rpartition("/")[0] not in folders:
            continue
        job.record.say(f"{damaged.name} cannot be trusted ({damaged.reason}); its frames are computed again.")
        discard(job.storage, job.identity, damaged)
    if not committed.partitions:
        return
    for shard in plan.shards:
        for name in committed.stale_partitions(shard.video):
            job.storage.delete(name)


def recompute_lost(
    storage: Storage,
    identity: DatasetIdentity,
    expected: Expected,
    given_up: Collection[VersionKey],
    compute: Callable[[int, CommittedFrames], bool],
) -> int:
    """Compute again what was planned and is not there; return how many videos are missing in the end.

    Args:
        storage: The dataset.
        identity: Its identity; `dataset.json` is written again where it was removed.
        expected: What was planned.
        given_up: Videos on this run's failure list; more may be added meanwhile.
        compute: Called with the number of videos that are missing, and what is committed; returns False when the run
            was asked to stop.

    Raises:
        OutputError: The dataset cannot be read or written, or was replaced by another dataset.
    """
    for attempt in range(ROUNDS + 1):
        claim_dataset(storage, identity)
        committed = committed_in(take_survey(storage, identity))
        missing = expected.missing_from(committed, given_up)
        if not missing or attempt == ROUNDS or not compute(missing, committed):
            return missing
    raise AssertionError


def without_given_up(committed: CommittedFrames, given_up: Collection[VersionKey]) -> MissingRanges:
    """Return what gives the frame ranges of a video to compute again: none for a video that this run has given up."""
    return lambda video: [] if version_key(video) in given_up else committed.missing_ranges(video)


def _compute(job: Job, plan: Plan) -> int:
    """Run the shards and the reduce step; return how many workers were asked for."""
    output, cluster = job.settings.output, job.session.cluster()
    if job.claim.share:
        # The last element of an array merges the rows of all (`cluster.array`).
        output = output.model_copy(update={"compact": False})
    job.stop.listen()
    workers = 0
    confirm = job.claim.lease.confirm
    with BackgroundReduce(job.storage, job.identity, output, confirm, job.record.say) as reduce:
        if plan.shards:
            workers = _run_shards(job, plan, reduce, cluster)
        if output.compact or not job.claim.share:
            job.record.compaction_begins()
        if output.compact and not job.stop:
            for damaged in [*reduce.finish(), *merge(job, take_survey(job.storage, job.identity), confirm)]:
                job.record.file_damaged(damaged)
    return workers


def _run_shards(job: Job, plan: Plan, reduce: BackgroundReduce, cluster: Cluster) -> int:
    settings = job.settings
    facts = registry.facts(settings.model)
    worker_plan = workers_wanted(settings.cluster, cluster, len(plan.shards), engine_uses_gpu=facts.uses_gpu)
    if settings.decode.on == "cpu_nodes":
        require_spare_cpu(worker_plan, settings.cluster, cluster)
    job.record.say(f"{'Asking for' if cluster.awaits_nodes else 'Starting'} {worker_plan}")
    pool = ActorPool(worker_plan, settings, job.identity)
    # The batches of a tracking model go across videos, so where a video is cut does not matter to them.
    blame = Blame(settings.cluster.max_attempts, 1 if facts.tracks else facts.batch_size)
    chains = Chains(link_frames(facts, settings.cluster.shard_frames))
    try:
        Driver(
            settings=settings,
            plan=worker_plan,
            pool=pool,
            look=job.session.cluster,
            scheduler=Scheduler(
                plan.shards,
                settings.cluster.shards_in_flight,
                blame,
                chains,
                at_once=shards_at_once(facts),
                workers=worker_plan.count,
            ),
            record=job.record,
            reduce=reduce,
            lease=job.claim.lease,
            stop=job.stop,
            begin=lambda: job.claim.begin_dataset(job.identity),
        ).run()
    finally:
        pool.close()
    # An autoscaler brings as many as it may.
    return job.record.most_workers if cluster.autoscales else worker_plan.count


def merge(job: Job, survey: Survey, confirm: Callable[[], None]) -> list[DamagedFile]:
    """Compact what is whole; on a full disk, where the run is incomplete anyway, leave it to the next run."""
    try:
        return reduce_all(job.storage, survey, job.settings.output, job.record.say, confirm)
    except LeaseLostError:
        raise
    except OutputError as error:
        if not job.record.failures:
            raise
        job.record.say(f"The compaction is left to the next run. {error}")
        return []
