"""The identity of a dataset, `dataset.json`: the first run writes it and every later run is compared with it.

Rows of a dataset must be comparable, so a resume with another model, layout or frame limit is refused, with the fields
that differ. The driver calls `agree_on_identity` before it plans, and `claim_dataset` once a worker has loaded the
model, before any row can be committed. So a run that cannot compute claims nothing, and of two runs with different
settings only one ever commits. Everything that only reads calls `read_identity`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

from pydantic import TypeAdapter

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.nearby import describe_nearby, names_a_file
from phoenix_ray.dataset.parquet import SCHEMA_VERSION
from phoenix_ray.dataset.sealing import (
    Flag,
    FrameNumber,
    Texts,
    parse_mapping,
    refuse_broken_seal,
    required,
    seal_json,
    validate,
)
from phoenix_ray.dataset.storage import LocalStorage, ReadableStorage, Storage
from phoenix_ray.errors import FingerprintMismatchError, NewerVersionError, OutputError, SourceError
from phoenix_ray.layouts import LAYOUTS, Layout, layout_from_json
from phoenix_ray.sources.base import Source
from phoenix_ray.text import without_secrets

# Compared field → the setting that decides it, where their names differ.
_SETTINGS = {"model.model": "model.name"}
# Fields that are recorded only where they differ from this, so that older datasets keep their fingerprint.
_UNRECORDED = {
    "model.mode": "static",
    "model.complexity": "1",
    "model.kernels": "torch",
    "source.square_pixels": "False",
}
# Settings of a source that decide which videos a path holds. They are recorded where they differ from the default, so
# that whoever opens the source again finds the same videos.
LISTING_SETTINGS = (
    "video_id_column",
    "path_column",
    "split_column",
    "start_column",
    "end_column",
    "start_frame_column",
    "end_frame_column",
    "fps_column",
    "pixel_aspect_ratio",
)


@dataclass(frozen=True, slots=True)
class DatasetIdentity:
    """The JSON of `dataset.json`: what all rows of a dataset have in common.

    Attributes:
        layout: Name of the landmark layout.
        model: What two runs of the model must have in common (`ModelIdentity.fields`).
        limit_frames: Largest number of frames of a video, None for all.
        signature: How changed videos are detected (`source.signature`).
        source_root: The source's path in the first run. It is not compared: data mounted elsewhere is the same data if
            the videos' signatures agree, and other data shows as changed videos.
        square_pixels: Whether frames were resized to square pixels (`source.square_pixels`).
        layout_definition: JSON of the layout (`Layout.to_json`) where it is not one of `layouts.LAYOUTS`, else empty.
        listing: Settings of `LISTING_SETTINGS` with which the first run listed the source. They are not compared: what
            they change shows in the videos' signatures.
        schema_version: Version of the columns and footers.
    """

    layout: str
    model: Texts = field(default_factory=dict)
    limit_frames: FrameNumber | None = None
    signature: str = "sizes"
    source_root: str = ""
    square_pixels: Flag = False
    layout_definition: str = ""
    listing: Texts = field(default_factory=dict)
    schema_version: FrameNumber = SCHEMA_VERSION

    @property
    def fingerprint(self) -> str:
        """A hash of the compared fields, in 32 hexadecimal digits, which every file of the dataset carries."""
        return hashlib.sha256(json.dumps(dict(self.compared()), sort_keys=True).encode()).hexdigest()[:32]

    def compared(self) -> Iterator[tuple[str, str | int | None]]:
        """Yield (field, value) of everything that a resume must agree with."""
        yield "schema_version", self.schema_version
        yield "layout", self.layout
        if self.layout_definition:
            yield "layout_definition", self.layout_definition
        yield "source.limit_frames", self.limit_frames
        yield "source.signature", self.signature
        if self.square_pixels:
            yield "source.square_pixels", "True"
        for name, value in sorted(self.model.items()):
            yield f"model.{name}", value

    def differences(self, now: DatasetIdentity) -> list[str]:
        """Return a line "field: was → now" for each field that a resume with `now` would change.

        Of another model only its name and engine, and of other heads only their names: their fields follow from them.
        """
        was_fields, now_fields = dict(self.compared()), dict(now.compared())
        names = [name for name in sorted({*was_fields, *now_fields}) if was_fields.get(name) != now_fields.get(name)]
        for cause, prefix in (("model.model", "model."), ("model.heads", "model.head.")):
            if cause in names:
                others = (name for name in names if not name.startswith(prefix) or name == "model.engine")
                names = [cause, *(name for name in others if name != cause)]
        return [f"{_SETTINGS.get(name, name)}: {_show(was_fields, name)} → {_show(now_fields, name)}" for name in names]

    def is_of_other_version(self, now: DatasetIdentity) -> bool:
        """Whether the same model and engine has another `pipeline_version`, which no setting restores."""
        same = all(self.model.get(name) == now.model.get(name) for name in ("model", "engine"))
        return same and self.model.get("pipeline_version") != now.model.get("pipeline_version")


_IDENTITY = TypeAdapter(
    Annotated[DatasetIdentity, required("layout", "model", "limit_frames", "signature", "source_root")]
)
_VERSION = TypeAdapter(FrameNumber)


def claim_dataset(storage: Storage, identity: DatasetIdentity) -> DatasetIdentity:
    """Create the dataset if it does not exist, and return its recorded identity.

    Two drivers that start at once get the same identity: only one of them creates the file, and the other reads it.

    Raises:
        FingerprintMismatchError: The dataset was computed with other settings.
        OutputError: The output cannot be written, or its `dataset.json` cannot be understood.
    """
    tree: dict[str, object] = {
        "schema_version": identity.schema_version,
        "layout": identity.layout,
        "model": dict(identity.model),
        "limit_frames": identity.limit_frames,
        "signature": identity.signature,
        "source_root": without_secrets(identity.source_root),
        "fingerprint": identity.fingerprint,
    }
    if identity.square_pixels:
        tree["square_pixels"] = True
    if identity.layout_definition:
        tree["layout_definition"] = identity.layout_definition
    if identity.listing:
        tree["listing"] = dict(identity.listing)
    if storage.create(paths.IDENTITY, seal_json(tree)):
        return identity
    return check_identity(storage, identity)


def is_recorded(storage: ReadableStorage) -> bool:
    """Whether an identity is recorded, also one that is damaged."""
    try:
        storage.read(paths.IDENTITY)
    except FileNotFoundError:
        return False
    return True


def agree_on_identity(storage: ReadableStorage, identity: DatasetIdentity) -> DatasetIdentity:
    """Return the recorded identity, or `identity` itself where none is recorded; nothing is written.

    Raises:
        FingerprintMismatchError: The dataset was computed with other settings.
        OutputError: Its `dataset.json` cannot be understood.
    """
    return check_identity(storage, identity) if is_recorded(storage) else identity


def check_identity(storage: ReadableStorage, identity: DatasetIdentity) -> DatasetIdentity:
    """Return the recorded identity if a run with `identity` may continue the dataset.

    Raises:
        FingerprintMismatchError: The dataset was computed with other settings.
        OutputError: There is no dataset, or its `dataset.json` cannot be understood.
    """
    recorded = read_identity(storage)
    differences = recorded.differences(identity)
    if not differences:
        return recorded
    listed = "".join(f"  {line}\n" for line in differences)
    if recorded.is_of_other_version(identity) and has_rows(storage):
        raise FingerprintMismatchError(
            f"{storage.root} was computed by another version of phoenix_ray, whose landmarks differ (was → now):\n"
            f"{listed}It can be read, checked and exported. To continue it, install the version that began it; this "
            "version needs another output.path."
        )
    if has_rows(storage):
        raise FingerprintMismatchError(
            f"{storage.root} was computed with other settings (was → now):\n{listed}"
            "Their rows would not be comparable. Restore the settings to continue it, or give another output.path."
        )
    raise FingerprintMismatchError(
        f"{storage.root} was computed with other settings (was → now):\n{listed}"
        f"No row of it is committed yet. To begin it with the new settings, delete {storage.root}/{paths.IDENTITY}; "
        "or restore the settings, or give another output.path."
    )


def has_rows(storage: ReadableStorage) -> bool:
    """Whether there is any file of rows, of whatever settings; unfinished writes do not count."""
    return any(not file.temporary for folder in (paths.PARTITIONS, paths.DATA) for file in storage.list(folder))


def read_identity(storage: ReadableStorage) -> DatasetIdentity:
    """Return the recorded identity of a dataset.

    Raises:
        OutputError: There is no dataset, its `dataset.json` is damaged, or a newer phoenix_ray wrote it.
    """
    where = f"{storage.root}/{paths.IDENTITY}"
    try:
        if isinstance(storage, LocalStorage) and names_a_file(storage.root):
            raise FileNotFoundError
        content = storage.read(paths.IDENTITY)
        tree = parse_mapping(content)
        version = validate(_VERSION, tree.get("schema_version"), "schema_version")
        if version > SCHEMA_VERSION:
            raise NewerVersionError(
                f"{where} was written by a newer phoenix_ray (schema {version}, this one knows {SCHEMA_VERSION}): "
                "upgrade phoenix-ray to read it."
            )
        identity = validate(_IDENTITY, tree)
        if tree.get("fingerprint") != identity.fingerprint:
            raise ValueError("its fingerprint does not match its fields")
        refuse_broken_seal(content)
    except FileNotFoundError:
        hint = describe_nearby(storage.root) if isinstance(storage, LocalStorage) else ""
        raise OutputError(
            f"{storage.root} is not a dataset of phoenix_ray: it has no {paths.IDENTITY}."
            f"{hint or ' `phoenix-ray run SOURCE OUTPUT` makes one.'}"
        ) from None
    except ValueError as error:
        raise OutputError(
            f"{where} is damaged ({error}). Delete it and start the run again with the same settings: files with "
            "their fingerprint are kept."
        ) from None
    return identity


def define_layout(layout: Layout) -> str:
    """Return the `layout_definition` of a layout: empty for one that `find_layout` knows by its name."""
    # Not sorted: the order of the parts is that of the columns and of all points in a row.
    return "" if LAYOUTS.get(layout.name) == layout else json.dumps(layout.to_json())


def find_layout(identity: DatasetIdentity) -> Layout:
    """Return the layout of a dataset.

    Raises:
        OutputError: This phoenix_ray has no layout of that name, or the dataset's description of it is damaged.
    """
    if identity.layout_definition:
        return _defined_layout(identity.layout_definition)
    if identity.layout not in LAYOUTS:
        raise OutputError(
            f"The dataset's landmark layout '{identity.layout}' is not known here (known: {', '.join(LAYOUTS)}): "
            "upgrade phoenix-ray, or install the package that adds the layout."
        )
    return LAYOUTS[identity.layout]


@lru_cache(maxsize=8)
def _defined_layout(definition: str) -> Layout:
    try:
        return layout_from_json(json.loads(definition))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise OutputError(
            f"The dataset's description of its layout ({paths.IDENTITY}) is damaged: {error!r}."
        ) from None


def _show(fields: Mapping[str, str | int | None], name: str) -> str:
    value = fields.get(name)
    return _UNRECORDED.get(name, "none") if value is None else str(value)


def listing_settings(settings: SourceSettings) -> dict[str, str]:
    """Return the settings of `LISTING_SETTINGS` that differ from the default, as text."""
    default = SourceSettings()
    values = {name: getattr(settings, name) for name in LISTING_SETTINGS}
    return {name: str(value) for name, value in values.items() if value != getattr(default, name)}


def as_recorded(settings: SourceSettings, identity: DatasetIdentity) -> SourceSettings:
    """Return source settings with which the videos of a dataset are found again, as they were computed.

    Args:
        settings: What the user gives now: the path, and settings that go before recorded ones.
        identity: The dataset's identity.
    """
    given = listing_settings(settings)
    recorded = {name: text for name, text in identity.listing.items() if name in LISTING_SETTINGS and name not in given}
    compared = {
        "limit_frames": identity.limit_frames,
        "signature": identity.signature,
        "square_pixels": identity.square_pixels,
    }
    return SourceSettings.model_validate({**settings.model_dump(), **recorded, **compared})


def open_recorded_source(settings: SourceSettings, recorded: str) -> Source:
    """Open the source that a dataset was computed from.

    Args:
        settings: The source's settings; an empty path stands for `recorded`.
        recorded: The path that the dataset recorded (`DatasetIdentity.source_root`), empty where it is not known.

    Raises:
        SourceError: There is no such source. Where the user gave no path, the message says how to give one.
    """
    # Not above: it imports the readers of every kind of source.
    from phoenix_ray.sources.registry import open_source

    path = settings.path or recorded
    if not path and settings.kind not in ("sample", "synthetic"):
        raise SourceError("The dataset does not record where its source is: give --source PATH.")
    try:
        return open_source(settings.model_copy(update={"path": path}))
    except SourceError as error:
        if path != recorded:
            raise
        raise SourceError(
            f"{error} The dataset was computed from {recorded}. If its source has moved, say where it is now: "
            "--source NEWPATH"
        ) from None
