"""Checks every byte of one data file or partition, and says what a check can find.

A data file's bytes are compared with the sha256 in the manifest, a partition's with its seal. Then the rows are read
with their page checksums, counted and digested: they must be all frames of their videos in order, with the counts and
the landmark digest that the footer recorded when they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile
from phoenix_ray.dataset.parquet import DamagedFile, DamagedFileError, open_parquet, read_footer
from phoenix_ray.dataset.partitions import PartitionInfo, read_partition, read_state
from phoenix_ray.dataset.rows import RowRange, RowReader
from phoenix_ray.dataset.schema import landmark_schema, plain_schema
from phoenix_ray.dataset.sealing import parquet_seal
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import Storage, StoredFile, hash_file
from phoenix_ray.dataset.tally import Tally, tally_rows
from phoenix_ray.dataset.video_table import VideoEntry, describe_data_file, read_entries, to_video_table
from phoenix_ray.layouts import Layout

Kind = Literal[
    "irregular",
    "damaged",
    "misplaced",
    "lost",
    "doubled",
    "foreign",
    "leftover",
    "outdated",
    "missing",
    "changed",
    "unopenable",
    "gone",
    "stateless",
    "unknown",
]
# What each kind means, in the order of a report: the worst first.
MEANINGS: dict[Kind, str] = {
    "irregular": "a link, pipe or device, which nothing here follows or reads; --repair moves it out as it is",
    "damaged": "not what was written; --repair takes it out, and `run` computes it again",
    "misplaced": "whole, but under the name of another file; --repair puts it back",
    "lost": "part of the dataset, but gone; --repair strikes it off, and `run` computes it again",
    "doubled": "holds a video that another data file holds too; --repair keeps one, and all that only this file holds",
    "foreign": "of another dataset or program, where plain Parquet readers would read it; --repair moves it out",
    "leftover": "what an interrupted run left; --repair (or the next `run`) removes it",
    "outdated": "does not say what the data files say; --repair makes it again",
    "missing": "not computed yet; `run` computes it",
    "changed": "computed from other frames than the source has now; `run` computes it again",
    "unopenable": "in the source, but it cannot be opened; replace or repair it there, and `run` computes it",
    "gone": "in the dataset, but not in the source any more; its rows are kept",
    "stateless": "whole, but without the state in which the next frames of a tracked video begin; left alone, and "
    "`run` computes it again if it has to go on there",
    "unknown": "not part of the dataset and harmless; left alone",
}
TO_REPAIR: frozenset[Kind] = frozenset(
    {"irregular", "damaged", "misplaced", "lost", "doubled", "foreign", "leftover", "outdated"}
)
TO_COMPUTE: frozenset[Kind] = frozenset({"missing", "changed"})


@dataclass(frozen=True, slots=True)
class DataFileCheck:
    """What a check found in a data file.

    Attributes:
        name: The file.
        sha256: The sha256 of its bytes, empty where it is not a Parquet file.
        findings: What is wrong with it.
        videos: The videos that its footer lists, with the columns of `videos.parquet`; None where the footer cannot be
            understood.
        spoiled: Videos whose rows are not those that were written.
        located: Whether damaged pages were found, so that it is known where the file's bytes are wrong.
    """

    name: str
    sha256: str
    findings: tuple[Finding, ...]
    videos: pa.Table | None = None
    spoiled: frozenset[VideoKey] = field(default_factory=frozenset)
    located: bool = False


@dataclass(frozen=True, slots=True)
class PartitionCheck:
    """What a check found in a partition.

    Attributes:
        name: The file.
        findings: What is wrong with it.
        info: What its footer says; None where the file is not sound.
        belongs_at: Its right name where the file is sound but has the name of another partition, else None.
    """

    name: str
    findings: tuple[Finding, ...]
    info: PartitionInfo | None = None
    belongs_at: str | None = None


def check_data_file(
    storage: Storage, identity: DatasetIdentity, layout: Layout, name: str, recorded: DataFile | None
) -> DataFileCheck | None:
    """Check a data file, and compare it with its record in the manifest if it has one; None when the file is gone."""
    try:
        # A file that is not Parquet is not hashed: it cannot be a data file under a wrong name, and it may be huge.
        with open_parquet(storage, name):
            pass
        size, sha256 = hash_file(storage, name)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        return DataFileCheck(name, "", (_to_finding(error.damage),))
    findings: list[Finding] = []
    if recorded and (recorded.bytes, recorded.sha256) != (size, sha256):
        cause = f"it has {size:,} bytes, not {recorded.bytes:,}" if size != recorded.bytes else "sha256 differs"
        findings.append(Finding("damaged", name, f"its bytes are not those that were written: {cause}"))
    try:
        schema_problem = _schema_problem(storage, layout, name)
        entries = read_entries(storage, identity, name)
        videos = to_video_table(layout, entries, name)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        return DataFileCheck(name, sha256, (*findings, _to_finding(error.damage)))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        return DataFileCheck(
            name, sha256, (*findings, Finding("damaged", name, f"its footer makes no sense: {error!r}"))
        )
    problems = (schema_problem, _order_problem(name, entries), _record_problem(recorded, entries))
    findings += [Finding("damaged", name, problem) for problem in problems if problem]
    if schema_problem:
        return DataFileCheck(name, sha256, tuple(findings), videos)
    reader = RowReader(storage)
    spoiled: set[VideoKey] = set()
    located = False
    for entry in entries:
        try:
            rows = RowRange(name, entry.first_row, entry.frame_count, None)
            problem = _rows_problem(reader, layout, rows, entry.split, entry.video_id, 0, entry.tally)
        except DamagedFileError as error:
            problem, located = error.damage.reason, True
        if problem:
            spoiled.add(entry.key)
            findings.append(Finding("damaged", name, f"{entry.split}/{entry.video_id}: {problem}"))
    return DataFileCheck(name, sha256, tuple(findings), videos, frozenset(spoiled), located)


def check_partition(
    storage: Storage, identity: DatasetIdentity, layout: Layout, file: StoredFile
) -> PartitionCheck | None:
    """Check a partition; None when the file is gone."""
    try:
        content = storage.read(file.name)
        seal = parquet_seal(content)
        found = read_partition(storage, identity.fingerprint, file)
        if found is None:
            return None
        if isinstance(found, DamagedFile):
            whole = seal == "intact" and found.foreign
            return _misplaced(storage, identity, file, found) if whole else _spoiled(file.name, found.reason)
        if seal != "intact":
            return _spoiled(file.name, "its bytes are not those that were written: its seal is broken or missing")
        rows = RowRange(file.name, 0, found.rows, None)
        problem = _schema_problem(storage, layout, file.name) or _rows_problem(
            RowReader(storage), layout, rows, found.split, found.video_id, found.first, found.tally
        )
        goes_on = identity.model.get("mode") == "tracking" and found.last < found.frame_count
        stateless = goes_on and read_state(storage, file.name) is None
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        return PartitionCheck(file.name, (_to_finding(error.damage),))
    if problem:
        return _spoiled(file.name, problem)
    finding = Finding("stateless", file.name, f"nothing says how frame {found.last - 1} ended")
    return PartitionCheck(file.name, (finding,) if stateless else (), found)


def _misplaced(storage: Storage, identity: DatasetIdentity, file: StoredFile, found: DamagedFile) -> PartitionCheck:
    """Return the check of a whole partition of another dataset, or of one with the name of another partition."""
    with open_parquet(storage, file.name) as parquet:
        footer = read_footer(file.name, parquet)
    if footer["fingerprint"] != identity.fingerprint:
        return PartitionCheck(file.name, (Finding("foreign", file.name, found.reason),))
    right = paths.partition_path(footer["split"], footer["video_id"], *footer["range"])
    return PartitionCheck(file.name, (Finding("misplaced", file.name, f"it is {right}"),), belongs_at=right)


def _schema_problem(storage: Storage, layout: Layout, name: str) -> str | None:
    with open_parquet(storage, name) as parquet:
        schema = plain_schema(parquet.schema_arrow)
    if schema.equals(landmark_schema(layout)):
        return None
    differing = {field.name for field in set(schema) ^ set(landmark_schema(layout))}
    return f"its columns are not those of the layout {layout.name}: {', '.join(sorted(differing)) or 'another order'}"


def _order_problem(name: str, entries: Sequence[VideoEntry]) -> str | None:
    """Return what is wrong with the list of videos in a data file's footer."""
    if not entries:
        return "its footer names no video"
    if any(not _is_named_after(entry.split, name) for entry in entries):
        return "it has the name of another split"
    if any(entry.video_id >= following.video_id for entry, following in pairwise(entries)):
        return "its videos are not in order, or a video is listed twice"
    ends = [0, *(entry.first_row + entry.frame_count for entry in entries)]
    if any(entry.first_row != end for entry, end in zip(entries, ends, strict=False)):
        return "its videos do not follow each other without a gap"
    return None


def _is_named_after(split: str, name: str) -> bool:
    """Whether a data file has the name that one of this split has, or had in earlier versions."""
    content = name.removesuffix(".parquet").replace("/", "-").rpartition("-")[2]
    return name in (paths.data_path(split, content), paths.earlier_data_path(split, content))


def _record_problem(recorded: DataFile | None, entries: Sequence[VideoEntry]) -> str | None:
    if recorded is None or not entries:
        return None
    found = describe_data_file(recorded.name, entries, recorded.bytes, recorded.sha256)
    return None if found == recorded else "its footer does not say what the manifest says of it"


def _rows_problem(
    reader: RowReader, layout: Layout, rows: RowRange, split: str, video_id: str, first_frame: int, tally: Tally
) -> str | None:
    """Return why rows are not the frames of a video from `first_frame` on with this tally; None where they are.

    Raises:
        DamagedFileError: A page cannot be read.
    """
    counted = Tally()
    try:
        for table in reader.read(rows):
            frames = table.column("frame_index").to_numpy()
            start = first_frame + counted.rows
            if not np.array_equal(frames, np.arange(start, start + len(frames))):
                return f"frame {start} is not where it should be"
            if [pc.unique(table.column(name)).to_pylist() for name in ("split", "video_id")] != [[split], [video_id]]:
                return "rows of another video lie among its own"
            counted += tally_rows(layout, table)
    except (pa.ArrowException, ValueError, TypeError) as error:
        return f"its rows make no sense: {error!r}"
    if counted.rows != rows.rows:
        return f"it has {counted.rows} of {rows.rows} frames"
    if counted.digest != tally.digest:
        return "its rows are not those that were committed: the landmark digest differs"
    return None if counted == tally else "its footer counts other statuses or parts than its rows have"


def _to_finding(damage: DamagedFile) -> Finding:
    return Finding("foreign" if damage.foreign else "damaged", damage.name, damage.reason)


def _spoiled(name: str, reason: str) -> PartitionCheck:
    return PartitionCheck(name, (Finding("damaged", name, reason),))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: What is wrong with it (`MEANINGS`).
        subject: The file, relative to the dataset; or `split/video_id` of a video.
        detail: What is wrong, in one line.
    """

    kind: Kind
    subject: str
    detail: str


def of_kinds(findings: Iterable[Finding], kinds: Iterable[Kind]) -> list[Finding]:
    """Return the findings of some kinds."""
    wanted = frozenset(kinds)
    return [finding for finding in findings if finding.kind in wanted]
