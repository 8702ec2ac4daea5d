"""What makes an output one dataset: `dataset.json`, written by the first run and checked by every later one.

Rows of one dataset must be comparable, so a resume with another model, layout or frame limit is refused, with the
fields that differ. The driver calls `agree_on_identity` before it plans, and `claim_dataset` when a worker has loaded
the model, before any row can be committed: a run that cannot compute claims nothing, and of two runs with different
settings only one ever commits. Everything that only looks calls `read_identity`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import TypeAdapter

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.json_records import FrameNumber, parse_mapping, required, validate
from phoenix_ray.dataset.parquet import SCHEMA_VERSION
from phoenix_ray.dataset.sealing import refuse_broken_seal, seal_json
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.errors import FingerprintMismatchError, NewerVersionError, OutputError, SourceError
from phoenix_ray.landmarks import LAYOUTS, Layout
from phoenix_ray.sources.base import Source
from phoenix_ray.text import without_secrets

# Compared fields that a setting of another name decides.
_SETTINGS = {"model.model": "model.name"}


@dataclass(frozen=True, slots=True)
class DatasetIdentity:
    """What all rows of a dataset have in common.

    Attributes:
        layout: Name of the landmark layout.
        model: What makes two runs of the model comparable (`ModelIdentity.fields`).
        limit_frames: Frames of each video at the most, None for all.
        signature: How changed videos are noticed (`source.signature`).
        source_root: Where the source lay at first. Recorded, not compared: data mounted elsewhere is the same data as
            long as the videos' signatures agree, and other data shows as changed videos.
        schema_version: Version of the columns and footers.
    """

    layout: str
    model: Mapping[str, str] = field(default_factory=dict)
    limit_frames: FrameNumber | None = None
    signature: str = "sizes"
    source_root: str = ""
    schema_version: FrameNumber = SCHEMA_VERSION

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that every file of the dataset carries."""
        return hashlib.sha256(json.dumps(dict(self.compared()), sort_keys=True).encode()).hexdigest()[:32]

    def compared(self) -> Iterator[tuple[str, str | int | None]]:
        """Yield (field, value) of all that a resume must agree with."""
        yield "schema_version", self.schema_version
        yield "layout", self.layout
        yield "source.limit_frames", self.limit_frames
        yield "source.signature", self.signature
        for name, value in sorted(self.model.items()):
            yield f"model.{name}", value

    def differences(self, now: DatasetIdentity) -> list[str]:
        """Return a line "field: was → now" for each field that a resume with `now` would change."""
        was_fields, now_fields = dict(self.compared()), dict(now.compared())
        return [
            f"{_SETTINGS.get(name, name)}: {_show(was_fields, name)} → {_show(now_fields, name)}"
            for name in sorted({*was_fields, *now_fields})
            if was_fields.get(name) != now_fields.get(name)
        ]

    def is_of_other_version(self, now: DatasetIdentity) -> bool:
        """Whether the same model and engine has another `pipeline_version`, which no setting restores."""
        kinds = [{name: one.model.get(name) for name in ("model", "engine")} for one in (self, now)]
        return kinds[0] == kinds[1] and self.model.get("pipeline_version") != now.model.get("pipeline_version")


_IDENTITY = TypeAdapter(
    Annotated[DatasetIdentity, required("layout", "model", "limit_frames", "signature", "source_root")]
)
_VERSION = TypeAdapter(FrameNumber)


def claim_dataset(storage: Storage, identity: DatasetIdentity) -> DatasetIdentity:
    """Make the dataset if it is new, and return the identity that is recorded on disk.

    Two drivers that start at once agree on one identity: the file is created only if it is absent, and the loser reads
    what the winner wrote.

    Raises:
        FingerprintMismatchError: The dataset was computed with other settings.
        OutputError: The output cannot be written, or its `dataset.json` cannot be understood.
    """
    tree = {
        "schema_version": identity.schema_version,
        "layout": identity.layout,
        "model": dict(identity.model),
        "limit_frames": identity.limit_frames,
        "signature": identity.signature,
        "source_root": without_secrets(identity.source_root),
        "fingerprint": identity.fingerprint,
    }
    if storage.create(paths.IDENTITY, seal_json(tree)):
        return identity
    return check_identity(storage, identity)


def agree_on_identity(storage: ReadableStorage, identity: DatasetIdentity) -> DatasetIdentity:
    """Return the identity that is recorded on disk, or `identity` itself where none is: nothing is written.

    Raises:
        FingerprintMismatchError: The dataset was computed with other settings.
        OutputError: Its `dataset.json` cannot be understood.
    """
    try:
        storage.read(paths.IDENTITY)
    except FileNotFoundError:
        return identity
    return check_identity(storage, identity)


def check_identity(storage: ReadableStorage, identity: DatasetIdentity) -> DatasetIdentity:
    """Return the identity that is recorded on disk, provided that a run with `identity` may go on with it.

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
            f"{storage.root} was computed by another version of phoenix_ray, whose landmarks are others (was → now):\n"
            f"{listed}It can be read, checked and exported. To go on with it, install the version that began it; this "
            "one needs another output.path."
        )
    if has_rows(storage):
        raise FingerprintMismatchError(
            f"{storage.root} was computed with other settings (was → now):\n{listed}"
            "Their rows would not be comparable. Restore the settings to go on with it, or give another output.path."
        )
    raise FingerprintMismatchError(
        f"{storage.root} was computed with other settings (was → now):\n{listed}"
        f"No row of it is committed yet. To begin it with the settings of now, delete {storage.root}/{paths.IDENTITY}; "
        "else restore the settings, or give another output.path."
    )


def has_rows(storage: ReadableStorage) -> bool:
    """Whether any file lies where rows do, of whatever settings; a write that was not finished is none."""
    return any(not file.temporary for folder in (paths.PARTITIONS, paths.DATA) for file in storage.list(folder))


def read_identity(storage: ReadableStorage) -> DatasetIdentity:
    """Return the recorded identity of a dataset.

    Raises:
        OutputError: There is none, it is damaged, or a newer phoenix_ray wrote it.
    """
    where = f"{storage.root}/{paths.IDENTITY}"
    try:
        content = storage.read(paths.IDENTITY)
        tree = parse_mapping(content)
        version = validate(_VERSION, tree.get("schema_version"))
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
        raise OutputError(
            f"{storage.root} is not a dataset of phoenix_ray: it has no {paths.IDENTITY}. "
            "`phoenix-ray run SOURCE OUTPUT` makes one."
        ) from None
    except ValueError as error:
        raise OutputError(
            f"{where} is damaged ({error}). Delete it and start the run with its settings again: files that carry "
            "their fingerprint are taken over."
        ) from None
    return identity


def find_layout(identity: DatasetIdentity) -> Layout:
    """Return the layout of a dataset.

    Raises:
        OutputError: This phoenix_ray has no layout of that name.
    """
    if identity.layout not in LAYOUTS:
        raise OutputError(
            f"The dataset's landmark layout '{identity.layout}' is not known here (known: {', '.join(LAYOUTS)}): "
            "upgrade phoenix-ray, or install what adds the layout."
        )
    return LAYOUTS[identity.layout]


def _show(fields: Mapping[str, str | int | None], name: str) -> str:
    value = fields.get(name)
    return "none" if value is None else str(value)


def open_recorded_source(settings: SourceSettings, recorded: str) -> Source:
    """Return the source at `settings.path`.

    Args:
        settings: With an empty path, the source is looked for where the dataset says it lay.
        recorded: Where that is (`DatasetIdentity.source_root`); empty where it is not known.

    Raises:
        SourceError: It is not there. Where the user named no other place, the message says how to.
    """
    # Not above: it imports the readers of every kind of source.
    from phoenix_ray.sources.catalog import open_source

    path = settings.path or recorded
    if not path and settings.kind not in ("sample", "synthetic"):
        raise SourceError("The dataset does not say where its source lies: name the place with --source PATH.")
    try:
        return open_source(settings.model_copy(update={"path": path}))
    except SourceError as error:
        if path != recorded:
            raise
        raise SourceError(
            f"{error} The dataset was computed from {recorded}. If its source has moved, say where it is now: "
            "--source NEWPATH"
        ) from None
