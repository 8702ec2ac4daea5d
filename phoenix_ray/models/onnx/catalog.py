"""Manifests by name or path: those that the package brings, and those that were added to the weights folder.

An added manifest, `<weights folder>/<name>.yaml`, records the sha256 of its file and goes before one of the same name
that the package brings, which knows no file. `adding` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.models.onnx.manifest import DetectorManifest, HeadManifest, PoseManifest
from phoenix_ray.models.onnx.manifest_fields import KINDS, problem_sentence
from phoenix_ray.models.onnx.manifest_rules import broken_rules
from phoenix_ray.models.weights import weights_folder
from phoenix_ray.yaml_files import parse_yaml

SUFFIX = ".yaml"
SUFFIXES = (SUFFIX, ".yml")
OnnxManifest = PoseManifest | DetectorManifest | HeadManifest
Kind = Literal["pose", "detector", "head"]

# Kind → what a message calls it, and the setting that takes it.
_CALLED = {"pose": "a network that finds points", "detector": "a detector", "head": "a head"}
_SETTING = {"pose": "model.name", "detector": "model.detector", "head": "model.heads"}


@dataclass(frozen=True, slots=True)
class LocatedManifest:
    """A manifest, and where it was found.

    Attributes:
        manifest: What it says.
        path: Its file.
        folder: Folder of the network's file: the manifest's own, or the weights folder for one of the package.
    """

    manifest: OnnxManifest
    path: Path
    folder: Path

    @property
    def network(self) -> Path:
        """Path of the network's file, whether or not it is there."""
        return self.folder / (self.manifest.weights.file or f"{self.manifest.name}.onnx")

    @property
    def fp16_network(self) -> Path | None:
        """Path of the network in half precision; None where the manifest names none."""
        half = self.manifest.fp16
        return self.folder / (half.file or f"{self.manifest.name}-fp16.onnx") if half else None

    @property
    def is_shipped(self) -> bool:
        """Whether the package brings it."""
        return self.path.parent == shipped_folder()


def find_manifest(
    name: str, weights_path: str, others: Sequence[str] = (), kind: Kind | None = None
) -> LocatedManifest:
    """Return the manifest of a name, or at a path.

    Args:
        name: A manifest's name, or the path of a .yaml file.
        weights_path: The setting `model.weights_path`.
        others: Names of models without a manifest, for the message.
        kind: What it must describe; None for any.

    Raises:
        ConfigError: There is no such manifest, it is not right, or it describes another kind of network; the message
            names the field.
    """
    setting = _SETTING[kind or "pose"]
    located = _find(name, weights_folder(weights_path), others, setting)
    found = located.manifest.kind
    if kind is not None and found != kind:
        raise ConfigError(
            f"{setting}={name}: {located.path} describes {_CALLED[found]}, not {_CALLED[kind]}. Give it as "
            f"{_SETTING[found]}, or name another here: `phoenix-ray models list` shows them."
        )
    return located


def added_manifests(folder: Path) -> tuple[LocatedManifest | ConfigError, ...]:
    """Return the manifests of a weights folder, sorted by name, or why one cannot be read."""
    return tuple(_read_or_explain(path, folder) for path in sorted(folder.glob(f"*{SUFFIX}")))


def shipped_manifests() -> tuple[LocatedManifest, ...]:
    """Return the manifests that the package brings, sorted by name."""
    folder = shipped_folder()
    return tuple(
        LocatedManifest(read_network_manifest(path), path, folder) for path in sorted(folder.glob(f"*{SUFFIX}"))
    )


def read_network_manifest(path: Path) -> OnnxManifest:
    """Return what a manifest says.

    Raises:
        ConfigError: It cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"There is no manifest {path}.") from None
    except OSError as error:
        raise ConfigError(f"The manifest {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"The manifest {path} is not text in UTF-8 ({error}).") from None
    return parse_manifest(text, path)


def parse_manifest(text: str, path: Path) -> OnnxManifest:
    """Return what the text of a manifest says.

    Args:
        text: YAML.
        path: Its file, for messages.

    Raises:
        ConfigError: It is not YAML, or a field is missing, unknown or wrong.
    """
    tree = parse_yaml(text, f"The manifest {path}")
    if not isinstance(tree, dict):
        raise ConfigError(f"The manifest {path} must hold fields, `name: …` and others (docs/manifests.md).")
    kind = tree.setdefault("kind", "pose")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"The manifest {path}: kind: there is no {kind!r}, only {', '.join(KINDS)}.")
    try:
        manifest = KINDS[kind].model_validate(tree)
    except ValidationError as error:
        found = error.errors()
        # A list whose items are wrong is also called too short.
        locations = [problem["loc"] for problem in found]
        problems = [
            problem_sentence(problem, KINDS[kind], tree)
            for problem in found
            if not any(len(other) > len(problem["loc"]) == _shared(other, problem["loc"]) for other in locations)
        ]
    else:
        problems = [f"{field}: {sentence}." for field, sentence in broken_rules(manifest)]
        if not problems:
            return manifest
    lines = "\n  ".join(dict.fromkeys(problems))
    raise ConfigError(f"The manifest {path} is not right (docs/manifests.md):\n  {lines}")


def shipped_folder() -> Path:
    """Return the folder of the manifests that the package brings."""
    return Path(str(files("phoenix_ray.models.onnx").joinpath("manifests")))


def _find(name: str, folder: Path, others: Sequence[str], setting: str) -> LocatedManifest:
    if name.endswith(SUFFIXES):
        path = Path(name).expanduser().absolute()
        return LocatedManifest(read_network_manifest(path), path, path.parent)
    # A name with a slash is a path.
    for place in () if set(name) & set("/\\") or not name else (folder, shipped_folder()):
        path = place / f"{name}{SUFFIX}"
        if path.is_file():
            return LocatedManifest(read_network_manifest(path), path, folder)
    if name.endswith(".onnx"):
        beside = Path(name).with_suffix(SUFFIX)
        raise ConfigError(
            f"{setting}={name} is a network's file: give its manifest, {beside}, or the name under which "
            "`phoenix-ray models add` has added it (docs/manifests.md)."
        )
    known = sorted({path.stem for place in (folder, shipped_folder()) for path in place.glob(f"*{SUFFIX}")})
    names = [*others, *known]
    raise ConfigError(
        f"There is no model '{name}' ({setting}).{did_you_mean(name, names)} Models: {', '.join(names)}. "
        "A network of your own needs a manifest (docs/manifests.md)."
    )


def _shared(first: Sequence[object], second: Sequence[object]) -> int:
    """Return at how many places from the first on both are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (here, there) in pairs if here != there), len(second))


def _read_or_explain(path: Path, folder: Path) -> LocatedManifest | ConfigError:
    try:
        return LocatedManifest(read_network_manifest(path), path, folder)
    except ConfigError as error:
        return error
