from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import DeviceLostError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert
from phoenix_ray.models.holistic.pipeline import HolisticPipeline
from phoenix_ray.sources.base import Video
from tests.golden.astronaut import View, render

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from phoenix_ray.models.holistic.torch_engine import pipelines  # noqa: E402 - needs torch
from phoenix_ray.models.holistic.torch_engine.crops import DeviceCropper  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks  # noqa: E402

Image = NDArray[np.uint8]

# Both engines add up in one order where processors have AVX2 or AVX-512; aarch64's LiteRT has another.
IS_X86 = platform.machine() in ("x86_64", "AMD64")
# Pixels by which landmarks may differ elsewhere, along x and y on 210x260 frames: mean, and 99th percentile.
POSE_AND_FACE, HANDS, TAIL = 0.02, 0.3, 1.3
# How far the number of frames in a batch may move a landmark, in pixels. Measured on these frames: 0.
BATCH_BOUND = 0.01


@pytest.fixture(scope="module")
def frames(astronaut: Image) -> list[Image]:
    """Five frames of a person, the last of another size, and one of nobody."""
    views = [View(224 + 6 * step, 150 + 9 * step, 260 + 24 * step, degrees=8 * step - 16) for step in range(4)]
    views.append(View(230, 160, 300, width=150, height=140))
    return [*(render(astronaut, view) for view in views), np.zeros((90, 160, 3), np.uint8)]


def on_cpu(**changes: Any) -> ModelSettings:
    return ModelSettings(engine="torch", device="cpu", **changes)


@pytest.fixture(scope="module")
def model(weights: Path) -> HolisticTorch:
    return HolisticTorch(on_cpu(), weights)


@pytest.fixture(scope="module")
def alone(model: HolisticTorch, frames: list[Image]) -> list[LandmarkBatch]:
    return [model.estimate([frame]) for frame in frames]


def distances(some: LandmarkBatch, others: LandmarkBatch, part: str, frames: list[Image]) -> NDArray[np.float64]:
    """Distances along x and y, in pixels, where both have found the part."""
    both = some.present(part) & others.present(part)
    sizes = np.array([(frame.shape[1], frame.shape[0]) for frame in frames])[both, None]
    moved: NDArray[np.float64] = np.abs(some.points[part] - others.points[part])[both][:, :, :2] * sizes
    return moved


def together(batches: list[LandmarkBatch]) -> LandmarkBatch:
    names, scored = batches[0].points, batches[0].scores
    return LandmarkBatch(
        {name: np.concatenate([batch.points[name] for batch in batches]) for name in names},
        {name: np.concatenate([batch.scores[name] for batch in batches]) for name in scored},
    )


def assert_same_bits(some: LandmarkBatch, others: LandmarkBatch) -> None:
    for name, points in some.points.items():
        np.testing.assert_array_equal(points, others.points[name])
    for name, scores in some.scores.items():
        np.testing.assert_array_equal(scores, others.scores[name])


@pytest.mark.parametrize(
    "settings", [{"complexity": 0}, {"complexity": 2}, {"name": "blazepose"}, {"name": "blazepose", "complexity": 2}]
)
def test_other_pose_networks_and_pose_alone_are_those_of_the_cpu_engine(
    all_weights: Path, settings: dict[str, Any], frames: list[Image]
) -> None:
    expected = HolisticLitert(ModelSettings(**settings), all_weights).estimate(frames)
    result = HolisticTorch(on_cpu(**settings), all_weights).estimate(frames)
    assert result.points.keys() == expected.points.keys()
    assert result.scores.keys() == expected.scores.keys()
    for name in expected.points:
        np.testing.assert_array_equal(result.present(name), expected.present(name))
    if IS_X86:
        assert_same_bits(result, expected)


@pytest.mark.parametrize("face_points", [468, 478])
def test_landmarks_are_those_of_the_cpu_engine(weights: Path, face_points: int, frames: list[Image]) -> None:
    expected = HolisticLitert(ModelSettings(face_points=face_points), weights).estimate(frames)
    result = HolisticTorch(on_cpu(face_points=face_points), weights).estimate(frames)
    for part in ("pose", "face"):
        assert expected.present(part).tolist() == [True] * 5 + [False]
    for name, points in expected.points.items():
        assert result.points[name].dtype == np.float32
        np.testing.assert_array_equal(result.present(name), expected.present(name))
        np.testing.assert_array_equal(np.isnan(result.points[name]), np.isnan(points))
    for part in ("pose", "face"):
        found = distances(result, expected, part, frames)
        assert found.mean() <= POSE_AND_FACE
        assert np.percentile(found, 99) <= TAIL
    if IS_X86:
        assert_same_bits(result, expected)


@pytest.mark.samples
def test_hands_are_those_of_the_cpu_engine(weights: Path, phoenix_sample: Path) -> None:
    (clip,) = phoenix_sample.glob("**/clip-slp-pose-history-5")
    files = sorted(clip.glob("**/*.png"))
    images = [np.asarray(cv2.imread(str(file)), dtype=np.uint8)[:, :, ::-1] for file in files]
    expected = HolisticLitert(ModelSettings(), weights).estimate(images)
    result = HolisticTorch(on_cpu(), weights).estimate(images)
    for part in ("left_hand", "right_hand"):
        assert expected.present(part).all()
        assert result.present(part).all()
        found = distances(result, expected, part, images)
        assert found.mean() <= HANDS
        assert np.percentile(found, 99) <= TAIL
    if IS_X86:
        assert_same_bits(result, expected)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_the_number_of_frames_in_a_batch_moves_landmarks_by_less_than_a_hundredth_of_a_pixel(
    model: HolisticTorch, alone: list[LandmarkBatch], frames: list[Image], chosen: list[int]
) -> None:
    images = [frames[index] for index in chosen]
    result, expected = model.estimate(images), together([alone[index] for index in chosen])
    for part in ("pose", "left_hand", "right_hand", "face"):
        np.testing.assert_array_equal(result.present(part), expected.present(part))
        assert distances(result, expected, part, images).max(initial=0) <= BATCH_BOUND


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_what_neighbours_show_and_where_they_stand_changes_no_bit(
    model: HolisticTorch, frames: list[Image], order: list[int]
) -> None:
    three = model.estimate([frames[index] for index in order[:3]])
    others = model.estimate([frames[index] for index in (order[5], order[4], order[0])])
    assert_same_bits(row(others, 2), row(three, 0))


def row(batch: LandmarkBatch, index: int) -> LandmarkBatch:
    return LandmarkBatch(
        {name: points[index] for name, points in batch.points.items()},
        {name: scores[index] for name, scores in batch.scores.items()},
    )


def test_more_frames_than_a_batch_go_through_in_batches(
    weights: Path, model: HolisticTorch, frames: list[Image]
) -> None:
    small = HolisticTorch(on_cpu(batch_size=2), weights)
    assert small.batch_size == 2
    result = small.estimate(frames)
    assert_same_bits(result, together([model.estimate(frames[first : first + 2]) for first in (0, 2, 4)]))
    assert result.events == ()


def test_without_batching_each_frame_goes_alone(weights: Path, alone: list[LandmarkBatch], frames: list[Image]) -> None:
    single = HolisticTorch(on_cpu(enable_batching=False), weights)
    assert single.batch_size == 1
    assert_same_bits(single.estimate(frames[:3]), together(alone[:3]))


def test_no_frames_give_no_rows(model: HolisticTorch) -> None:
    batch = model.estimate([])
    for part in layouts.holistic(468).parts:
        assert batch.points[part.name].shape == (0, len(part.points), len(part.axes))
    assert list(batch.scores) == ["pose", "left_hand", "right_hand", "face"]


class _Forgetful(TorchNetworks):
    """Networks for which memory suffices for three crops at the most."""

    refusals = (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    )

    def pose_detection(self, crops: Any) -> Any:
        if len(crops) > 3:
            raise self.refusals[len(crops) % 3]
        return super().pose_detection(crops)


@pytest.mark.parametrize("frames_at_once", [6, 5, 4])
def test_out_of_memory_halves_the_batch_gives_all_rows_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, weights: Path, model: HolisticTorch, frames: list[Image], frames_at_once: int
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _Forgetful)
    short_of_memory = HolisticTorch(on_cpu(batch_size=frames_at_once), weights)
    batch = short_of_memory.estimate(frames)
    half = frames_at_once // 2
    assert batch.events == (f"out of memory with {frames_at_once} frames at once: went on with {half}",)
    assert_same_bits(batch, together([model.estimate(frames[at : at + half]) for at in range(0, len(frames), half)]))
    assert short_of_memory.estimate(frames[:3]).events == ()


def test_a_worker_short_of_memory_commits_all_rows_and_reports_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: HolisticTorch, frames: list[Image]
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _Forgetful)
    folder = tmp_path / "video"
    folder.mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{index}.png"), frame[:, :, ::-1])
    settings = Settings(model=on_cpu(batch_size=4), output=OutputSettings(path=str(tmp_path / "output")))
    worker = ShardWorker(settings, DatasetIdentity(layout="holistic-468"))
    worker.ready()
    video = Video("train", "video", "frame_folder", str(folder), len(frames), "signature", 25.0)
    receipt = worker.process(Shard(video, 0, len(frames)))
    assert receipt.trouble is None
    assert receipt.partition is not None
    assert receipt.events == ("out of memory with 4 frames at once: went on with 2",)
    rows = pq.read_table(tmp_path / "output" / receipt.partition.name, partitioning=None).to_pylist()
    expected = together([model.estimate(frames[at : at + 2]) for at in range(0, len(frames), 2)])
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["no_person"]
    for row, points in zip(rows, expected.points["pose"], strict=False):
        if row["pose_x"] is not None:
            np.testing.assert_array_equal(np.array(row["pose_x"], np.float32), points[:, 0])


def test_memory_for_a_quarter_of_the_batch_is_reported_twice(
    monkeypatch: pytest.MonkeyPatch, weights: Path, frames: list[Image]
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _Forgetful)
    batch = HolisticTorch(on_cpu(), weights).estimate([*frames, *frames[:2]])
    assert [event.split(":")[0] for event in batch.events] == [
        "out of memory with 8 frames at once",
        "out of memory with 4 frames at once",
    ]
    assert batch.present("pose").tolist() == [True] * 5 + [False, True, True]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes differ")])
def test_out_of_memory_with_a_single_frame_and_other_errors_are_raised(
    monkeypatch: pytest.MonkeyPatch, model: HolisticTorch, frames: list[Image], error: Exception
) -> None:
    def refuse(self: TorchNetworks, crops: Any) -> Any:
        raise error

    monkeypatch.setattr(TorchNetworks, "hand_recrop", refuse)
    with pytest.raises(type(error), match=str(error)):
        model.estimate(frames[:1])


def test_a_batch_that_is_begun_before_the_last_is_taken_has_the_landmarks_of_one_that_is_not(
    model: HolisticTorch, frames: list[Image]
) -> None:
    expected = [model.estimate(frames[:3]), model.estimate(frames[3:])]
    begun = [model.begin(frames[:3]), model.begin(frames[3:])]
    for pending, batch in zip(begun, expected, strict=True):
        assert_same_bits(pending.result(), batch)
        pending.abandon()
    assert len(model.begin([]).result().points["pose"]) == 0


def test_a_batch_that_does_not_fit_beside_the_last_is_computed_in_halves(
    monkeypatch: pytest.MonkeyPatch, weights: Path, model: HolisticTorch, frames: list[Image]
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _Forgetful)
    short_of_memory = HolisticTorch(on_cpu(batch_size=4), weights)
    before, begun = short_of_memory.begin(frames[:2]), short_of_memory.begin(frames[2:])
    assert_same_bits(before.result(), model.estimate(frames[:2]))
    batch = begun.result()
    assert batch.events == ("out of memory with 4 frames at once: went on with 2",)
    assert_same_bits(batch, together([model.estimate(frames[at : at + 2]) for at in (2, 4)]))


def test_a_lost_device_is_not_a_frames_fault(
    monkeypatch: pytest.MonkeyPatch, model: HolisticTorch, frames: list[Image]
) -> None:
    def refuse(self: TorchNetworks, crops: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(TorchNetworks, "hand_recrop", refuse)
    for compute in (model.estimate, model.begin):
        with pytest.raises(DeviceLostError, match="an illegal memory access was encountered"):
            compute(frames[:1])


def test_what_the_environment_changes_is_reported_with_the_first_batch(
    monkeypatch: pytest.MonkeyPatch, model: HolisticTorch, frames: list[Image]
) -> None:
    monkeypatch.setattr(model, "_notices", ("NVIDIA_TF32_OVERRIDE=0: ...",))
    assert model.begin(frames[:1]).result().events == ("NVIDIA_TF32_OVERRIDE=0: ...",)
    assert model.estimate(frames[:1]).events == ()


def test_478_points_are_refused_where_there_is_no_double_precision(
    monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ModelError, match=r"model\.face_points=478 needs"):
        HolisticTorch(ModelSettings(engine="torch", device="mps", face_points=478), weights)


class _Elsewhere(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Sees each operator, and notes those that touch a tensor on another device than `meta`."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != "meta" for tensor in tensors):
            self.operators.add(str(operator))
        return result


@pytest.mark.parametrize("face_points", [468, 478])
def test_between_upload_and_result_nothing_is_asked_of_the_device_and_nothing_brought_to_it(
    weights: Path, face_points: int
) -> None:
    """Tensors on `meta` have no values: whatever depends on one, as a GPU would have to be waited for, fails there."""
    meta = torch.device("meta")
    pose_anchors, face_anchors = (torch.from_numpy(values).to(meta) for values in (POSE_ANCHORS, FACE_ANCHORS))
    networks = TorchNetworks(weights, face_points, meta, "exact")
    pipeline = HolisticPipeline(networks, pose_anchors, face_anchors, 9, 0.5, 0.5)
    pixels = torch.empty((4 * 30 * 20, 3), dtype=torch.uint8, device=meta)
    table = torch.empty((3, 4), dtype=torch.int64, device=meta)
    with torch.inference_mode():
        pipeline.estimate(DeviceCropper(pixels, table))  # Brings constants, once.
        with _Elsewhere() as elsewhere:
            found = pipeline.estimate(DeviceCropper(pixels, table))
    assert elsewhere.operators == set()
    assert found.face.points.shape == (4, face_points, 3)


def test_confidences_and_kernel_are_honoured(weights: Path, frames: list[Image]) -> None:
    unsure = HolisticTorch(on_cpu(min_tracking_confidence=1.0), weights).estimate(frames[:1])
    assert not unsure.present("pose").any()
    assert 0.5 < unsure.scores["pose"][0] < 1
    blind = HolisticTorch(on_cpu(min_detection_confidence=1.0), weights).estimate(frames[:1])
    assert math.isnan(blind.scores["pose"][0])
    narrow = HolisticTorch(on_cpu(heatmap_kernel=7), weights).estimate(frames[:1])
    wide = HolisticTorch(on_cpu(heatmap_kernel=9), weights).estimate(frames[:1])
    assert 0 < distances(narrow, wide, "pose", frames[:1]).max() < 10
