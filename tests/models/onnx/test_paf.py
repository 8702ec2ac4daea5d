from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.paf import decode_fields, group_peaks
from phoenix_ray.models.onnx.manifest import PafDecoder

# Neck, head, hand, foot: each joined to the neck, and head and hand by a limb that only completes.
LIMBS: list[dict[str, Any]] = [
    {"points": [0, 1], "channels": [0, 1]},
    {"points": [0, 2], "channels": [2, 3]},
    {"points": [0, 3], "channels": [4, 5]},
    {"points": [1, 2], "channels": [6, 7], "completes": True},
]
CELLS = 40
Person = list[tuple[int, int] | None]


def decoder(**fields: Any) -> PafDecoder:
    tree = {"kind": "paf", "heatmaps": {"output": "maps"}, "fields": {"output": "fields"}, "limbs": LIMBS}
    return PafDecoder.model_validate({**tree, "stride": 8, "upsample": 1, **fields})


def draw(persons: list[tuple[Person, float]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return heat maps (1, 4, cells, cells) and fields (1, 8, cells, cells) of figures, each with a score."""
    maps, fields = np.zeros((1, 4, CELLS, CELLS), np.float32), np.zeros((1, 8, CELLS, CELLS), np.float32)
    for person, score in persons:
        for point, place in enumerate(person):
            if place is not None:
                x, y = place
                maps[0, point, y - 1 : y + 2, x - 1 : x + 2] = score / 2
                maps[0, point, y, x] = score
        for limb in LIMBS:
            (start, end), (across, down) = limb["points"], limb["channels"]
            first, last = person[start], person[end]
            if first is None or last is None or limb.get("completes"):
                continue
            length = math.dist(first, last)
            direction = ((last[0] - first[0]) / length, (last[1] - first[1]) / length)
            for step in range(101):
                x = round(first[0] + (last[0] - first[0]) * step / 100)
                y = round(first[1] + (last[1] - first[1]) * step / 100)
                fields[0, across, y, x], fields[0, down, y, x] = direction
    return maps, fields


SMALL: Person = [(8, 10), (8, 3), (3, 14), (10, 20)]
LARGE: Person = [(30, 10), (30, 3), (24, 14), (31, 25)]


def test_the_person_with_the_highest_total_score_is_taken() -> None:
    found = decode_fields(*draw([(SMALL, 0.6), (LARGE, 0.9)]), decoder())
    assert found.xy[0].tolist() == [[8 * place[0], 8 * place[1]] for place in LARGE if place]
    assert np.allclose(found.scores[0], 0.9)
    # Four points of 0.9 and three limbs of almost 1.
    assert found.person is not None
    assert math.isclose(found.person[0], 4 * 0.9 + 3, rel_tol=1e-4)


def test_a_point_that_was_not_found_is_missing() -> None:
    person: Person = [(30, 10), (30, 3), None, (31, 25)]
    found = decode_fields(*draw([(person, 0.9)]), decoder())
    assert np.isnan(found.xy[0, 2]).all()
    assert found.scores[0, 2] == 0
    assert not np.isnan(found.xy[0, [0, 1, 3]]).any()


def test_too_few_points_or_too_low_scores_are_nobody() -> None:
    two: Person = [(30, 10), (30, 3), None, None]
    maps, fields = draw([(two, 0.9)])
    enough = [({}, True), ({"min_points": 2}, False), ({"min_points": 2, "min_mean": 1}, False)]
    for thresholds, is_nobody in enough:
        person = decode_fields(maps, fields, decoder(**thresholds)).person
        assert person is not None
        assert bool(np.isnan(person[0])) == is_nobody
    nobody = decode_fields(np.zeros_like(maps), fields, decoder())
    assert nobody.person is not None
    assert np.isnan(nobody.person).all()
    assert np.isnan(nobody.xy).all()


def test_peaks_near_another_further_left_are_dropped() -> None:
    maps, fields = draw([(LARGE, 0.9)])
    maps[0, 0, 10, 34] = 0.95
    # Four cells to the right of the neck: the limbs go to the one on the left, and nothing to the other.
    assert decode_fields(maps, fields, decoder()).xy[0, 0].tolist() == [240, 80]


def test_enlarging_moves_no_point_by_more_than_a_cell() -> None:
    maps, fields = draw([(LARGE, 0.9)])
    # A bump that is the same on both sides has two highest cells when it is enlarged, and so none.
    maps[0, :, :, 1:] += 0.1 * maps[0, :, :, :-1]
    maps[0, :, 1:] += 0.1 * maps[0, :, :-1]
    plain, enlarged = (decode_fields(maps, fields, decoder(upsample=times)).xy for times in (1, 4))
    assert np.abs(plain - enlarged).max() <= 8


def test_a_limb_that_completes_adds_a_point_and_no_score() -> None:
    """The head is joined to the neck; the hand only to the head, by the limb that completes."""
    person: Person = [(30, 10), (30, 3), None, (31, 25)]
    maps, fields = draw([(person, 0.9)])
    maps[0, 2, 14, 24] = 0.9
    for step in range(101):
        x, y = round(30 - 6 * step / 100), round(3 + 11 * step / 100)
        fields[0, 6, y, x], fields[0, 7, y, x] = -6 / math.hypot(6, 11), 11 / math.hypot(6, 11)
    found = decode_fields(maps, fields, decoder())
    assert found.xy[0, 2].tolist() == [8 * 24, 8 * 14]
    assert found.person is not None
    assert math.isclose(found.person[0], 3 * 0.9 + 2, rel_tol=1e-4)


def reference(peaks: list[NDArray[np.float32]], fields: NDArray[np.float32], given: PafDecoder) -> list[dict[str, Any]]:
    """Lightweight OpenPose's grouping, written down again in loops: persons with their score, size and peaks."""
    persons: list[dict[str, Any]] = []
    for limb in given.limbs:
        start, end = limb.points
        candidates = []
        for last, (x2, y2, _) in enumerate(peaks[end]):
            for first, (x1, y1, _) in enumerate(peaks[start]):
                length = math.hypot(x2 - x1, y2 - y1)
                good = []
                for step in range(10):
                    x, y = round(float(x1 + (x2 - x1) / 9 * step)), round(float(y1 + (y2 - y1) / 9 * step))
                    along, down = fields[y, x, limb.channels[0]], fields[y, x, limb.channels[1]]
                    value = (along * (x2 - x1) + down * (y2 - y1)) / (length + 1e-6)
                    if value > given.min_limb:
                        good.append(float(value))
                score = sum(good) / (len(good) + 1e-6)
                if score > 0 and len(good) / 10 > given.min_samples:
                    candidates.append((score, first, last))
        candidates.sort(key=lambda candidate: -candidate[0])
        taken: list[tuple[float, int, int]] = []
        for score, first, last in candidates:
            if all(first != other[1] and last != other[2] for other in taken):
                taken.append((score, first, last))
        for score, first, last in taken:
            if limb.completes:
                for person in persons:
                    if person["peaks"].get(start) == first and end not in person["peaks"]:
                        person["peaks"][end] = last
                    elif person["peaks"].get(end) == last and start not in person["peaks"]:
                        person["peaks"][start] = first
                continue
            owners = [person for person in persons if person["peaks"].get(start) == first]
            for person in owners:
                person["peaks"][end] = last
                person["size"] += 1
                person["score"] += peaks[end][last][2] + score
            if not owners:
                total = peaks[start][first][2] + peaks[end][last][2] + score
                persons.append({"peaks": {start: first, end: last}, "size": 2, "score": total})
    return [
        person
        for person in persons
        if person["size"] >= given.min_points and person["score"] / person["size"] >= given.min_mean
    ]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from([0.1, 0.3]))
def test_persons_are_put_together_as_lightweight_openpose_does_in_plain_loops(
    seed: int, most: int, min_samples: float
) -> None:
    random = np.random.default_rng(seed)
    given = decoder(min_points=2, min_mean=0.0, min_samples=min_samples)
    # Coordinates that no sampled point puts half-way between two cells.
    peaks = []
    for count in random.integers(0, most + 1, 4):
        places = 9 * np.stack(np.divmod(random.permutation(16)[:count], 4), axis=1)
        peaks.append(np.concatenate([places, random.uniform(0.1, 1, (count, 1))], axis=1).astype(np.float32))
    fields = random.normal(0, 1, (CELLS, CELLS, 8)).astype(np.float32)
    found, expected = group_peaks(peaks, fields, given), reference(peaks, fields, given)
    assert [person.peaks for person in found] == [person["peaks"] for person in expected]
    assert [person.size for person in found] == [person["size"] for person in expected]
    assert np.allclose([person.score for person in found], [person["score"] for person in expected], rtol=1e-5)
