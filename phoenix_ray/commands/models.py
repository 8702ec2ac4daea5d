"""`phoenix-ray models list | install | check`: the models, and the weights on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.errors import ModelError

if TYPE_CHECKING:
    from phoenix_ray.models.weight_files import WeightFile


@click.group()
def models() -> None:
    """List models; install and check their weights."""


_PATH = click.option("--path", default="", help="Their folder (default: $PHOENIX_RAY_MODELS, else a cache folder).")


@models.command("list")
@_PATH
def list_models(path: str) -> None:
    """List the models and their engines, and the weights that are installed."""
    from phoenix_ray.models import registry, weights

    for info in registry.available():
        click.secho(info.name, bold=True)
        click.echo(click.wrap_text(info.description, 100, "  ", "  "))
        click.echo(f"  engines: {', '.join(info.engines) or 'none'}\n  layouts: {', '.join(info.layouts)}")
    folder = weights.weights_folder(path)
    click.secho(f"weights in {folder}", bold=True)
    for status in weights.check_weights(folder):
        state = "installed" if status.state == "ok" else status.state
        click.echo(f"  {state:9}  {status.path.name}{_complexity(status.weight)}")


@models.command("install")
@click.option(
    "--from",
    "--wheel",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Take them from here, offline: the wheel of mediapipe 0.10.21, the npm package @mediapipe/pose, a .tflite "
    "file, the address of one of these, or a folder: an environment with MediaPipe, or one of such files. May be "
    "repeated.",
)
@click.option(
    "--complexity",
    "complexities",
    type=click.Choice(["0", "1", "2"]),
    multiple=True,
    help="Also the pose network for model.complexity 0 or 2, which the wheel lacks (3 and 28 MB). May be repeated.",
)
@_PATH
def install_models(sources: tuple[str, ...], complexities: tuple[str, ...], path: str) -> None:
    """Install the networks' weights: those of the mediapipe 0.10.21 wheel, which pip downloads.

    Pose networks of other complexities come from an installation of MediaPipe in this environment, from MediaPipe's
    address or from npm. A run that needs them installs them by itself. --from also takes torchvision's file for
    model.name=keypointrcnn, which nothing fetches by itself.
    """
    from phoenix_ray.models import weights
    from phoenix_ray.models.keypoint_rcnn import KEYPOINT_RCNN_FILE, install_keypoint_rcnn

    folder = weights.weights_folder(path)
    of_torchvision = [source for source in sources if Path(source).name == KEYPOINT_RCNN_FILE]
    for source in of_torchvision:
        click.echo(f"Installed {install_keypoint_rcnn(source, folder)}")
    if sources and len(of_torchvision) == len(sources):
        return
    sources = tuple(source for source in sources if source not in of_torchvision)
    wanted = [int(complexity) for complexity in complexities]
    click.echo(f"Weights are in {weights.install_weights(folder, sources, wanted, click.echo)}")


@models.command("check")
@_PATH
def check_models(path: str) -> None:
    """Check each weight file against its sha256."""
    from phoenix_ray.models import weights

    folder = weights.weights_folder(path)
    statuses = weights.check_weights(folder)
    required = weights.required_weights()
    for status in statuses:
        click.echo(f"{status.state:8} {status.path}{_complexity(status.weight)}")
    if any(
        status.state == "damaged" or (status.state == "missing" and status.weight in required) for status in statuses
    ):
        raise ModelError(f"The weights in {folder} are not complete: `phoenix-ray models install` repairs them.")


def _complexity(weight: WeightFile) -> str:
    """Say of a network that the wheel lacks what it is for."""
    return f" (for model.complexity={weight.complexity} only)" if weight.url else ""
