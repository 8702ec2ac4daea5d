"""`phoenix-ray export`: the landmarks in the format of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from phoenix_ray.commands.config import LocalPath, frame_size_option
from phoenix_ray.exports.registry import FORMATS, IN_PLACE

_FORMATS = "\n".join(f"  {known.name:15} {known.description} ({known.makes})" for known in FORMATS)


@click.command(
    epilog=f"\b\nFormats:\n{_FORMATS}",
    short_help="Write landmarks in the format of another tool.",
)
@click.argument("source")
@click.argument("output", type=LocalPath(), required=False)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice([known.name for known in FORMATS]),
    required=True,
    help="See below.",
)
@click.option("--splits", help="Only these splits, separated by commas: train,dev.")
@click.option("--videos", multiple=True, metavar="ID", help="Only this video; may be given several times.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export at OUTPUT.")
@frame_size_option
def export(
    source: str,
    output: Path | None,
    format_name: str,
    splits: str | None,
    videos: tuple[str, ...],
    overwrite: bool,
    frame_size: tuple[int, int] | None,
) -> None:
    """Write the landmarks of SOURCE to OUTPUT in the format of another tool.

    SOURCE is a dataset, a pickle of keypoint lists, `.npz` or `.pose` files, or folders that OpenPose wrote. OUTPUT
    appears when all is written, or not at all; the format `delta` has no OUTPUT, since it is written into the dataset.

    \b
    Exit codes:
      0    written
      2    an argument is wrong, a package is missing, or the format cannot hold these landmarks
      6    SOURCE cannot be read; OUTPUT exists, cannot be written, or holds files that no export wrote
      130  stopped by Ctrl-C; OUTPUT is as it was
    """
    chosen = [split.strip() for split in splits.split(",")] if splits else None
    if format_name == IN_PLACE:
        if output is not None or videos:
            raise click.UsageError(
                f"The format '{IN_PLACE}' is written into the dataset: leave OUTPUT and --videos out."
            )
        from phoenix_ray.exports.delta import write_delta

        click.echo(f"{write_delta(source, chosen, overwrite)}: a Delta table")
        return
    if output is None:
        raise click.UsageError(f"The format '{format_name}' needs an OUTPUT.")
    from phoenix_ray.exports.export import export_videos

    done = export_videos(source, output, format_name, chosen, videos or None, overwrite, frame_size)
    click.echo(f"{done.path}: {done.videos:,} videos, {done.frames:,} frames, {done.bytes / 1e6:,.1f} MB")
    if done.empty_texts:
        click.echo(
            f"No video has a {' or a '.join(done.empty_texts)}, for which '{format_name}' is made: it is empty "
            "everywhere. A table of videos can give texts (docs/sources.md).",
            err=True,
        )
    if done.uneven_videos:
        click.echo(
            f"The frame rate of {done.uneven_videos:,} of them varies, which '{format_name}' cannot say: it has the "
            "average at most. npz, webdataset and csv keep when each frame is shown.",
            err=True,
        )
