"""`phoenix-ray drop DATASET`: removes the rows of videos or signers for good, and keeps them from coming back."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.commands.config import LocalPath
from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.text import counted, printable_line

if TYPE_CHECKING:
    from phoenix_ray.dataset.drop import DropReport, DropSelection
    from phoenix_ray.dataset.drop_history import DropHistory, DroppedVideo
    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.dataset.shards import VideoKey
    from phoenix_ray.dataset.storage import Storage

# What no program can reach, whatever it deletes here.
_ELSEWHERE = (
    "exports, training inputs, contact sheets, MP4s and HTML pages that were written elsewhere",
    "copies of the dataset, snapshots of its file system, backups, and caches (Hugging Face: ~/.cache/huggingface)",
    "what runs have printed, which may name videos: job logs, and Ray's session logs on the nodes",
    "the source: the videos themselves, and tables that name them",
)
_BUCKET = "earlier versions of the bucket's objects, where versioning or a retention rule keeps them"


@click.command()
@click.argument("dataset")
@click.option("--video", "names", multiple=True, metavar="ID", help="Drop this video (or SPLIT/ID); may be repeated.")
@click.option("--signer", "signers", multiple=True, metavar="NAME", help="Drop all videos of this signer, also later.")
@click.option("--from", "file", type=LocalPath(), metavar="FILE", help="Drop the videos in this file, an ID a line.")
@click.option("--reason", default="", help="Why; the history keeps it, so name nobody.")
@click.option("--dry-run", is_flag=True, help="Only show what would be dropped.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow", "lifts", is_flag=True, help="Lift the bans instead: the next run may compute them again.")
@click.option("--list", "lists", is_flag=True, help="Show the history of drops.")
def drop(
    dataset: str,
    names: tuple[str, ...],
    signers: tuple[str, ...],
    file: Path | None,
    reason: str,
    dry_run: bool,
    yes: bool,
    lifts: bool,
    lists: bool,
) -> None:
    """Remove the rows of videos from DATASET for good, as when a person withdraws consent.

    \b
    phoenix-ray drop /data/landmarks --signer Signer05 --dry-run
    phoenix-ray drop /data/landmarks --video train/01April_2010 --reason "request of 3 May"

    They are gone when it ends with 0, and later runs leave them out. If it is stopped,
    repeat the same command.
    """
    from phoenix_ray.dataset.drop_history import read_drops
    from phoenix_ray.dataset.identity import read_identity
    from phoenix_ray.dataset.locations import open_storage

    storage = open_storage(dataset)
    identity = read_identity(storage)
    wanted = [*names, *(_read_names(file) if file else ())]
    if lists:
        if wanted or signers:
            raise click.UsageError("--list shows the whole history: leave out the videos and signers.")
        _print_history(read_drops(storage))
        return
    if not wanted and not signers:
        raise click.UsageError("Say what to drop: --video ID, --signer NAME or --from FILE.")
    if lifts:
        from phoenix_ray.dataset.drop import allow_videos

        videos = _find_banned(read_drops(storage), dataset, wanted, signers)
        if not dry_run:
            allow_videos(storage, identity, videos, signers)
        would = "Would be allowed" if dry_run else "Allowed"
        click.echo(f"{would} again: {_count(len(videos), len(signers))}. The next run computes them.")
        return
    from phoenix_ray.dataset.drop import drop_videos, select_for_drop
    from phoenix_ray.dataset.reader import Dataset

    opened = Dataset(storage, identity)
    keys = _find_videos(storage, opened, dataset, wanted)
    _check_signers(storage, opened, dataset, signers)
    _print_selection(storage, select_for_drop(opened, keys, signers))
    if dry_run:
        click.echo("Nothing was changed (--dry-run).")
        return
    if not yes:
        _ask()
    _print_report(storage, drop_videos(storage, identity, keys, signers, reason))


def _read_names(file: Path) -> list[str]:
    """Return the names in a file, one a line; empty lines do not count."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} (--from) cannot be read: {error}") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError(f"{file} (--from) names no video: write an ID, or SPLIT/ID, on each line.")
    return found


def _find_videos(storage: Storage, dataset: Dataset, path: str, names: Sequence[str]) -> set[VideoKey]:
    """Return the videos that a user names; those that are dropped already are left out.

    Raises:
        ConfigError: A video is in neither the dataset, its failure list nor its history of drops.
    """
    from phoenix_ray.dataset.drop_history import read_drops
    from phoenix_ray.dataset.failures import read_failures
    from phoenix_ray.viewer.chosen_videos import find_video

    history = read_drops(storage)
    failed = {(failure.split, failure.video_id) for failure in read_failures(storage)} if names else set()
    found: set[VideoKey] = set()
    for name in names:
        listed = {key for key in failed if name in (key[1], "/".join(key))}
        if history.find_banned(name) or len(listed) == 1:
            with suppress(ConfigError):
                listed = {find_video(dataset, path, name)}
            found |= listed
        else:
            found.add(find_video(dataset, path, name))
    return found


def _check_signers(storage: Storage, dataset: Dataset, path: str, signers: Sequence[str]) -> None:
    """Raise ConfigError for a signer that is in neither the dataset nor its history of drops."""
    from phoenix_ray.dataset.drop import signers_of
    from phoenix_ray.dataset.drop_history import read_drops

    known, history = signers_of(dataset), read_drops(storage)
    for signer in signers:
        if signer not in known and not history.bans_signer(signer):
            way_out = did_you_mean(signer, known) or (f" There are: {', '.join(known[:10])}." if known else "")
            raise ConfigError(f"{path} has no signer '{signer}'.{way_out} Nothing was dropped.")


def _find_banned(history: DropHistory, path: str, names: Sequence[str], signers: Sequence[str]) -> list[DroppedVideo]:
    """Return the dropped videos that a user names, of those whose bans are to be lifted."""
    for signer in signers:
        if not history.bans_signer(signer):
            raise ConfigError(f"The signer '{signer}' is not dropped from {path}: --list shows its history.")
    found: list[DroppedVideo] = []
    for name in names:
        matching = history.find_banned(name)
        if not matching:
            raise ConfigError(f"No video '{name}' is dropped from {path}: --list shows its history.")
        if len(matching) > 1:
            raise ConfigError(f"Several dropped videos have the ID '{name}': name one as SPLIT/ID.")
        if matching[0].signer:
            raise ConfigError(
                f"'{name}' was dropped with all videos of its signer, who is still dropped: --allow --signer NAME "
                "lifts that."
            )
        found += matching
    return found


def _print_selection(storage: Storage, selection: DropSelection) -> None:
    for split, videos in sorted(selection.counts.items()):
        click.echo(printable_line(f"  {split}: {counted(videos, 'video')}, {selection.frames[split]:,} rows"))
    failed = len(selection.videos) - sum(selection.counts.values())
    if failed:
        click.echo(f"  {counted(failed, 'video')} without rows, on the failure list")
    if not selection.videos:
        click.echo("  no rows: what is named is dropped already, and only remains are removed")
    for signer in selection.signers:
        click.echo(printable_line(f"  also later videos of the signer {signer}"))
    click.echo(
        f"They go from {storage.root} for good: rows, failure records, what is in quarantine and may hold them, and "
        "the logs and reports of all earlier runs, which may name or show them."
    )


def _ask() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nothing was dropped: there is no terminal to ask. Give --yes, or --dry-run to look.")
    if not click.confirm("Drop them?"):
        click.echo("Nothing was dropped.")
        sys.exit(0)


def _print_report(storage: Storage, report: DropReport) -> None:
    selection = report.selection
    videos, rows = len(selection.videos), sum(selection.frames.values())
    dropped = (
        f"Dropped {counted(videos, 'video')} with {rows:,} rows." if videos else "All of them were dropped before."
    )
    click.echo(
        f"{dropped} {counted(len(report.rewritten), 'data file')} written again without them, "
        f"{counted(len(report.removed), 'file')} deleted; a search of all files finds nothing left."
    )
    if report.recompute:
        click.echo(
            f"{counted(report.recompute, 'other video')} in the same files had damaged rows: `phoenix-ray run` "
            "computes them again."
        )
    if report.unknown:
        shown = ", ".join(report.unknown[:5]) + (", …" if len(report.unknown) > 5 else "")
        click.echo(
            printable_line(
                f"Not looked into, because phoenix_ray did not write it as it is: {shown}. Look there yourself."
            )
        )
    for note in report.notes:
        click.echo(printable_line(note))
    click.echo("What this cannot reach, and is left to you:")
    for place in (*_ELSEWHERE, *((_BUCKET,) if "://" in storage.root else ())):
        click.echo(f"  {place}")
    click.echo(
        f"Later runs leave them out. To lift that: `phoenix-ray drop {shlex.quote(storage.root)} --allow --video …`"
    )


def _print_history(history: DropHistory) -> None:
    if not history:
        click.echo("Nothing was ever dropped.")
        return
    for record in history.records:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.time))
        rows = f" with {record.frames:,} rows" if record.action == "drop" else ""
        reason = f": {record.reason}" if record.reason else ""
        count = _count(len(record.videos), len(record.signers))
        click.echo(printable_line(f"{record.number}  {when}  {record.action}  {count}{rows}{reason}"))
    click.echo(f"Left out of runs now: {_count(history.videos, history.signers)}.")


def _count(videos: int, signers: int) -> str:
    parts = [counted(number, noun) for number, noun in ((videos, "video"), (signers, "signer")) if number]
    return " and ".join(parts) or "nothing"
