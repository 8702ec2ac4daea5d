"""`phoenix-ray run SOURCE OUTPUT`: computes the landmarks of videos into a dataset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from phoenix_ray.commands.config import SOURCE_AND_OUTPUT, SettingsCommand, read_settings, require_places, with_settings


@click.command(cls=SettingsCommand)
@with_settings(*SOURCE_AND_OUTPUT)
@click.option("--force", is_flag=True, help="Start although another driver seems to work on this output.")
@click.pass_context
def run(context: click.Context, /, config: Path | None, words: tuple[str, ...], force: bool, **switches: Any) -> None:
    """Compute the landmarks of the videos in SOURCE into the dataset OUTPUT; go on where an earlier run stopped.

    SOURCE is a folder of videos (mp4, mkv, webm, …), of frame folders, a PHOENIX-2014-T tree, or a CSV or Parquet table
    of videos. OUTPUT is a folder. Both may be URIs of buckets, such as s3://BUCKET/FOLDER. `phoenix-ray config` shows
    every setting.

    \b
    Exit codes:
      0    finished: every frame has its row
      1    an unexpected error, or more failures than run.max_failures allows
      2    a setting or argument is wrong, or a package is missing
      3    finished, but some videos or shards failed (`phoenix-ray failures` lists them; run again to retry)
      4    the source cannot be read
      5    the model or its weights cannot be loaded
      6    the output cannot be written, or was computed with other settings
      7    Ray cannot be reached, or no worker starts
      130  stopped by SIGINT (Ctrl-C), 143 by SIGTERM: drained, nothing lost
    """
    from phoenix_ray.cluster.job import run_job

    forced = ["run.force=true"] if force else []
    settings = read_settings(config, [*words, *forced], switches, *SOURCE_AND_OUTPUT)
    require_places(settings, "run")
    sys.exit(run_job(settings, context.obj))
