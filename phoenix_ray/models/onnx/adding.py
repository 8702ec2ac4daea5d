"""Adds a network's file to the weights folder: finds its manifest, checks the one against the other, tries it, copies.

`phoenix-ray models add`, `check` and `remove` call it. Any number of nodes may add to a shared folder at once: a file
is stored under a name that holds the first digits of its sha256, and its manifest, which names it, is written last. So
a manifest never names bytes of another network, and whoever comes last wins as a whole. Files that are replaced stay
until `models remove`: a node that adds them at the same moment may be about to name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from phoenix_ray.errors import ConfigError, ModelError, did_you_mean
from phoenix_ray.models.heads.networks import TFLITE_SUFFIX, outputs_named
from phoenix_ray.models.heads.tflite_file import read_tflite_facts
from phoenix_ray.models.onnx.catalog import (
    SUFFIX,
    SUFFIXES,
    LocatedManifest,
    OnnxManifest,
    added_manifests,
    is_readable_file,
    parse_manifest,
    read_network_manifest,
    shipped_folder,
)
from phoenix_ray.models.onnx.dry_run import try_network
from phoenix_ray.models.onnx.manifest import HeadManifest, NetworkFile
from phoenix_ray.models.onnx.manifest_rules import FILE_ENDINGS
from phoenix_ray.models.onnx.network_file import (
    NetworkFacts,
    mismatches,
    read_facts,
    sha256_of,
    shape_text,
)
from phoenix_ray.models.weights import write_whole

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class AddedNetwork:
    """What `add_network` saw and did.

    Attributes:
        located: The manifest in the weights folder.
        facts: What the file says of itself.
        tried: What came out for pictures of noise, one line for each; empty for kinds that are not tried.
        was_there: Whether the same network had been added before.
        unused: Files of networks that had this name before; nothing names them any more.
    """

    located: LocatedManifest
    facts: NetworkFacts
    tried: tuple[str, ...]
    was_there: bool
    unused: tuple[Path, ...] = ()


def add_network(
    file: Path,
    folder: Path,
    manifest: str = "",
    name: str = "",
    fp16: Path | None = None,
    *,
    replace: bool = False,
    taken: Sequence[str] = (),
) -> AddedNetwork:
    """Check a network's file against its manifest, try it, and copy both into the weights folder.

    Args:
        file: The .onnx file; of a head also a .tflite file.
        folder: The weights folder, created if it does not exist.
        manifest: Name or path of the manifest. Empty: `FILE.yaml` beside the file, or the package's of the same name.
        name: Value of `model.name` for it. Empty: the manifest's.
        fp16: The same network in half precision.
        replace: Whether it may replace another network of that name.
        taken: Names of models that need no manifest.

    Raises:
        ConfigError: There is no manifest, it is not right, or the name belongs to another network.
        MissingExtraError: onnxruntime is not installed.
        ModelError: A file is not a network, or not what the manifest says; or the folder cannot be written.
    """
    if not is_readable_file(file):
        raise ModelError(f"There is no file {file}." if not file.exists() else f"{file} is not a file.")
    source = manifest_for(file, manifest, folder)
    described = read_network_manifest(source)
    name = name or described.name
    if name.endswith(FILE_ENDINGS):
        raise ConfigError(f"--name {name} would be taken for a file's path: leave its ending out.")
    if name in taken:
        raise ConfigError(f"{name} is a model of phoenix_ray: choose another name with --name.")
    sums = {"weights": _checked_sum(file, described.weights, source, "weights")}
    facts = _checked_facts(file, described, source)
    if fp16 is not None:
        sums["fp16"] = _checked_sum(fp16, described.fp16 or NetworkFile(), source, "fp16")
        _checked_facts(fp16, described, source)
    suffix = TFLITE_SUFFIX if file.suffix == TFLITE_SUFFIX else ".onnx"
    text = _as_added(source.read_text(encoding="utf-8"), name, sums, facts, suffix)
    path = folder / f"{name}{SUFFIX}"
    added = LocatedManifest(parse_manifest(text, path), path, folder)
    was_there = _is_there(added, replace=replace)
    tried = tuple(try_network(described, file))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(added.network, file.read_bytes())
        if fp16 is not None and added.fp16_network is not None:
            write_whole(added.fp16_network, fp16.read_bytes())
        write_whole(path, text.encode())
    except OSError as error:
        raise ModelError(
            f"{name} cannot be written to {folder} ({error.strerror}): choose another folder with --path."
        ) from None
    return AddedNetwork(added, facts, tried, was_there, tuple(unused_files(folder, name)))


def manifest_for(file: Path, wanted: str, folder: Path) -> Path:
    """Return the path of the manifest for a file.

    Args:
        file: The .onnx file.
        wanted: Name or path of the manifest; empty: the one beside the file, or the package's of the same name.
        folder: The weights folder, whose manifests may be named too.

    Raises:
        ConfigError: There is none.
        MissingExtraError, ModelError: As `read_facts`, where there is none.
    """
    if wanted.endswith(SUFFIXES):
        path = Path(wanted).expanduser()
        if not is_readable_file(path):
            raise ConfigError(f"There is no manifest {path} (--manifest).")
        return path
    beside = [file.with_suffix(suffix) for suffix in SUFFIXES]
    name = wanted or file.stem
    named = [place / f"{name}{SUFFIX}" for place in (shipped_folder(), folder)]
    for path in named if wanted else [*beside, *named]:
        if "/" not in name and is_readable_file(path):
            return path
    names = sorted(path.stem for path in shipped_folder().glob(f"*{SUFFIX}"))
    if wanted:
        raise ConfigError(
            f"There is no manifest '{wanted}' (--manifest).{did_you_mean(wanted, names)} There are {', '.join(names)}."
        )
    facts = read_facts(file)
    inputs, outputs = (
        ", ".join(f"{tensor} {shape_text(shape)}" for tensor, shape in shapes.items())
        for shapes in (facts.inputs, facts.outputs)
    )
    raise ConfigError(
        f"{file} has no manifest: there is no {beside[0]}, and the package has none called '{name}'. The network takes "
        f"{inputs} and gives {outputs}."
        f"{did_you_mean(name, names)} Give --manifest NAME or PATH. There are {', '.join(names)}."
    )


@dataclass(frozen=True, slots=True)
class AddedStatus:
    """The state of an added network.

    Attributes:
        path: Its manifest.
        state: 'ok', 'missing' or 'damaged', as for the weights of other models, or 'unreadable': the manifest.
        detail: Why, where it is not ok.
    """

    path: Path
    state: Literal["ok", "missing", "damaged", "unreadable"]
    detail: str = ""


def check_added(folder: Path) -> Iterator[AddedStatus]:
    """Yield the state of each network of a weights folder, with its files read to the last byte."""
    for found in added_manifests(folder):
        if isinstance(found, ConfigError):
            yield AddedStatus(folder, "unreadable", str(found))
            continue
        files = [(found.network, found.manifest.weights.sha256)]
        if found.manifest.fp16 and found.fp16_network:
            files.append((found.fp16_network, found.manifest.fp16.sha256))
        yield next(
            (status for status in (_status(found, *pair) for pair in files) if status), AddedStatus(found.path, "ok")
        )


def remove_network(name: str, folder: Path) -> list[Path]:
    """Remove an added network's manifest and files, and return their paths.

    Raises:
        ConfigError: No network of that name was added.
        ModelError: A file cannot be removed.
    """
    path = folder / f"{name}{SUFFIX}"
    if set(name) & set("/\\") or not path.is_file():
        names = [found.stem for found in sorted(folder.glob(f"*{SUFFIX}"))]
        there = f"There are {', '.join(names)}." if names else "Nothing was added there."
        raise ConfigError(f"{folder} has no added network '{name}'.{did_you_mean(name, names)} {there}")
    # The manifest first: without it, nothing names the files.
    named = _files_of(path, folder)
    removed = [path, *sorted({*named, *unused_files(folder, name)})]
    try:
        for file in removed:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{name} cannot be removed from {folder} ({error.strerror}).") from None
    return removed


def unused_files(folder: Path, name: str) -> list[Path]:
    """Return files that were added to a folder under a name and that its manifest does not name."""
    pattern = re.compile(rf"{re.escape(name)}-[0-9a-f]{{{_DIGITS}}}\.(onnx|tflite)")
    found = {path for path in folder.glob(f"{name}-*") if pattern.fullmatch(path.name)}
    return sorted(found - _files_of(folder / f"{name}{SUFFIX}", folder))


def _checked_sum(file: Path, expected: NetworkFile, source: Path, field: str) -> str:
    try:
        found = sha256_of(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}).") from None
    if expected.sha256 and found != expected.sha256:
        raise ModelError(
            f"{file} has the sha256 {found}, but {source} says {expected.sha256} ({field}.sha256): fetch the file "
            "again, or correct the manifest if it is another file on purpose."
        )
    return found


def _checked_facts(file: Path, manifest: OnnxManifest, source: Path) -> NetworkFacts:
    if file.suffix != TFLITE_SUFFIX:
        facts = read_facts(file)
    elif isinstance(manifest, HeadManifest):
        facts = read_tflite_facts(file, outputs_named(manifest.decoder))
    else:
        raise ModelError(f"{file}: only heads run from .tflite files, and {source} describes a {manifest.kind}.")
    if problems := mismatches(manifest, facts):
        lines = "\n  ".join(problems)
        raise ModelError(
            f"{file} is not what {source} describes:\n  {lines}\nCorrect the manifest (docs/manifests.md), or choose "
            "another with --manifest."
        )
    return facts


def _is_there(added: LocatedManifest, *, replace: bool) -> bool:
    """Return whether the same network was added before; raise ConfigError where another one has its name."""
    if not added.path.is_file():
        return False
    try:
        if read_network_manifest(added.path) == added.manifest:
            return True
        other = "another network or another manifest"
    except ConfigError:
        other = "a manifest that cannot be read"
    if not replace:
        raise ConfigError(
            f"{added.path} is {other} of that name: give this one another with --name, or replace it with --replace."
        )
    return False


def _files_of(path: Path, folder: Path) -> set[Path]:
    """Return the files that a manifest of a folder names; none where it cannot be read."""
    try:
        located = LocatedManifest(read_network_manifest(path), path, folder)
    except ConfigError:
        return set()
    return {file for file in (located.network, located.fp16_network) if file}


def _status(found: LocatedManifest, file: Path, expected: str) -> AddedStatus | None:
    try:
        sha256 = sha256_of(file)
    except FileNotFoundError:
        return AddedStatus(found.path, "missing", f"{file} is not there: `phoenix-ray models add` brings it")
    except OSError as error:
        return AddedStatus(found.path, "damaged", f"{file} cannot be read ({error.strerror})")
    if sha256 != expected:
        return AddedStatus(found.path, "damaged", f"{file} has the sha256 {sha256}, not {expected}: add it again")
    return None


def _as_added(text: str, name: str, sums: dict[str, str], facts: NetworkFacts, suffix: str = ".onnx") -> str:
    """Return a manifest with its name and the files' names and sums filled in; comments stay."""
    files = {field: {"file": f"{name}-{sha256[:_DIGITS]}{suffix}", "sha256": sha256} for field, sha256 in sums.items()}
    lines, inside = [], False
    for line in text.splitlines():
        if re.match(r"(name|weights|fp16)\s*:", line):
            inside = True
            if line.startswith("name"):
                lines.append(f"name: {name}")
        elif inside and (not line.strip() or line[0] in " \t"):
            continue
        else:
            inside = False
            lines.append(line)
    said = "".join(
        f"; the file says: {key}: {' '.join(facts.metadata[key].split())}"
        for key in ("license",)
        if key in facts.metadata
    )
    filled = f"# By `phoenix-ray models add`{said}.\n{yaml.safe_dump(files, sort_keys=False)}"
    edited = "\n".join(lines).rstrip() + f"\n{filled}"
    wanted: OnnxManifest = parse_manifest(text, Path(name))
    wanted = wanted.model_copy(update={"name": name} | {key: NetworkFile(**value) for key, value in files.items()})
    if "fp16" not in files:
        wanted = wanted.model_copy(update={"fp16": None})
    try:
        if parse_manifest(edited, Path(name)) == wanted:
            return edited
    except ConfigError:
        pass
    # A manifest in another style of YAML, such as one pair of braces.
    tree = wanted.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump({"name": name, "kind": wanted.kind, **tree}, sort_keys=False, allow_unicode=True)
