from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.errors import ConfigError, MissingExtraError, ModelError
from phoenix_ray.layouts import COCO_17
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import keypoint_rcnn, registry
from phoenix_ray.models.keypoint_rcnn import (
    KEYPOINT_RCNN_FILE,
    find_keypoint_rcnn,
    install_keypoint_rcnn,
    keypoint_rcnn_batch_size,
)

ROOT = Path(__file__).parents[2]
SETTINGS = ModelSettings(name="keypointrcnn")
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
needs_torchvision = pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch and torchvision as if they were installed."""
    monkeypatch.setattr(keypoint_rcnn, "_require_packages", lambda: None)
    monkeypatch.setattr(keypoint_rcnn, "_release", {"torch": "2.13.0", "torchvision": "0.28.0"}.__getitem__)


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Bytes that count as torchvision's file."""
    made_up = b"weights"
    monkeypatch.setattr(keypoint_rcnn, "SHA256_BEGINS", hashlib.sha256(made_up).hexdigest()[:8])
    return made_up


def test_the_name_of_the_file_ends_with_the_digits_of_its_sha256() -> None:
    assert f"keypointrcnn_resnet50_fpn_coco-{keypoint_rcnn.SHA256_BEGINS}.pth" == KEYPOINT_RCNN_FILE


def test_models_list_shows_it() -> None:
    assert "keypointrcnn" in {info.name for info in registry.available()}
    output = CliRunner().invoke(cli, ["models", "list"], catch_exceptions=False).output
    assert "engines: torchvision\n  layouts: coco-17" in output


def test_engine_and_device_are_decided() -> None:
    for has_gpu, device in ((False, "cpu"), (True, "cuda")):
        resolved = registry.resolve_auto(SETTINGS, has_gpu=has_gpu)
        assert (resolved.engine, resolved.device) == ("torchvision", device)
        assert registry.trial(resolved, has_gpu=has_gpu) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "tracking"}, "model.mode=tracking is for holistic"),
        ({"precision": "fp16"}, "model.precision=fp16 is not for keypointrcnn"),
        ({"kernels": "triton"}, "model.kernels=triton is for MediaPipe's models"),
        ({"device": "mps"}, "use cpu or cuda"),
        ({"engine": "litert"}, "has no engine 'litert'"),
    ],
)
def test_settings_that_it_does_not_have_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.resolve_auto(SETTINGS.model_copy(update=settings), has_gpu=False)


def test_the_identity_holds_all_that_bits_depend_on(packages: None) -> None:
    facts = registry.facts(registry.resolve_auto(SETTINGS, has_gpu=True))
    assert facts.layout is COCO_17
    assert (facts.batch_size, facts.uses_gpu, facts.tracks) == (8, True, False)
    assert facts.identity == {
        "model": "keypointrcnn",
        "engine": "torchvision",
        "pipeline_version": "1",
        "min_detection_confidence": "0.5",
        "weights": "fc266e95",
        "device": "cuda",
        "batch_size": "8",
        "torch": "2.13.0",
        "torchvision": "0.28.0",
    }
    on_cpu = registry.facts(
        registry.resolve_auto(SETTINGS.model_copy(update={"architecture": "aarch64"}), has_gpu=False)
    )
    assert (on_cpu.batch_size, on_cpu.uses_gpu, on_cpu.identity["architecture"]) == (1, False, "aarch64")


def test_a_worker_with_another_torchvision_is_refused(packages: None) -> None:
    settings = registry.resolve_auto(SETTINGS, has_gpu=False)
    recorded = dict(registry.facts(settings).identity)
    registry.refuse_other_machine(settings, recorded)
    with pytest.raises(ModelError, match=r"torchvision: 0\.27\.0 → 0\.28\.0"):
        registry.refuse_other_machine(settings, recorded | {"torchvision": "0.27.0"})


def test_batches_may_be_turned_off() -> None:
    assert keypoint_rcnn_batch_size(ModelSettings(device="cuda", enable_batching=False)) == 1
    assert keypoint_rcnn_batch_size(ModelSettings(device="cpu", batch_size=4)) == 4


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is installed")
def test_without_the_extra_it_says_what_to_install() -> None:
    settings = registry.resolve_auto(SETTINGS, has_gpu=False)
    for call in (registry.facts, registry.ensure_ready, registry.create):
        with pytest.raises(MissingExtraError, match=r"pip install 'phoenix-ray\[torchvision\]'"):
            call(settings)


def test_absent_weights_are_an_error_with_the_way_out(packages: None, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"weights_path": str(tmp_path)})
    with pytest.raises(ModelError, match=r"is not there\. Fetch https://download.*models install --from keypointrcnn"):
        registry.ensure_ready(settings)


def test_other_bytes_are_refused(packages: None, tmp_path: Path) -> None:
    (tmp_path / KEYPOINT_RCNN_FILE).write_bytes(b"something else")
    with pytest.raises(ModelError, match="should begin with fc266e95"):
        find_keypoint_rcnn(SETTINGS.model_copy(update={"weights_path": str(tmp_path)}))


def test_the_users_file_is_installed(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / KEYPOINT_RCNN_FILE
    file.write_bytes(content)
    arguments = ["models", "install", "--from", str(file), "--path", str(tmp_path / "weights")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [KEYPOINT_RCNN_FILE]
    found = find_keypoint_rcnn(SETTINGS.model_copy(update={"weights_path": str(tmp_path / "weights")}))
    assert found.read_bytes() == content


def test_another_file_is_not_installed(tmp_path: Path) -> None:
    file = tmp_path / KEYPOINT_RCNN_FILE
    file.write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not torchvision's file or is damaged"):
        install_keypoint_rcnn(str(file), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        install_keypoint_rcnn(str(tmp_path / "none.pth"), tmp_path / "weights")


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a small build with random weights finds, in a process of its own."""
    if not HAS_TORCHVISION:
        pytest.skip("torchvision is not installed")
    folder = tmp_path_factory.mktemp("trial")
    (folder / "damaged.pth").write_bytes(b"not weights")
    # Torchvision would compile its RoIAlign in Python, which takes minutes.
    environment = os.environ | {"TORCHDYNAMO_DISABLE": "1"}
    words = [sys.executable, "-m", "tests.models.keypoint_rcnn_trial", str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pixels(found: dict[str, Any], sizes: list[list[int]]) -> np.ndarray[Any, Any]:
    scale = np.array([[width, height, 1] for width, height in sizes])[:, np.newaxis]
    result: np.ndarray[Any, Any] = np.array(found["points"]) * scale
    return result


@pytest.mark.slow
def test_points_are_those_of_torchvisions_own_forward(trial: dict[str, Any]) -> None:
    found = pixels(trial["single"], trial["sizes"])
    for row, person in enumerate(trial["reference"]):
        assert found[row, :, :2] == pytest.approx(np.array(person["keypoints"])[0, :, :2], abs=1e-3)
        assert found[row, :, 2] == pytest.approx(person["keypoints_scores"][0], abs=1e-4)
        assert trial["single"]["scores"][row] == pytest.approx(person["scores"][0], abs=1e-5)


@pytest.mark.slow
def test_a_frame_does_not_depend_on_its_neighbours(trial: dict[str, Any]) -> None:
    width = len(trial["alone"]["bits"])
    in_a_batch = trial["mixed"]["bits"][2 * width : 3 * width]
    assert in_a_batch == trial["alone"]["bits"]
    order = [0, 2, 3, 1]
    single, mixed = (np.array(trial[name]["points"]) for name in ("single", "mixed"))
    assert mixed[order] == pytest.approx(single, abs=1e-4)


@pytest.mark.slow
def test_a_person_of_a_low_score_is_nobody(trial: dict[str, Any]) -> None:
    assert np.array(trial["least"]["points"]).max() == -1
    assert 0 < trial["least"]["scores"][0] < 1


@pytest.mark.slow
def test_a_file_of_other_weights_is_an_error(trial: dict[str, Any]) -> None:
    assert trial["damaged"].startswith("ModelError: ")
    assert "damaged.pth does not hold the weights of KeypointRCNN" in trial["damaged"]


@needs_torchvision
def test_torchvision_that_does_not_load_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    program = (
        "from phoenix_ray.models.keypoint_rcnn_network import build_keypoint_rcnn\n"
        "from phoenix_ray.errors import ModelError\n"
        "try:\n    network = build_keypoint_rcnn()\n"
        "except ModelError as error:\n    print(error)\n"
        "else:\n"
        "    from torchvision.ops import FrozenBatchNorm2d\n"
        "    frozen = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]\n"
        "    print(len(frozen), {m.eps for m in frozen}, network.roi_heads.detections_per_img)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "torchvision does not load with torch" in done.stdout or done.stdout.strip() == "53 {0.0} 1"
