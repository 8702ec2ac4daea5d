"""`phoenix-ray models list | install | check`: the models, and the weights on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from phoenix_ray.errors import ModelError


@click.group()
def models() -> None:
    """List models; install and check their weights."""


@models.command("list")
def list_models() -> None:
    """List the models and their engines."""
    from phoenix_ray.models import registry

    for info in registry.available():
        click.secho(info.name, bold=True)
        click.echo(click.wrap_text(info.description, 100, "  ", "  "))
        click.echo(f"  engines: {', '.join(info.engines) or 'none'}\n  layouts: {', '.join(info.layouts)}")


@models.command("install")
@click.option("--wheel", type=click.Path(path_type=Path), help="Take them from this mediapipe-0.10.21 wheel, offline.")
@click.option("--path", default="", help="Folder to install into (default: $PHOENIX_RAY_MODELS, else a cache folder).")
def install_models(wheel: Path | None, path: str) -> None:
    """Install the networks' weights from the mediapipe 0.10.21 wheel, which pip downloads."""
    from phoenix_ray.models import weights

    click.echo(f"Weights are in {weights.install_weights(weights.weights_folder(path), wheel)}")


@models.command("check")
@click.option("--path", default="", help="Folder of the weights (default: $PHOENIX_RAY_MODELS, else a cache folder).")
def check_models(path: str) -> None:
    """Check each weight file against its sha256."""
    from phoenix_ray.models import weights

    folder = weights.weights_folder(path)
    statuses = weights.check_weights(folder)
    for status in statuses:
        click.echo(f"{status.state:8} {status.path}")
    if any(status.state != "ok" for status in statuses):
        raise ModelError(f"The weights in {folder} are not complete: `phoenix-ray models install` repairs them.")
