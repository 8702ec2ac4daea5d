"""The legacy package as an engine; what needs the package itself runs in the environment of `make reference`."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray import layouts
from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import mediapipe_reference, registry
from phoenix_ray.models.mediapipe_reference import MediapipeHolistic, MediapipeHolisticTracking
from tests.golden import GOLDEN, PARTS, TRACKING, read_signer
from tests.golden.astronaut import LEFT_HAND, NOBODY, PAN, VIEWS, render
from tests.models.conftest import Image

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="mediapipe is not installed; `make reference` makes an environment that has it",
)
SETTINGS = ModelSettings(engine="mediapipe")
# The pose of one frame with a heat-map window of 7, in a process of its own: it cannot be taken back.
POSE_WITH_KERNEL_7 = """
import sys, numpy, skimage.data
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.mediapipe_reference import MediapipeHolistic, MediapipeHolisticTracking
from tests.golden.astronaut import PAN, render
model = MediapipeHolistic(ModelSettings(engine="mediapipe", heatmap_kernel=7))
numpy.save(sys.argv[1], model.estimate([render(skimage.data.astronaut(), PAN[0])]).points["pose"])
"""


@pytest.fixture(scope="module")
def model() -> Iterator[MediapipeHolistic]:
    model = MediapipeHolistic(SETTINGS)
    yield model
    model.close()


@pytest.fixture(scope="module")
def frames(astronaut: Image) -> list[Image]:
    """One without a person, some with a face, one with a hand that would linger in the frame after it."""
    return [render(astronaut, view) for view in (*NOBODY, *PAN[:2], LEFT_HAND[0], PAN[2])]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'phoenix-ray\[mediapipe\]'"):
        MediapipeHolistic(SETTINGS)


def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.30")
    with pytest.raises(ModelError, match=r"needs mediapipe 0\.10\.21, but 0\.10\.30 is installed"):
        MediapipeHolistic(SETTINGS)


def test_a_process_that_chose_a_window_of_7_cannot_go_back_to_9(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe_reference, "require_mediapipe", lambda: None)
    options = mediapipe_reference._KERNEL_OPTIONS
    monkeypatch.setitem(sys.modules, options, types.ModuleType(options))
    with pytest.raises(ModelError, match=r"can no longer use model.heatmap_kernel=9: .* Use another process"):
        MediapipeHolistic(SETTINGS)


@needs_mediapipe
def test_the_registry_creates_it() -> None:
    settings = SETTINGS.model_copy(update={"face_points": 478, "batch_size": 3})
    registry.ensure_ready(settings)
    model = registry.create(settings)
    assert isinstance(model, MediapipeHolistic)
    assert model.layout == registry.facts(settings).layout == layouts.holistic(478)
    assert model.batch_size == registry.facts(settings).batch_size == 3
    model.close()


@needs_mediapipe
def test_a_frame_does_not_depend_on_those_before(model: MediapipeHolistic, frames: list[Image]) -> None:
    forwards, backwards = model.estimate(frames), model.estimate(frames[::-1])
    assert forwards.present("left_hand").tolist() == [False, False, False, True, False]
    for part in model.layout.parts:
        np.testing.assert_array_equal(forwards.points[part.name], backwards.points[part.name][::-1])


@needs_mediapipe
def test_missing_parts_are_nan_and_scores_are_unknown(model: MediapipeHolistic, frames: list[Image]) -> None:
    batch = model.estimate(frames[:2])
    for part in model.layout.parts:
        points = batch.points[part.name]
        assert points.shape == (2, len(part.points), len(part.axes))
        assert points.dtype == np.float32
        assert np.isnan(points[0]).all(), "nobody is there"
    assert batch.scores.keys() == {part.name for part in model.layout.parts if part.scored}
    assert all(np.isnan(score).all() for score in batch.scores.values())


@needs_mediapipe
def test_an_empty_batch_keeps_its_shapes(model: MediapipeHolistic) -> None:
    assert model.estimate([]).points["pose"].shape == (0, 33, 4)


@needs_mediapipe
def test_the_golden_file_is_what_it_finds(model: MediapipeHolistic, astronaut: Image) -> None:
    batch = model.estimate([render(astronaut, view) for view in VIEWS])
    with np.load(GOLDEN) as golden:
        for part in PARTS:
            np.testing.assert_allclose(batch.points[part], golden[part], rtol=0, atol=1e-3)


@needs_mediapipe
def test_a_window_of_7_moves_the_pose(
    model: MediapipeHolistic, astronaut: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("kernel") / "pose.npy"
    subprocess.run([sys.executable, "-c", POSE_WITH_KERNEL_7, str(file)], check=True)
    with_9 = model.estimate([render(astronaut, PAN[0])]).points["pose"]
    moved = np.abs(np.load(file) - with_9)[0, :, 0].max() * PAN[0].width
    assert 0.1 < moved < 10, "pixels"


@needs_mediapipe
def test_in_tracking_mode_each_video_is_that_of_a_fresh_instance() -> None:
    model = MediapipeHolisticTracking(ModelSettings(engine="mediapipe", mode="tracking"))
    frames = read_signer()
    begin = state = np.full((1, model.state_size), np.nan, np.float32)
    for frame in frames[30:40]:
        _, state = model.track([frame], state)
    state = begin
    with np.load(TRACKING) as golden:
        for index, frame in enumerate(frames[:30]):
            batch, state = model.track([frame], state)
            for part, points in batch.points.items():
                np.testing.assert_allclose(points[0], golden[part][index], rtol=0, atol=1e-3)
    with pytest.raises(ModelError, match=r"cannot go on in the middle of a video"):
        model.track(frames[:1], np.array([[1, 10]], np.float32))
    model.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a MediaPipe that is not really there looks for the lite network."""
    spec = types.SimpleNamespace(origin=str(tmp_path / "mediapipe" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.21")
    folder = tmp_path / "mediapipe" / "modules" / "pose_landmark"
    folder.mkdir(parents=True)
    return folder / "pose_landmark_lite.tflite"


def test_the_pose_network_is_put_where_mediapipe_looks_for_it(all_weights: Path, package: Path) -> None:
    for _ in range(2):
        mediapipe_reference._bring_pose_network(ModelSettings(complexity=0))
        assert package.read_bytes() == (all_weights / package.name).read_bytes()
    mediapipe_reference._bring_pose_network(ModelSettings(complexity=1))
    assert [path.name for path in package.parent.iterdir()] == [package.name]


def test_another_network_in_that_place_is_refused(package: Path) -> None:
    package.write_bytes(b"of MediaPipe Tasks")
    with pytest.raises(ModelError, match=r"pose_landmark_lite\.tflite is another network.*delete it"):
        mediapipe_reference._bring_pose_network(ModelSettings(complexity=0))
    assert package.read_bytes() == b"of MediaPipe Tasks"


def test_where_it_cannot_be_put_the_user_is_asked_to(
    all_weights: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(mediapipe_reference, "write_whole", refuse)
    with pytest.raises(ModelError, match=r"cannot be written \(Permission denied\): copy .* there"):
        mediapipe_reference._bring_pose_network(ModelSettings(complexity=0))


@needs_mediapipe
@pytest.mark.parametrize("complexity", [0, 2])
def test_pose_alone_finds_what_holistic_finds(all_weights: Path, frames: list[Image], complexity: int) -> None:
    found = []
    for name in ("holistic", "blazepose"):
        other = MediapipeHolistic(SETTINGS.model_copy(update={"name": name, "complexity": complexity}))
        found.append(other.estimate(frames[:3]))
        other.close()
    for part in ("pose", "pose_world"):
        np.testing.assert_array_equal(found[0].points[part], found[1].points[part])
