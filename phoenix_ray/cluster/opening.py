"""The output of a run, opened for writing: held by this driver alone, with an identity that fits the settings."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from phoenix_ray.cluster.session import RaySession
from phoenix_ray.cluster.settle import settle_model
from phoenix_ray.cluster.trial import hold_trial
from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity, agree_on_identity
from phoenix_ray.dataset.lease import Lease, keep_lease
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Source


@dataclass(frozen=True, slots=True)
class Job:
    """A dataset that this process may write, opened with settings that fit it."""

    settings: Settings
    storage: Storage
    identity: DatasetIdentity
    lease: Lease
    run_id: str


@contextmanager
def open_job(settings: Settings, source: Source, session: RaySession, announce: Callable[[str], None]) -> Iterator[Job]:
    """Open the output for writing: no other driver may be at work on it, and its identity must fit the settings.

    The job's settings have the model's engine and batch size decided. The identity of a new dataset is not recorded
    yet: `claim_dataset` does that once the model is known to load. `announce` receives a line about a trial.

    Raises:
        OutputError: It cannot be written, was computed with other settings, or another driver is at work.
    """
    storage = open_storage(settings.output.path)
    with hold_lease(storage, settings) as (run_id, lease):
        settings = settle_model(
            settings,
            storage,
            session.resources,
            lambda trial: hold_trial(settings, trial, source, session.resources(), announce),
        )
        identity = agree_on_identity(storage, make_identity(settings, source.root))
        yield Job(settings, storage, identity, lease, run_id)


@contextmanager
def hold_lease(storage: Storage, settings: Settings, prefix: str = "") -> Iterator[tuple[str, Lease]]:
    """Hold the lease of an output under a new run ID, which begins with `prefix` where it is not that of a run.

    Raises:
        OutputError: Another driver is at work, and `run.force` is not set.
    """
    run_id = f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    with keep_lease(storage, run_id, force=settings.run.force) as lease:
        yield run_id, lease


def make_identity(settings: Settings, source_root: str) -> DatasetIdentity:
    """Return what rows computed with these settings have in common."""
    return DatasetIdentity(
        layout=registry.layout(settings.model).name,
        model=registry.identity(settings.model).fields,
        limit_frames=settings.source.limit_frames,
        signature=settings.source.signature,
        source_root=source_root,
    )
