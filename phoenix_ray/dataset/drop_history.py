"""The history of drops: which videos and signers were removed from a dataset for good, and may not come back.

Each drop is a sealed file `dropped/<number>.json`, which `Storage.create` makes in one atomic step. **From the moment
that it exists the videos are out of the dataset**: readers, plans, compaction and publication leave them out.
`removal.remove_dropped` then deletes the bytes. A later record may lift a ban (`allow`); no record is ever changed or
deleted.

**Records hold hashes, not names**, since an ID may contain the name of a person, and the rows' IDs are to vanish too.
The salt is the dataset's own, so that hashes of two datasets cannot be compared. Whoever has a list of possible names
can still test each of them: this hides names from readers, not from somebody who already knows them.

A video's hash is that of the folder that its partitions would have, so that a file can be matched by its path alone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.sealing import FiniteNumber, FrameNumber, RowNumber, parse_sealed_json, seal_json, validate
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import without_secrets

# The annotation that names who is seen in a video.
SIGNER = "signer"
_RECORD = re.compile(rf"{paths.DROPPED}/([0-9]{{12}})\.json")
# 128 bits: a million videos collide with a probability of 1e-27.
_HASH_BYTES = 16
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(frozen=True, slots=True)
class DroppedVideo:
    """A video in a record.

    Attributes:
        video: Hash of its split and ID.
        video_id: Hash of its ID alone, so that a user may name it without its split.
        signer: Hash of the signer for whom it was dropped; empty where it was named itself.
    """

    video: Hash
    video_id: Hash
    signer: Literal[""] | Hash = ""


@dataclass(frozen=True, slots=True)
class DropRecord:
    """The JSON of a file in `dropped/`.

    Attributes:
        number: Its number, which is also its name; the first is 1.
        action: `drop`, or `allow` where the ban is lifted.
        time: When, in seconds since the epoch.
        reason: Why, as the user wrote it; may be empty.
        salt: Goes into all hashes; 32 hexadecimal digits, the same in all records of a dataset.
        videos: The videos.
        signers: Hashes of the signers; their videos may not be computed either, also those that come later.
        frames: Number of rows that the dataset had of the videos.
    """

    number: FrameNumber
    action: Literal["drop", "allow"]
    time: FiniteNumber
    reason: str
    salt: Hash
    videos: tuple[DroppedVideo, ...]
    signers: tuple[Hash, ...]
    frames: RowNumber


_ADAPTER = TypeAdapter(DropRecord)


class DropHistory:
    """All drops of a dataset, and what they ban now.

    Args:
        records: The records, by number. Without any, the history has a new salt.
    """

    def __init__(self, records: Sequence[DropRecord] = ()) -> None:
        self.records = tuple(records)
        self.salt = records[0].salt if records else secrets.token_hex(_HASH_BYTES)
        self._salt = bytes.fromhex(self.salt)
        self._videos: dict[str, DroppedVideo] = {}
        self._signers: set[str] = set()
        self._signer_hashes: dict[str, str] = {}
        for record in records:
            if record.action == "drop":
                for video in record.videos:
                    known = self._videos.get(video.video)
                    # A video that was named itself stays banned when its signer is allowed again.
                    if known is None or not video.signer:
                        self._videos[video.video] = video
                self._signers.update(record.signers)
            else:
                lifted = {video.video for video in record.videos}
                self._videos = {
                    key: video
                    for key, video in self._videos.items()
                    if key not in lifted and video.signer not in record.signers
                }
                self._signers.difference_update(record.signers)

    def __bool__(self) -> bool:
        """Whether there is any record."""
        return bool(self.records)

    @property
    def newest(self) -> int:
        """Number of the newest record; 0 where there is none."""
        return self.records[-1].number if self.records else 0

    @property
    def videos(self) -> int:
        """How many videos are banned by their names."""
        return len(self._videos)

    @property
    def signers(self) -> int:
        """How many signers are banned."""
        return len(self._signers)

    def bans(self, split: str, video_id: str, annotation: Mapping[str, str | None]) -> bool:
        """Whether a video may not be in the dataset; `annotation` says who signs in it."""
        if not self._videos and not self._signers:
            return False
        signer = annotation.get(SIGNER) if self._signers else None
        return self.hash_video(split, video_id) in self._videos or bool(signer and self.bans_signer(signer))

    def bans_signer(self, signer: str) -> bool:
        """Whether the videos of a signer may not be in the dataset."""
        if signer not in self._signer_hashes:
            self._signer_hashes[signer] = self.hash_signer(signer)
        return self._signer_hashes[signer] in self._signers

    def bans_file(self, name: str) -> bool:
        """Whether a file below `partitions/`, `failures/` or the same in `quarantine/` is that of a banned video."""
        parts = name.split("/")
        if parts[0] == paths.QUARANTINE:
            parts = parts[2:]
        if len(parts) < 4 or parts[0] not in (paths.PARTITIONS, paths.FAILURES) or not self._videos:
            return False
        return self._hash("video", f"{parts[1].removeprefix('split=')}/{parts[3]}") in self._videos

    def banned_for_signer(self, split: str, video_id: str) -> bool:
        """Whether a video was dropped together with all others of its signer."""
        video = self._videos.get(self.hash_video(split, video_id))
        return video is not None and bool(video.signer)

    def find_banned(self, name: str) -> list[DroppedVideo]:
        """Return the banned videos that a user may mean by `ID` or `SPLIT/ID`."""
        found = [video for video in self._videos.values() if video.video_id == self._hash("id", name)]
        cuts = [place for place, letter in enumerate(name) if letter == "/"]
        hashes = {self.hash_video(name[:place], name[place + 1 :]) for place in cuts}
        return found + [self._videos[key] for key in hashes if key in self._videos]

    def hash_video(self, split: str, video_id: str) -> str:
        """Return the hash of a video."""
        return self._hash("video", f"{paths.safe_name(split)}/{paths.safe_name(video_id)}")

    def hash_signer(self, signer: str) -> str:
        """Return the hash of a signer."""
        return self._hash("signer", signer)

    def describe(self, key: VideoKey, signer: str = "") -> DroppedVideo:
        """Return what a record says of a video; `signer` is whom it is dropped for."""
        return DroppedVideo(self.hash_video(*key), self._hash("id", key[1]), self.hash_signer(signer) if signer else "")

    def _hash(self, kind: str, text: str) -> str:
        content = f"{kind}:{text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=_HASH_BYTES, key=self._salt).hexdigest()


def read_drops(storage: ReadableStorage) -> DropHistory:
    """Return the history of a dataset's drops; an empty one where there never was any.

    Raises:
        OutputError: A record is damaged: without it nobody knows which videos it bans.
    """
    numbers = sorted(filter(None, (record_number(file.name) for file in storage.list(paths.DROPPED))))
    records = [_read(storage, number) for number in numbers]
    if len({record.salt for record in records}) > 1:
        raise OutputError(
            f"{storage.root}/{paths.DROPPED} has records of several datasets: move those away that are not its own."
        )
    return DropHistory(records)


def record_number(name: str) -> int | None:
    """Return the number of the record with this name; None where it is not the name of a record."""
    match = _RECORD.fullmatch(name)
    return int(match[1]) or None if match else None


def append_record(
    storage: Storage,
    action: Literal["drop", "allow"],
    videos: Mapping[VideoKey, str] | Collection[DroppedVideo],
    signers: Iterable[str],
    reason: str = "",
    frames: int = 0,
) -> DropRecord:
    """Add a record to the history: when this returns, it counts.

    Args:
        storage: The dataset.
        action: What to do.
        videos: The videos, each with the signer for whom it is dropped (empty: it was named itself); or what
            `find_banned` returned.
        signers: Names of signers.
        reason: Why.
        frames: Number of rows of the videos.

    Raises:
        OutputError: It cannot be written, or an earlier record is damaged.
    """
    names = list(signers)
    while True:
        history = read_drops(storage)
        described = (
            [history.describe(key, signer) for key, signer in videos.items()]
            if isinstance(videos, Mapping)
            else list(videos)
        )
        record = DropRecord(
            history.newest + 1,
            action,
            time.time(),
            without_secrets(reason),
            history.salt,
            tuple(sorted(described, key=lambda video: video.video)),
            tuple(sorted(map(history.hash_signer, names))),
            frames,
        )
        # Of two that add a record at once, the later one builds on that of the other.
        if storage.create(f"{paths.DROPPED}/{record.number:012}.json", seal_json(asdict(record), indent=1)):
            return record


def _read(storage: ReadableStorage, number: int) -> DropRecord:
    name = f"{paths.DROPPED}/{number:012}.json"
    try:
        record = validate(_ADAPTER, parse_sealed_json(storage.read(name)))
        if record.number != number:
            raise ValueError("it has the name of another record")
    except FileNotFoundError:
        raise OutputError(f"{storage.root}/{name} was removed while it was read; try again.") from None
    except ValueError as error:
        raise OutputError(
            f"{storage.root}/{name} is damaged ({error}): it says which videos were dropped, and without it they could "
            "come back. Restore it from a copy of the dataset. Where there is none, delete it and drop the same "
            "videos again, before anything else."
        ) from None
    return record
