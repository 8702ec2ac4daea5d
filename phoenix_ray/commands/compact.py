"""`phoenix-ray compact OUTPUT`: merges partitions into data files, as a run does at its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phoenix_ray.commands.config import SettingsCommand, read_settings, with_settings
from phoenix_ray.errors import ConfigError
from phoenix_ray.text import counted

if TYPE_CHECKING:
    from phoenix_ray.config import Settings


@click.command(cls=SettingsCommand)
@with_settings("output.path")
def compact(config: Path | None, words: tuple[str, ...], **switches: Any) -> None:
    """Merge the partitions of the dataset in OUTPUT into few large files (`run` does it at its end).

    Files of earlier versions are written in the present form, and the dataset card is brought up to date.
    """
    compact_dataset(read_settings(config, words, switches, "output.path"))


def compact_dataset(settings: Settings) -> None:
    """Merge the partitions of the dataset at `output.path`.

    Raises:
        PhoenixRayError: There is no dataset, or it cannot be written.
    """
    from phoenix_ray.cluster.claim import claim_output
    from phoenix_ray.cluster.progress import say
    from phoenix_ray.cluster.reduce import plan_tasks, reduce_all
    from phoenix_ray.cluster.session import RaySession
    from phoenix_ray.dataset.card import CardWords
    from phoenix_ray.dataset.card_file import write_card
    from phoenix_ray.dataset.identity import read_identity
    from phoenix_ray.dataset.locations import open_storage
    from phoenix_ray.dataset.manifest import read_manifest
    from phoenix_ray.dataset.publication import sweep
    from phoenix_ray.dataset.snapshot import measure_extent

    if not settings.output.path:
        raise ConfigError("No dataset is given: `phoenix-ray compact OUTPUT`, or output.path=OUTPUT.")
    identity = read_identity(open_storage(settings.output.path))
    with claim_output(settings, "compact-") as claim:
        swept = sweep(claim.storage, identity, temporary_seconds=0)
        survey = swept.survey
        for line in swept.removal.lines():
            say(line)
        if plan_tasks(claim.storage, survey, settings.output):
            with RaySession(settings.cluster, say) as session:
                session.resources()
                for damaged in reduce_all(claim.storage, survey, settings.output, say, claim.lease.confirm):
                    say(f"{damaged.name} is damaged ({damaged.reason}); `phoenix-ray run` computes its frames again.")
        else:
            say("There is nothing to merge.")
        write_card(claim.storage, identity, CardWords(settings.output.license), say)
    manifest = read_manifest(claim.storage, identity)
    files = counted(len(manifest.files), "file")
    say(f"{manifest.tally.rows:,} rows in {files} below {claim.storage.root}/data")
    if left := measure_extent(claim.storage, identity).open_frames:
        say(f"{left:,} rows are not merged: their videos lack frames, which `phoenix-ray run` computes.")
