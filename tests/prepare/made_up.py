"""Made-up videos of Holistic's layout: a body that moves smoothly, with parts missing in any frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Layout, holistic
from phoenix_ray.prepare import Compose, TakePoints
from phoenix_ray.prepare.prepared import Prepared, Transform

LAYOUT = holistic(468)
PARTS = ("pose", "left_hand", "right_hand", "face")
POINTS = ("upper_body", "hands", "lips", "eyes")


def make_video(
    frames: int = 8,
    missing: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    fps: float | None = 25.0,
    layout: Layout = LAYOUT,
    size: tuple[int, int] = (210, 260),
) -> VideoLandmarks:
    """Return a video with each part at a random place, moving; `missing` names the frames that lack a part."""
    numbers = np.random.default_rng(seed)
    time = np.arange(frames)[:, np.newaxis, np.newaxis] / 25
    points = {}
    for part in layout.parts:
        shape = (1, len(part.points), len(part.axes))
        start, swing = numbers.uniform(0.2, 0.8, shape), numbers.uniform(0, 0.1, shape)
        points[part.name] = (start + swing * np.sin(3 * time)).astype(np.float32)
        points[part.name][list((missing or {}).get(part.name, ()))] = np.nan
    scores = {part.name: numbers.uniform(0.5, 1, frames).astype(np.float32) for part in layout.parts if part.scored}
    index = np.arange(frames, dtype=np.int32)
    return VideoLandmarks(
        split="train",
        video_id=f"video-{seed}",
        layout=layout,
        frame_index=index,
        frame_names=tuple(f"images{number + 1:04}.png" for number in index),
        timestamps=index / fps if fps else np.full(frames, np.nan),
        sizes=np.full((frames, 2), size, np.int32),
        status=("ok",) * frames,
        points=points,
        scores=scores,
        fps=fps,
        annotation={"gloss": "MORGEN REGEN", "translation": "morgen regnet es", "signer": "Signer04"},
    )


@st.composite
def videos(draw: st.DrawFn, longest: int = 12) -> VideoLandmarks:
    frames = draw(st.integers(1, longest))
    some = st.lists(st.integers(0, frames - 1), unique=True)
    missing = {part: draw(some) for part in PARTS}
    return make_video(frames, missing, draw(st.integers(0, 2**32)))


def prepare(video: VideoLandmarks, *transforms: Transform, axes: str = "xyz") -> Prepared:
    return Compose(TakePoints(*POINTS, axes=axes), *transforms)(video)


def assert_same(one: Prepared, other: Prepared, tolerance: float = 0.0) -> None:
    """The same points, missing where the others are, with all that belongs to them."""
    np.testing.assert_allclose(one.points, other.points, rtol=tolerance, atol=tolerance)
    assert np.array_equal(one.filled, other.filled)
    np.testing.assert_allclose(one.confidence, other.confidence, atol=tolerance)
    np.testing.assert_allclose(one.times, other.times)
    assert (one.chosen, one.axes, one.mirrored) == (other.chosen, other.axes, other.mirrored)
    assert len(one.placements) == len(other.placements)
    for first, second in zip(one.placements, other.placements, strict=True):
        np.testing.assert_allclose(first.origin, second.origin, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(first.scale, second.scale, rtol=tolerance, atol=tolerance)
