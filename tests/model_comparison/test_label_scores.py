from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.layouts.coco import BODY, FACE, LEFT_HAND
from phoenix_ray.model_comparison.label_scores import OUTER_EYES, SIGMAS_133, WHOLE_BODY, PartScores, score_part

Points = NDArray[np.float64]
ALL = np.ones(133, np.bool_)
BODY_ALONE = np.arange(133) < 17


def labels_of(frames: int = 1, seed: int = 0) -> Points:
    return np.random.default_rng(seed).uniform(20, 200, (frames, 133, 2))


def score(part: str, found: Points, labels: Points, areas: object = 10_000.0, has: Any = ALL) -> PartScores:
    scores = score_part(part, found, labels, np.broadcast_to(np.asarray(areas, np.float64), len(labels)), has)
    assert scores is not None
    return scores


def test_perfect_points_score_best() -> None:
    labels = labels_of(3)
    for part in ("pose", "feet", "face", "left_hand", "right_hand", WHOLE_BODY):
        scores = score(part, labels, labels)
        assert (scores.frames, scores.not_found) == (3, 0)
        assert scores.pck == {"0.1": 1.0, "0.2": 1.0}
        assert (scores.oks, scores.recall) == (1.0, 1.0)
    assert score("face", labels, labels).nme == 0


def test_pck_counts_points_within_a_share_of_the_shoulder_width() -> None:
    labels = np.full((1, 133, 2), np.nan)
    labels[0, :17] = 50
    labels[0, 5], labels[0, 6] = (100, 100), (200, 100)
    found = labels.copy()
    # The shoulders are 100 px apart: 10 px is the limit of 0.1, 20 px that of 0.2.
    found[0, 0, 0] += 9.99
    found[0, 1, 0] += 10.01
    found[0, 2, 1] += 19.99
    found[0, 3, 1] += 20.01
    found[0, 4] = np.nan
    scores = score("pose", found, labels)
    assert scores.pck == {"0.1": pytest.approx(13 / 17), "0.2": pytest.approx(15 / 17)}
    assert scores.not_found == 1


def test_pck_of_a_hand_is_a_share_of_the_longer_side_of_its_box() -> None:
    labels = np.full((1, 133, 2), np.nan)
    labels[0, LEFT_HAND] = 50
    labels[0, LEFT_HAND.start] = (50, 110)
    found = labels.copy()
    found[0, LEFT_HAND, 0] += 6.01
    assert score("left_hand", found, labels).pck == {"0.1": 0.0, "0.2": 1.0}


def test_frames_without_a_length_or_an_area_are_counted() -> None:
    labels = labels_of(2)
    labels[0, 5] = np.nan
    scores = score("pose", labels, labels, areas=[math.nan, 0.0])
    assert scores.without_normaliser == 1
    assert (scores.oks, scores.recall, scores.without_area) == (None, None, 2)
    assert scores.pck["0.1"] == 1


def test_nobody_found_is_wrong_everywhere() -> None:
    labels = labels_of(2)
    scores = score("face", np.full_like(labels, np.nan), labels)
    assert scores.pck == {"0.1": 0.0, "0.2": 0.0}
    assert (scores.oks, scores.recall, scores.nme, scores.nme_frames) == (0.0, 0.0, None, 0)
    assert scores.not_found == scores.points == 2 * 68


def test_nme_is_the_mean_distance_over_that_of_the_outer_eye_corners() -> None:
    labels = labels_of(2)
    for frame, between in enumerate((50, 100)):
        labels[frame, OUTER_EYES[0]], labels[frame, OUTER_EYES[1]] = (100, 100), (100 + between, 100)
    found = labels + np.array([3, 4])
    # A point that is not found does not count, nor does a frame without a face.
    found[0, FACE.start] = np.nan
    assert score("face", found, labels).nme == pytest.approx((5 / 50 + 5 / 100) / 2)
    found[1] = np.nan
    scores = score("face", found, labels)
    assert scores.nme == pytest.approx(5 / 50)
    assert scores.nme_frames == 1


def test_points_that_a_layout_does_not_have_are_left_out() -> None:
    labels = labels_of()
    found = np.where(BODY_ALONE[:, np.newaxis], labels, np.nan)
    assert score("pose", found, labels, has=BODY_ALONE).oks == 1
    assert score_part("face", found, labels, np.array([100.0]), BODY_ALONE) is None


def test_without_a_labelled_point_there_is_no_score() -> None:
    labels = labels_of()
    labels[:, BODY] = np.nan
    assert score_part("pose", labels, labels, np.array([100.0]), ALL) is None


def test_sigmas_of_the_body_are_cocos() -> None:
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    sigmas = evaluation.Params(iouType="keypoints").kpt_oks_sigmas
    assert pytest.approx(sigmas) == SIGMAS_133[:17]


def evaluate(
    found: Points, labels: Points, areas: Points, sigmas: Points, seen: NDArray[np.bool_]
) -> tuple[Points, float]:
    """OKS of each frame and average recall as pycocotools computes them, of points that are all found."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    frames, points, _ = labels.shape
    marked = np.where(seen[:, :, np.newaxis], np.dstack([labels, np.full((frames, points), 2.0)]), 0.0)
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": frame + 1, "width": 999, "height": 999} for frame in range(frames)],
        "categories": [{"id": 1, "name": "person", "keypoints": [str(point) for point in range(points)]}],
        "annotations": [
            {
                "id": frame + 1,
                "image_id": frame + 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [0, 0, 10, 10],
                "area": float(areas[frame]),
                "keypoints": marked[frame].ravel().tolist(),
                "num_keypoints": int(seen[frame].sum()),
            }
            for frame in range(frames)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detected = truth.loadRes(
            [
                {
                    "image_id": frame + 1,
                    "category_id": 1,
                    "score": 1.0,
                    "keypoints": np.column_stack([found[frame], np.ones(points)]).ravel().tolist(),
                }
                for frame in range(frames)
            ]
        )
        judge = evaluation.COCOeval(truth, detected, "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    similarity = np.array([float(judge.ious[frame + 1, 1][0, 0]) for frame in range(frames)])
    return similarity, float(judge.stats[5])


@pytest.mark.parametrize(("part", "count"), [("pose", 17), (WHOLE_BODY, 133)])
def test_oks_and_recall_are_those_of_pycocotools(part: str, count: int) -> None:
    random = np.random.default_rng(3)
    labels = labels_of(40, seed=1)
    # Small to large errors, so that all thresholds matter.
    found = labels + random.normal(size=labels.shape) * np.geomspace(0.1, 12, 40).reshape(-1, 1, 1)
    areas = random.uniform(2_000, 40_000, 40)
    seen = random.random((40, 133)) < 0.8
    seen[:, 0] = True
    labels[~seen] = np.nan
    own = slice(0, count)
    similarity, recall = evaluate(found[:, own], np.nan_to_num(labels[:, own]), areas, SIGMAS_133[own], seen[:, own])
    scores = score(part, found, labels, areas)
    assert scores.oks == pytest.approx(similarity.mean(), abs=1e-9)
    assert scores.recall == pytest.approx(recall, abs=1e-9)
    for frame in range(40):
        alone = score(part, found[frame : frame + 1], labels[frame : frame + 1], areas[frame : frame + 1])
        assert alone.oks == pytest.approx(similarity[frame], abs=1e-9)


@given(distance=st.floats(0, 300), lost=st.sets(st.integers(0, 16), max_size=16))
def test_scores_fall_with_distance_and_with_every_lost_point(distance: float, lost: set[int]) -> None:
    labels = labels_of(seed=5)
    found = labels + np.array([distance, 0])
    near = score("pose", labels + np.array([distance / 2, 0]), labels)
    far = score("pose", found, labels)
    gone = found.copy()
    gone[0, sorted(lost)] = np.nan
    fewer = score("pose", gone, labels)
    for better, worse in ((near, far), (far, fewer)):
        assert better.oks is not None
        assert worse.oks is not None
        assert better.oks >= worse.oks
        assert all(better.pck[share] >= worse.pck[share] for share in better.pck)
