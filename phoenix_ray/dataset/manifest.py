"""The manifest: which data files make up the dataset. It is published in generations, and **the newest one counts**.

`Storage.create` makes each generation as a file `manifests/<number>.json`. Of two drivers that build on the same
generation one succeeds, and the other must first read what that one published: compare-and-swap, as in Delta's log, on
disks (a link that only one can make) and object stores (a conditional put). No generation is ever changed. Datasets of
earlier versions have one `manifest.json`: generation 0, which counts until there is another.

A generation also names **condemned** data files: anyone who finds one may delete it, and no later generation may name
it. So nobody deletes a file that another driver is about to publish.

A data file counts only while the manifest names it and it has the recorded size; the videos of a file that was lost or
cut short are computed again.

A generation also says **which drops it reflects** (`drop_history`): none of its files holds a video that they ban. Such
a generation has another schema version, so that versions of phoenix_ray that do not know drops refuse it instead of
computing the dropped videos again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.sealing import (
    FLAT_TALLY,
    FrameNumber,
    RowNumber,
    parse_mapping,
    refuse_broken_seal,
    seal_json,
    validate,
)
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.dataset.tally import RecordedTally, Tally, total
from phoenix_ray.errors import NewerVersionError, OutputError

# Version 2 names data files in `data` itself, with plain text. phoenix_ray that knows only version 1 would take such
# files for damaged, so it is to refuse them. `dataset.json` stays what it was, for it decides who may continue.
MANIFEST_VERSION = 2
# Generations that are kept, so that a reader which has just listed them still finds the newest of its list.
GENERATIONS_KEPT = 3
# How often a reader lists the generations again when the chosen one is gone.
_ATTEMPTS = 10


def _refuse_other_folder(name: str) -> str:
    """Return a name inside `data/`; ValueError for others, whose files could be read or deleted as data files."""
    folder, *rest = name.split("/")
    if folder != paths.DATA or not rest or not {"", ".", ".."}.isdisjoint(rest) or "\0" in name:
        raise ValueError(f"{name!a} is not the name of a data file")
    return name


DataName = Annotated[str, AfterValidator(_refuse_other_folder)]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A compacted file.

    Attributes:
        name: Relative to the dataset.
        split: Split of all its rows.
        videos: Number of videos, all of them whole.
        first_video: ID of its first video; rows are sorted by video and frame.
        last_video: ID of its last video.
        bytes: Its size.
        sha256: The sha256 of its bytes, in hexadecimal digits.
        tally: Counts over its rows.
    """

    name: DataName
    split: str
    videos: FrameNumber
    first_video: str
    last_video: str
    bytes: RowNumber
    sha256: str
    tally: RecordedTally

    @property
    def rows(self) -> int:
        """Number of frames."""
        return self.tally.rows


@dataclass(frozen=True, slots=True)
class Manifest:
    """A generation of the manifest.

    Attributes:
        files: The data files of the dataset, sorted by split and first video.
        generation: Its number; 0 for an empty dataset and for `manifest.json`.
        condemned: Names of data files that may be deleted, and that no later generation may name.
        drops: Number of the newest drop of which no file has a video any more; 0 where there never was a drop.
    """

    files: tuple[DataFile, ...] = ()
    generation: int = 0
    condemned: frozenset[str] = frozenset()
    drops: int = 0

    @property
    def names(self) -> frozenset[str]:
        """The names of its files."""
        return frozenset(file.name for file in self.files)

    @property
    def tally(self) -> Tally:
        """Counts over all rows."""
        return total(file.tally for file in self.files)

    def replace(self, gone: Collection[str], added: Sequence[DataFile]) -> Manifest:
        """Return this generation without the files named in `gone`, and with `added`."""
        kept = {file.name: file for file in self.files if file.name not in gone} | {file.name: file for file in added}
        files = tuple(sorted(kept.values(), key=lambda file: (file.split, file.first_video, file.name)))
        return changed(self, files=files)


_FILES = TypeAdapter(Annotated[list[Annotated[DataFile, FLAT_TALLY]], FailFast()])
_CONDEMNED = TypeAdapter(Annotated[list[DataName], FailFast()])
_NUMBER = TypeAdapter(FrameNumber)
_TEXT = TypeAdapter(str)


def publish_manifest(
    storage: Storage, identity: DatasetIdentity, manifest: Manifest, condemned: Collection[str] = ()
) -> Manifest | None:
    """Publish files as the next generation; readers see either the previous one or this one.

    Args:
        storage: The dataset.
        identity: Its identity.
        manifest: The files to publish, with the number of the generation that the decision was based on.
        condemned: Names to condemn, beside those that `manifest` condemns.

    Returns:
        The published generation; None when another driver was faster: read its generation and decide again.

    Raises:
        OutputError: The output cannot be written.
    """
    following = changed(manifest, generation=manifest.generation + 1, condemned=manifest.condemned | set(condemned))
    if following.names & following.condemned:
        raise ValueError(f"{sorted(following.names & following.condemned)} are condemned and cannot be published")
    content = seal_json(_to_json(identity, following), indent=1)
    return following if storage.create(paths.manifest_path(following.generation), content) else None


def newest_generation(storage: ReadableStorage) -> int:
    """Return the number of the newest generation; 0 where there is none, or only that of earlier versions."""
    return max(list_generations(storage), default=0)


def list_generations(storage: ReadableStorage) -> list[int]:
    """Return the numbers of the existing generations without 0, in no order."""
    numbers = (paths.manifest_generation(file.name) for file in storage.list(paths.MANIFESTS))
    return [number for number in numbers if number]


def read_manifest(storage: ReadableStorage, identity: DatasetIdentity) -> Manifest:
    """Return the newest generation, an empty one where nothing is compacted yet.

    Raises:
        OutputError: It is damaged, of a newer version, or of a dataset with other settings.
    """
    for _ in range(_ATTEMPTS):
        generation = newest_generation(storage)
        try:
            content = storage.read(paths.manifest_path(generation))
        except FileNotFoundError:
            # It was removed because there are newer ones, unless there never was a generation.
            if not generation and not newest_generation(storage):
                return Manifest()
            continue
        return _parse(storage, identity, generation, content)
    raise OutputError(f"{storage.root}/{paths.MANIFESTS} changes while it is read; try again later.")


def remove_old_generations(storage: Storage, newest: int, *, every: bool = False) -> None:
    """Delete all but the newest `GENERATIONS_KEPT` generations, or all but the newest one."""
    kept = 1 if every else GENERATIONS_KEPT
    for generation in (0, *list_generations(storage)) if newest >= kept else ():
        if generation <= newest - kept:
            storage.delete(paths.manifest_path(generation))


def check_files(storage: ReadableStorage, manifest: Manifest) -> tuple[Manifest, list[DamagedFile]]:
    """Return the manifest without data files that are missing or have another size, and what is wrong with those files.

    It no longer condemns files that are gone: no name is used twice.
    """
    sizes = {file.name: file.bytes for file in storage.list(paths.DATA)}
    suspects = [file for file in manifest.files if sizes.get(file.name) != file.bytes]
    damaged = [damage for file in suspects if (damage := _look_closer(storage, file))]
    sound = manifest.replace({file.name for file in damaged}, ())
    return changed(sound, condemned=manifest.condemned & sizes.keys()), damaged


def _look_closer(storage: ReadableStorage, file: DataFile) -> DamagedFile | None:
    """Return what is wrong with a file that a listing, which may be old, shows as missing or with another size."""
    try:
        with storage.open(file.name) as stream:
            size = stream.size()
    except FileNotFoundError:
        return DamagedFile(file.name, "the manifest names it, but it is gone", gone=True)
    if size == file.bytes:
        return None
    return DamagedFile(file.name, f"it has {size} bytes, the manifest says {file.bytes}")


def _to_json(identity: DatasetIdentity, manifest: Manifest) -> dict[str, Any]:
    return {
        "schema_version": MANIFEST_VERSION,
        "fingerprint": identity.fingerprint,
        "layout": identity.layout,
        "generation": manifest.generation,
        **({"drops": manifest.drops} if manifest.drops else {}),
        **manifest.tally.to_json(),
        "files": [
            {
                "name": file.name,
                "split": file.split,
                "videos": file.videos,
                "first_video": file.first_video,
                "last_video": file.last_video,
                "bytes": file.bytes,
                "sha256": file.sha256,
                **file.tally.to_json(),
            }
            for file in manifest.files
        ],
        "condemned": sorted(manifest.condemned),
    }


def _parse(storage: ReadableStorage, identity: DatasetIdentity, generation: int, content: bytes) -> Manifest:
    where = f"{storage.root}/{paths.manifest_path(generation)}"
    try:
        tree = parse_mapping(content)
        if validate(_NUMBER, tree.get("schema_version"), "schema_version") > MANIFEST_VERSION:
            raise NewerVersionError(f"{where} was written by a newer phoenix_ray: upgrade phoenix-ray to read it.")
        if validate(_TEXT, tree.get("fingerprint"), "fingerprint") != identity.fingerprint:
            raise OutputError(f"{where} belongs to a dataset with other settings than {paths.IDENTITY} beside it.")
        refuse_broken_seal(content)
        if tree.get("generation", 0) != generation:
            raise ValueError("it has the name of another generation")
        files = validate(_FILES, tree.get("files"), "files")
        condemned = validate(_CONDEMNED, tree.get("condemned", []), "condemned")
        drops = validate(_NUMBER, tree.get("drops", 0), "drops")
        return Manifest(tuple(files), generation, frozenset(condemned), drops)
    except ValueError as error:
        raise OutputError(
            f"{where} is damaged ({error}). Run `phoenix-ray check --repair`: data files are taken in again by what "
            "their own footers say."
        ) from None
