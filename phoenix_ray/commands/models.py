"""`phoenix-ray models`: the models, the weights on this machine, and networks in ONNX files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.text import printable_line, printable_text, short_line

if TYPE_CHECKING:
    from phoenix_ray.models.onnx.adding import AddedNetwork
    from phoenix_ray.models.onnx.catalog import LocatedManifest
    from phoenix_ray.models.weight_files import WeightFile


@click.group()
def models() -> None:
    """List models; install and check their weights; add networks in ONNX files."""


_PATH = click.option("--path", default="", help="Their folder (default: $PHOENIX_RAY_MODELS, else a cache folder).")


@models.command("list")
@_PATH
def list_models(path: str) -> None:
    """List the models, networks in ONNX files among them, and the weights that are installed."""
    from phoenix_ray.models import registry, weights
    from phoenix_ray.models.onnx.catalog import added_manifests, shipped_manifests

    for info in registry.available():
        click.secho(info.name, bold=True)
        click.echo(click.wrap_text(info.description, 100, "  ", "  "))
        click.echo(f"  engines: {', '.join(info.engines) or 'none'}\n  layouts: {', '.join(info.layouts)}")
    folder = weights.weights_folder(path)
    click.secho(f"weights in {folder}", bold=True)
    for status in weights.check_weights(folder):
        state = "installed" if status.state == "ok" else status.state
        click.echo(f"  {state:9}  {status.path.name}{_complexity(status.weight)}")
    added = added_manifests(folder)
    click.secho(f"networks in ONNX files, added to {folder}", bold=True)
    for found in added:
        if isinstance(found, ConfigError):
            click.echo(f"  unreadable  {printable_text(found)}")
        else:
            click.echo(_line(found, "added" if found.network.is_file() else "missing"))
    if not added:
        click.echo("  none")
    click.secho("networks whose manifest is here but whose file is yours to bring (models show NAME)", bold=True)
    names = {found.manifest.name for found in added if not isinstance(found, ConfigError)}
    for located in shipped_manifests():
        if located.manifest.name not in names:
            click.echo(_line(located, "no file"))


@models.command("add")
@click.argument("file", metavar="FILE.onnx", type=click.Path(path_type=Path))
@click.option("--manifest", default="", help="Its manifest: a name (models list), or a .yaml file.")
@click.option("--name", default="", help="Value of model.name for it (default: the manifest's).")
@click.option("--fp16", type=click.Path(path_type=Path), help="The same network in half precision.")
@click.option("--replace", is_flag=True, help="Replace another network of that name.")
@_PATH
def add_model(file: Path, manifest: str, name: str, fp16: Path | None, replace: bool, path: str) -> None:
    """Add a network in an ONNX file: check it against its manifest, try it, and copy both into the weights folder.

    Without --manifest it is FILE.yaml beside the file, or the one of the package with the file's name.
    """
    from phoenix_ray.models import registry, weights
    from phoenix_ray.models.onnx.adding import add_network

    taken = [info.name for info in registry.available()]
    folder = weights.weights_folder(path)
    added = add_network(file, folder, manifest, name, fp16, replace=replace, taken=taken)
    for line in _seen(added):
        click.echo(printable_line(line))


@models.command("show")
@click.argument("name")
@_PATH
def show_model(name: str, path: str) -> None:
    """Print the manifest of a network, to read or to start one of your own from."""
    from phoenix_ray.models.onnx.catalog import find_manifest

    click.echo(printable_text(find_manifest(name, path).path.read_text(encoding="utf-8")), nl=False)


@models.command("remove")
@click.argument("name")
@_PATH
def remove_model(name: str, path: str) -> None:
    """Remove a network that was added: its manifest and its files."""
    from phoenix_ray.models import weights
    from phoenix_ray.models.onnx.adding import remove_network

    for file in remove_network(name, weights.weights_folder(path)):
        click.echo(f"removed {file}")


@models.command("fields")
def show_fields() -> None:
    """Print the fields of manifests as the tables of docs/manifests.md."""
    from phoenix_ray.models.onnx.manifest_fields import tables_as_markdown

    click.echo(tables_as_markdown(), nl=False)


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
    """Check each weight file and each added network against its sha256."""
    from phoenix_ray.models import weights
    from phoenix_ray.models.onnx.adding import check_added

    folder = weights.weights_folder(path)
    statuses = weights.check_weights(folder)
    required = weights.required_weights()
    for status in statuses:
        click.echo(f"{status.state:8} {status.path}{_complexity(status.weight)}")
    broken = []
    for added in check_added(folder):
        click.echo(f"{added.state:8} {added.path}")
        if added.state != "ok":
            broken.append(added.detail)
    if any(
        status.state == "damaged" or (status.state == "missing" and status.weight in required) for status in statuses
    ):
        broken.insert(0, f"The weights in {folder} are not complete: `phoenix-ray models install` repairs them.")
    if broken:
        raise ModelError("\n".join(broken))


def _line(located: LocatedManifest, state: str) -> str:
    """Return a network's line: state, name, kind, layout, licence."""
    manifest = located.manifest
    layout = getattr(manifest, "layout", manifest.kind)
    layout = layout if isinstance(layout, str) else layout.name
    return printable_line(f"  {state:7}  {manifest.name:30} {layout:18}  {_short(manifest.license)}")


def _short(text: str) -> str:
    """Return the name of a licence, without what it asks for."""
    return text.partition(":")[0].strip()


def _seen(added: AddedNetwork) -> Iterator[str]:
    """Yield what was seen of a network that was added, a line each."""
    from phoenix_ray.models.onnx.network_file import shape_text

    manifest, facts = added.located.manifest, added.facts
    for name, shape in facts.inputs.items():
        yield f"input    {name} {shape_text(shape)}, {manifest.input.channel_order}, {manifest.input.resize}"
    for name, shape in facts.outputs.items():
        yield f"output   {name} {shape_text(shape)}"
    for line in added.tried:
        yield f"tried    on noise of {line}"
    for key, value in facts.metadata.items():
        yield f"file     {key}: {short_line(value)}"
    yield f"licence  {manifest.license}"
    named = _short(manifest.license).partition(" ")[0].lower()
    if named not in facts.metadata.get("license", named).lower():
        yield "licence  The file names another licence than its manifest (above): find out which one holds."
    yield f"{'kept' if added.was_there else 'added':8} {added.located.path}"
    for file in added.unused:
        yield f"unused   {file}: of a network that was replaced; remove it when no run needs it"
    setting = {"pose": "model.name", "detector": "model.box=detector model.detector", "head": "model.heads"}[
        manifest.kind
    ]
    value = f"[{manifest.name}]" if manifest.kind == "head" else manifest.name
    yield f"run it   phoenix-ray run SOURCE OUTPUT {setting}={value}"


def _complexity(weight: WeightFile) -> str:
    """Say of a network that the wheel lacks what it is for."""
    return f" (for model.complexity={weight.complexity} only)" if weight.url else ""
