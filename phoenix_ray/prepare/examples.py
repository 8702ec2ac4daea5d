"""One training example as named arrays: what every format of `writers` writes, under these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.prepare.prepared import Prepared
from phoenix_ray.prepare.settings import PrepareSettings
from phoenix_ray.prepare.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Example:
    """A prepared video, ready to be written.

    Attributes:
        split: Its split.
        video_id: The video; `<video>.mirrored` for the mirrored one of two.
        arrays: `points` (frames, points, axes), `mask`, `filled`, `confidence` (frames, points), `times` (frames,);
            `gloss_ids`, `translation_ids` where there is a vocabulary; `scale`, `origin` if asked for.
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
        "points": points.astype(dtype),
        "mask": mask,
        "filled": prepared.filled,
        "confidence": prepared.confidence.astype(dtype),
        "times": prepared.times,
    }
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
