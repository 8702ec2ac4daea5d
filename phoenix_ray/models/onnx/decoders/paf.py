"""Part affinity fields: heat maps of points, and fields that point along limbs and join points to persons (OpenPose).

The steps are those of lightweight OpenPose (`extract_keypoints`, `group_keypoints`), which are OpenPose's own in short;
a manifest's table of limbs makes them fit BODY_25 and other layouts. Of the persons the one with the highest total
score is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.manifest import Limb, PafDecoder

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

SAMPLES = 10
# Keeps lengths and counts of 0 from dividing.
TINY = 1e-6
# OpenCV leaves the enlarging of 1, 3 and 4 channels to Intel's IPP, whose last bits differ.
FEWEST_CHANNELS = 5


@dataclass(slots=True)
class GroupedPerson:
    """A person as it is put together.

    Attributes:
        score: Sum of the scores of points and limbs.
        size: Number of points that count.
        peaks: Point → index of its peak.
    """

    score: float
    size: int
    peaks: dict[int, int] = field(default_factory=dict)


def decode_fields(heatmaps: Floats, fields: Floats, decoder: PafDecoder) -> DecodedPoints:
    """Return the points of the person with the highest total score; NaN where it lacks them.

    Args:
        heatmaps: float32 (N, points, height, width).
        fields: float32 (N, 2 * limbs, height, width).
        decoder: Limbs, thresholds, sizes.
    """
    count, points = heatmaps.shape[:2]
    xy = np.full((count, points, 2), np.nan, np.float32)
    scores = np.zeros((count, points), np.float32)
    total = np.full(count, np.nan, np.float32)
    # Peaks and persons differ in number from frame to frame.
    for frame in range(count):
        maps, directions = _enlarged(heatmaps[frame], fields[frame], decoder.upsample)
        peaks = [_peaks(maps[:, :, point], decoder) for point in range(points)]
        persons = group_peaks(peaks, directions, decoder)
        if not persons:
            continue
        best = max(persons, key=lambda person: person.score)
        total[frame] = best.score
        for point, peak in best.peaks.items():
            xy[frame, point] = peaks[point][peak, :2] * decoder.stride / decoder.upsample
            scores[frame, point] = peaks[point][peak, 2]
    return DecodedPoints(xy, scores, total)


def group_peaks(peaks: list[Floats], directions: Floats, decoder: PafDecoder) -> list[GroupedPerson]:
    """Return the persons whose points and mean score suffice, in the order in which they are found.

    Args:
        peaks: For each point float32 (peaks, 3): x, y in cells, score.
        directions: float32 (height, width, 2 * limbs).
        decoder: Limbs and thresholds.
    """
    persons: list[GroupedPerson] = []
    for limb in decoder.limbs:
        start, end = limb.points
        for first, second, score in _connections(peaks[start], peaks[end], directions, limb, decoder):
            if limb.completes:
                _complete(persons, limb, first, second)
            else:
                _extend(persons, limb, first, second, score, peaks)
    return [
        person
        for person in persons
        if person.size >= decoder.min_points and person.score / person.size >= decoder.min_mean
    ]


def _extend(
    persons: list[GroupedPerson], limb: Limb, first: int, second: int, score: float, peaks: list[Floats]
) -> None:
    """Add a limb's end to each person that has its start; if none has, both are a new person."""
    start, end = limb.points
    reached = [person for person in persons if person.peaks.get(start) == first]
    for person in reached:
        person.peaks[end] = second
        person.size += 1
        person.score += float(peaks[end][second, 2]) + score
    if not reached:
        score += float(peaks[start][first, 2]) + float(peaks[end][second, 2])
        persons.append(GroupedPerson(score, 2, {start: first, end: second}))


def _complete(persons: list[GroupedPerson], limb: Limb, first: int, second: int) -> None:
    """Add to persons that have a point of a limb the other that they lack."""
    start, end = limb.points
    for person in persons:
        if person.peaks.get(start) == first:
            person.peaks.setdefault(end, second)
        elif person.peaks.get(end) == second:
            person.peaks.setdefault(start, first)


def _enlarged(heatmaps: Floats, fields: Floats, times: int) -> tuple[Floats, Floats]:
    """Return maps and fields, channels last, enlarged by bicubic interpolation."""
    both = np.concatenate([heatmaps, fields])
    spare = max(0, FEWEST_CHANNELS - len(both))
    both = np.pad(both, ((0, spare), (0, 0), (0, 0)))
    channels_last = np.ascontiguousarray(both.transpose(1, 2, 0))
    enlarged = cv2.resize(channels_last, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    values = np.asarray(enlarged, np.float32)
    return values[:, :, : len(heatmaps)], values[:, :, len(heatmaps) :]


def _peaks(cells: Floats, decoder: PafDecoder) -> Floats:
    """Return x, y, score of cells that are higher than their four neighbours, float32 (peaks, 3), from left to right.

    A peak near one further left is dropped, unless that was dropped itself.
    """
    high = np.where(cells < np.float32(decoder.min_peak), 0, cells)
    around = np.pad(high, 1)
    lower = [around[1:-1, 2:], around[1:-1, :-2], around[2:, 1:-1], around[:-2, 1:-1]]
    is_peak = (high > lower[0]) & (high > lower[1]) & (high > lower[2]) & (high > lower[3])
    # Column by column, each from top to bottom.
    x, y = np.nonzero(is_peak.T)
    kept: list[int] = []
    for peak in range(len(x)):
        distances = [(x[peak] - x[other]) ** 2 + (y[peak] - y[other]) ** 2 for other in kept]
        if all(distance >= decoder.peak_distance**2 for distance in distances):
            kept.append(peak)
    x, y = x[kept], y[kept]
    return np.stack([x, y, high[y, x]], axis=1).astype(np.float32)


def _connections(
    starts: Floats, ends: Floats, directions: Floats, limb: Limb, decoder: PafDecoder
) -> list[tuple[int, int, float]]:
    """Return the limbs between peaks: index of start and end, and score; the best first, and no peak in two."""
    if not len(starts) or not len(ends):
        return []
    # Row by row a start, column by column an end: (ends, starts, ...), as in the original, whose ties come out so.
    vector = ends[:, np.newaxis, :2] - starts[np.newaxis, :, :2]
    steps = np.float32(1 / (SAMPLES - 1)) * vector
    share = np.arange(SAMPLES, dtype=np.float32)[:, np.newaxis]
    places = (steps[:, :, np.newaxis] * share + starts[np.newaxis, :, np.newaxis, :2]).round().astype(np.int64)
    field_there = directions[places[..., 1], places[..., 0]][..., list(limb.channels)]
    length = np.sqrt((vector * vector).sum(axis=2, keepdims=True))
    unit = vector / (length + np.float32(TINY))
    samples = (field_there * unit[:, :, np.newaxis]).sum(axis=3)
    counts = samples > np.float32(decoder.min_limb)
    number = counts.sum(axis=2)
    score = (samples * counts).sum(axis=2) / (number + TINY)
    is_limb = (score > 0) & (number / SAMPLES > decoder.min_samples)
    end, start = np.nonzero(is_limb)
    return _compatible(start, end, score[end, start])


def _compatible(start: Indices, end: Indices, score: Numbers) -> list[tuple[int, int, float]]:
    """Return connections from the best on, without those whose start or end is taken; the last of equals goes first."""
    order = np.argsort(score, kind="stable")[::-1]
    kept: list[tuple[int, int, float]] = []
    starts, ends = set(), set()
    for index in order:
        first, second = int(start[index]), int(end[index])
        if first not in starts and second not in ends:
            kept.append((first, second, float(score[index])))
            starts.add(first)
            ends.add(second)
    return kept
