"""A training example as named arrays, which every format of `writers` writes, and what is made of several.

Vocabularies of glosses and of translated words are made from the training split alone. `torch_batch` puts videos of
different lengths into one array: `collate_fn` of a torch `DataLoader`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError
from phoenix_ray.prepare.pipeline import PrepareSettings
from phoenix_ray.prepare.prepared import Prepared


@dataclass(frozen=True, slots=True)
class Example:
    """A prepared video, ready to be written.

    Attributes:
        split: Its split.
        video_id: The video; `<video>.mirrored` for a mirrored copy.
        arrays: `points` (frames, points, axes), `mask`, `filled`, `confidence` (frames, points), `times` (frames,); the
            columns of heads, such as `emotion_valence` (frames,); `gloss_ids`, `translation_ids` where there is a
            vocabulary; `scale`, `origin` if asked for.
        annotation: Text of the source.
    """

    split: str
    video_id: str
    arrays: Mapping[str, NDArray[Any]]
    annotation: Mapping[str, str]


def to_example(
    prepared: Prepared, video_id: str, settings: PrepareSettings, vocabularies: Mapping[str, Vocabulary]
) -> Example:
    """Return a prepared video as arrays of the types that settings ask for."""
    dtype, mask = settings.channels.dtype, prepared.mask
    points = prepared.points if settings.channels.missing == "nan" else np.nan_to_num(prepared.points)
    arrays: dict[str, NDArray[Any]] = {
        "points": points.astype(dtype, copy=False),
        "mask": mask,
        "filled": prepared.filled,
        "confidence": prepared.confidence.astype(dtype, copy=False),
        "times": prepared.times,
    }
    for name, numbers in prepared.heads.items():
        # A quality of 0 says that the part was missing: a network's own is above.
        known = numbers if settings.channels.missing == "nan" else np.nan_to_num(numbers)
        arrays[name] = known.astype(dtype, copy=False)
    for name, vocabulary in vocabularies.items():
        ids = vocabulary.encode(text_of(prepared.annotation, name, settings))
        arrays[f"{name}_ids"] = np.array(ids, np.int32)
    if settings.files.placement:
        placement = prepared.placement()
        arrays |= {"scale": placement.scale, "origin": placement.origin}
    return Example(prepared.split, video_id, arrays, dict(sorted(prepared.annotation.items())))


def text_of(annotation: Mapping[str, str | None], name: str, settings: PrepareSettings) -> str:
    """Return the gloss or translation as it is cut into tokens."""
    text = annotation.get(name) or ""
    return text.lower() if name == "translation" and settings.text.lowercase else text


# A gloss vocabulary starts with CTC's blank, as torch.nn.CTCLoss expects it by default.
GLOSS_SPECIALS = ("<blank>", "<pad>", "<unk>")
WORD_SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their IDs: special tokens first, then by falling count, equal counts by code points.

    Attributes:
        tokens: The token of each ID.
        counts: How often each occurs in the text it was made from; 0 of a special token.
    """

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def build(cls, texts: Iterable[str], specials: Sequence[str], min_count: int = 1) -> Vocabulary:
        """Return the vocabulary of texts, whose tokens are what stands between blanks.

        Args:
            texts: Texts of the training split.
            specials: Special tokens, the first gets ID 0; `<unk>` among them.
            min_count: Rarer tokens are left out, and become `<unk>`.
        """
        counts = Counter(token for text in texts for token in text.split())
        frequent = [token for token in counts if counts[token] >= min_count and token not in specials]
        words = sorted(frequent, key=lambda token: (-counts[token], token))
        return cls((*specials, *words), (*([0] * len(specials)), *(counts[word] for word in words)))

    def encode(self, text: str) -> list[int]:
        """Return the ID of each token of a text; that of `<unk>` for a token that is not in the vocabulary."""
        return [self._ids.get(token, self._ids["<unk>"]) for token in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of IDs: undoes `encode`, but for unknown tokens and the kind of blanks."""
        return " ".join(self.tokens[index] for index in ids)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"tokens": list(self.tokens), "counts": list(self.counts)}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Several videos, padded at the end to the longest.

    Attributes:
        points: float32 or float16 (videos, frames, points, axes): 0 where padded or missing.
        mask: bool (videos, frames, points): where a point has a value.
        lengths: int64 (videos,): frames of each.
        keys: (split, video ID) of each.
        annotations: Text of each.
    """

    points: NDArray[np.floating[Any]]
    mask: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    keys: tuple[tuple[str, str], ...]
    annotations: tuple[dict[str, str], ...]

    def split(self) -> list[NDArray[np.floating[Any]]]:
        """Return the points of each video without padding, NaN where missing: the inverse of `collate`."""
        return [
            np.where(mask[:length, :, np.newaxis], points[:length], np.nan).astype(points.dtype)
            for points, mask, length in zip(self.points, self.mask, self.lengths, strict=True)
        ]


def collate(videos: Sequence[Prepared], dtype: Literal["float32", "float16"] = "float32") -> PreparedBatch:
    """Return videos with the same points and axes as one batch.

    Raises:
        ValueError: There is no video, or two have other points or axes.
    """
    if not videos:
        raise ValueError("There is no video to collate.")
    if len({(video.chosen, video.axes) for video in videos}) > 1:
        raise ValueError("Videos of a batch must have the same points and axes.")
    lengths = np.array([len(video) for video in videos], np.int64)
    shape = (len(videos), int(lengths.max()), *videos[0].points.shape[1:])
    points, mask = np.zeros(shape, dtype), np.zeros(shape[:3], dtype=bool)
    for row, video in enumerate(videos):
        points[row, : len(video)] = np.nan_to_num(video.points)
        mask[row, : len(video)] = video.mask
    return PreparedBatch(
        points,
        mask,
        lengths,
        tuple((video.split, video.video_id) for video in videos),
        tuple(dict(video.annotation) for video in videos),
    )


def torch_batch(videos: Sequence[Prepared]) -> dict[str, Any]:
    """Return `collate`'s arrays as tensors: `points`, `mask`, `lengths`; and `keys`, `annotations` as they are.

    Raises:
        MissingExtraError: torch is not installed.
        ValueError: As `collate`.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("Batches of tensors", "torch") from None
    batch = collate(videos)
    return {
        "points": torch.from_numpy(batch.points),
        "mask": torch.from_numpy(batch.mask),
        "lengths": torch.from_numpy(batch.lengths),
        "keys": batch.keys,
        "annotations": batch.annotations,
    }
