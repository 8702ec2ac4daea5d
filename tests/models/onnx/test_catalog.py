from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from phoenix_ray.config import Settings
from phoenix_ray.config_files import load, with_absolute_paths
from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.onnx.catalog import added_manifests, find_manifest, shipped_manifests

LITTLE = {
    "name": "little",
    "license": "none: made up",
    "source": "here",
    "layout": "coco-17",
    "input": {"size": [64, 96], "resize": "affine"},
    "decoder": {"kind": "simcc"},
}


def write(path: Path, **fields: object) -> Path:
    path.write_text(yaml.safe_dump(LITTLE | fields))
    return path


def test_a_manifest_is_found_by_its_path_and_its_file_lies_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yml", weights={"file": "y.onnx"}, fp16={})
    found = find_manifest(str(path), "")
    assert found.manifest.name == "little"
    assert found.network == tmp_path / "y.onnx"
    assert found.fp16_network == tmp_path / "little-fp16.onnx"


def test_an_added_manifest_goes_before_one_of_the_package(tmp_path: Path) -> None:
    shipped = find_manifest("rtmw-256x192", str(tmp_path))
    assert shipped.folder == tmp_path
    assert shipped.path.parent != tmp_path
    added = write(tmp_path / "rtmw-256x192.yaml", name="rtmw-256x192")
    assert find_manifest("rtmw-256x192", str(tmp_path)).path == added


def test_all_of_the_package_can_be_read_and_have_names_of_their_own() -> None:
    names = [found.manifest.name for found in shipped_manifests()]
    assert len(names) == len(set(names)) >= 25


def test_a_broken_manifest_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", name="a")
    write(tmp_path / "b.yaml", layout="unknown")
    first, second = added_manifests(tmp_path)
    assert not isinstance(first, ConfigError)
    assert isinstance(second, ConfigError)
    assert find_manifest("a", str(tmp_path)).manifest.name == "a"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rtmw-256x193", r"Did you mean 'rtmw-256x192'\?"),
        ("blaze", r"no model 'blaze' \(model.name\).*Models: blazepose"),
        ("no/such.yaml", "There is no manifest .*no/such.yaml"),
        ("../little", r"no model '../little'"),
        ("", "no model ''"),
        ("rtmw.onnx", "give its manifest, rtmw.yaml"),
        ("n" * 300, "cannot be read: File name too long"),
        ("yolox-humanart-640", "describes a detector, not a network that finds points. Give it as model.detector"),
    ],
)
def test_what_is_no_model_is_answered_with_the_way_out(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        find_manifest(name, str(tmp_path), ("blazepose",), kind="pose")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "rtmw-256x192", "box": "detector"}, "model.box=detector needs model.detector"),
        ({"name": "rtmw-256x192", "box": "detector", "detector": "yolo"}, r"no model 'yolo' \(model.detector\)"),
        (
            {"name": "rtmw-256x192", "box": "detector", "detector": "rtmw-384x288"},
            "model.detector=rtmw-384x288: .* describes a network that finds points, not a detector",
        ),
        ({"name": "sdpose-wholebody"}, "model.box=detector needs model.detector"),
    ],
)
def test_a_detector_that_is_missing_or_none_is_named(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.facts(ModelSettings.model_validate({**settings, "device": "cpu", "weights_path": str(tmp_path)}))


def test_paths_of_manifests_mean_the_same_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["model.name=nets/a.yaml", "model.detector=yolo-person", "model.heads=[b.yml, emotion]"]
    model = with_absolute_paths(load(None, given)).model
    assert model.name == str(tmp_path / "nets" / "a.yaml")
    assert model.detector == "yolo-person"
    assert model.heads == (str(tmp_path / "b.yml"), "emotion")
    assert with_absolute_paths(Settings()).model.name == "holistic"
