"""The manifest: which data files are the dataset. Replacing `manifest.json` in one step publishes a compaction.

A data file counts only while the manifest names it and it has the size that the manifest says; a file that was lost or
cut short is told apart, and its videos are computed again instead of being believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_ray.dataset import json_values, paths
from phoenix_ray.dataset.encoding import SCHEMA_VERSION, DamagedFile
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.sealing import refuse_broken_seal, seal_json
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.dataset.tally import Tally, total
from phoenix_ray.errors import OutputError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A compacted file.

    Attributes:
        name: Relative to the dataset.
        split: Split of all its rows.
        videos: Number of videos, each with all its frames.
        first_video: ID of its first video; the rows are sorted by video and frame.
        last_video: ID of its last video.
        bytes: Its size.
        sha256: Of its bytes, for copies and downloads.
        tally: Counts over its rows.
    """

    name: str
    split: str
    videos: int
    first_video: str
    last_video: str
    bytes: int
    sha256: str
    tally: Tally

    @property
    def rows(self) -> int:
        """Number of frames."""
        return self.tally.rows


@dataclass(frozen=True, slots=True)
class Manifest:
    """The data files of a dataset, sorted by split and first video."""

    files: tuple[DataFile, ...] = ()

    @property
    def tally(self) -> Tally:
        """Counts over all rows."""
        return total(file.tally for file in self.files)

    def replace(self, gone: set[str], added: Sequence[DataFile]) -> Manifest:
        """Return a manifest without the files named in `gone`, and with `added`."""
        kept = {file.name: file for file in self.files if file.name not in gone} | {file.name: file for file in added}
        return Manifest(tuple(sorted(kept.values(), key=lambda file: (file.split, file.first_video, file.name))))


def write_manifest(storage: Storage, identity: DatasetIdentity, manifest: Manifest) -> None:
    """Publish a manifest: readers see either the old one or this one."""
    tree = {
        "schema_version": identity.schema_version,
        "fingerprint": identity.fingerprint,
        "layout": identity.layout,
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
    }
    storage.write(paths.MANIFEST, seal_json(tree, indent=1))


def read_manifest(storage: ReadableStorage, identity: DatasetIdentity) -> Manifest:
    """Return the published manifest, an empty one where nothing was compacted yet.

    Raises:
        OutputError: It is damaged, of a newer version, or of a dataset with other settings.
    """
    where = f"{storage.root}/{paths.MANIFEST}"
    try:
        content = storage.read(paths.MANIFEST)
        tree = json_values.parse_mapping(content)
        if json_values.count(tree["schema_version"]) > SCHEMA_VERSION:
            raise OutputError(f"{where} was written by a newer phoenix_ray: upgrade phoenix-ray to read it.")
        if tree["fingerprint"] != identity.fingerprint:
            raise OutputError(f"{where} belongs to a dataset with other settings than {paths.IDENTITY} beside it.")
        refuse_broken_seal(content)
        return Manifest(
            tuple(
                DataFile(
                    name=_data_name(file["name"]),
                    split=json_values.text(file["split"]),
                    videos=json_values.count(file["videos"]),
                    first_video=json_values.text(file["first_video"]),
                    last_video=json_values.text(file["last_video"]),
                    bytes=json_values.count(file["bytes"], json_values.MOST_ROWS),
                    sha256=json_values.text(file["sha256"]),
                    tally=Tally.from_json(file),
                )
                for file in tree["files"]
            )
        )
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{where} is damaged ({error!r}). Delete it and run `phoenix-ray compact`: data files are taken in again "
            "by what their own footers say."
        ) from None


def _data_name(value: object) -> str:
    """Return the name of a data file; one that lies elsewhere could be read, or deleted, in the place of one."""
    name = json_values.text(value)
    folder, *rest = name.split("/")
    if folder != paths.DATA or not rest or not {"", ".", ".."}.isdisjoint(rest) or "\0" in name:
        raise ValueError(f"{name!a} is no name of a data file")
    return name


def check_files(storage: ReadableStorage, manifest: Manifest) -> tuple[Manifest, list[DamagedFile]]:
    """Return the manifest without the data files that are missing or have another size, and those with the reason."""
    sizes = {file.name: file.bytes for file in storage.list(paths.DATA)}
    damaged = [
        DamagedFile(
            file.name,
            f"it has {sizes[file.name]} bytes, the manifest says {file.bytes}"
            if file.name in sizes
            else "the manifest names it, but it is gone",
        )
        for file in manifest.files
        if sizes.get(file.name) != file.bytes
    ]
    return manifest.replace({file.name for file in damaged}, ()), damaged
