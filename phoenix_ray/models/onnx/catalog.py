"""Manifests by name or path: those that the package brings, and those that were added to the weights folder.

An added manifest, `<weights folder>/<name>.yaml`, records the sha256 of its file and goes before one of the same name
that the package brings, which knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.models.onnx.manifest import AnyManifest, DetectorManifest, HeadManifest, PoseManifest
from phoenix_ray.models.weights import weights_folder

SUFFIX = ".yaml"
_MANIFEST: TypeAdapter[PoseManifest | DetectorManifest | HeadManifest] = TypeAdapter(AnyManifest)


@dataclass(frozen=True, slots=True)
class LocatedManifest:
    """A manifest, and where it was found.

    Attributes:
        manifest: What it says.
        path: Its file.
        folder: Folder of the network's file: the manifest's own, or the weights folder for one of the package.
    """

    manifest: PoseManifest | DetectorManifest | HeadManifest
    path: Path
    folder: Path


def find_manifest(
    name: str, weights_path: str, others: Sequence[str] = (), setting: str = "model.name"
) -> LocatedManifest:
    """Return the manifest of a name, or at a path.

    Args:
        name: A manifest's name, or the path of a .yaml file.
        weights_path: The setting `model.weights_path`.
        others: Names of models without a manifest, for the message.
        setting: The setting that names it, for the message.

    Raises:
        ConfigError: There is no such manifest, or it is not right; the message names the field.
    """
    folder = weights_folder(weights_path)
    if name.endswith((SUFFIX, ".yml")):
        path = Path(name).expanduser().absolute()
        return LocatedManifest(read_network_manifest(path), path, path.parent)
    for place in (folder, _package_folder()):
        path = place / f"{name}{SUFFIX}"
        if path.is_file():
            return LocatedManifest(read_network_manifest(path), path, folder)
    known = sorted({path.stem for place in (folder, _package_folder()) for path in place.glob(f"*{SUFFIX}")})
    names = [*others, *known]
    raise ConfigError(f"There is no model '{name}' ({setting}).{did_you_mean(name, names)} Models: {', '.join(names)}.")


def shipped_manifests() -> tuple[LocatedManifest, ...]:
    """Return the manifests that the package brings, sorted by name."""
    folder = _package_folder()
    return tuple(
        LocatedManifest(read_network_manifest(path), path, folder) for path in sorted(folder.glob(f"*{SUFFIX}"))
    )


def read_network_manifest(path: Path) -> PoseManifest | DetectorManifest | HeadManifest:
    """Return what a manifest says.

    Raises:
        ConfigError: It cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(tree, dict):
            tree.setdefault("kind", "pose")
        return _MANIFEST.validate_python(tree)
    except OSError as error:
        raise ConfigError(f"The manifest {path} cannot be read: {error.strerror}.") from None
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The manifest {path} is not right: {error}") from None


def _package_folder() -> Path:
    return Path(str(files("phoenix_ray.models.onnx").joinpath("manifests")))
