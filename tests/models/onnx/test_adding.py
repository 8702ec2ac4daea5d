"""What `models add` writes; tests/commands/test_models.py has what it says."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import shutil
from pathlib import Path

import pytest
import yaml

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.onnx.adding import add_network, check_added
from phoenix_ray.models.onnx.catalog import find_manifest, read_network_manifest, shipped_manifests
from tests.models.onnx.made_up import rtmw_like, simcc_network

PROCESSES = 4
ADDS = 5


def test_an_added_network_runs_by_its_name(tmp_path: Path) -> None:
    rtmw_like(tmp_path)
    weights = tmp_path / "weights"
    add_network(tmp_path / "rtmw.onnx", weights, fp16=tmp_path / "rtmw.onnx")
    settings = ModelSettings(name="rtmw", weights_path=str(weights), device="cpu")
    registry.create(settings).close()
    registry.create(settings.model_copy(update={"precision": "fp16"})).close()
    assert registry.facts(settings).identity["weights"] == find_manifest("rtmw", str(weights)).manifest.weights.sha256


@pytest.mark.parametrize("style", ["block", "flow", "quoted", "yml"])
def test_every_style_of_yaml_is_filled_in(style: str, tmp_path: Path) -> None:
    path = rtmw_like(tmp_path)
    tree = yaml.safe_load(path.read_text()) | {"weights": {"file": "x.onnx"}}
    before = read_network_manifest(path)
    if style == "yml":
        path = path.rename(path.with_suffix(".yml"))
    path.write_text(
        {
            "block": yaml.safe_dump(tree),
            "flow": yaml.safe_dump(tree, default_flow_style=True, width=60),
            "quoted": yaml.safe_dump(tree, default_style='"'),
            "yml": f"# A comment.\n{yaml.safe_dump(tree)}\n\n# The end.\n",
        }[style]
    )
    added = add_network(tmp_path / "rtmw.onnx", tmp_path / "weights").located
    assert added.manifest.model_copy(update={"weights": before.weights}) == before
    assert added.network.is_file()
    assert ("# The end." in added.path.read_text()) == (style == "yml")


@pytest.mark.parametrize("found", shipped_manifests(), ids=lambda found: found.manifest.name)
def test_the_comments_of_the_package_survive(found: object, tmp_path: Path) -> None:
    from phoenix_ray.models.onnx.adding import _as_added
    from phoenix_ray.models.onnx.catalog import LocatedManifest, parse_manifest
    from phoenix_ray.models.onnx.network_file import NetworkFacts

    assert isinstance(found, LocatedManifest)
    text = found.path.read_text(encoding="utf-8")
    # Heads have one file.
    sums = {"weights": "a" * 64} | ({} if found.manifest.kind == "head" else {"fp16": "b" * 64})
    added = _as_added(text, "mine", sums, NetworkFacts({}, {}, {}, {}))
    for comment in (line for line in text.splitlines() if line.lstrip().startswith("#")):
        assert comment in added.splitlines()
    manifest = parse_manifest(added, found.path)
    assert manifest.name == "mine"
    assert manifest.weights.sha256 == "a" * 64
    assert {name: file.sha256 for name in sums if (file := getattr(manifest, name))} == sums
    same = {"name": found.manifest.name, "weights": found.manifest.weights, "fp16": None}
    assert manifest.model_copy(update=same) == found.manifest


def add_again_and_again(file: Path, weights: Path, start: multiprocessing.synchronize.Barrier) -> None:
    start.wait()
    for _ in range(ADDS):
        add_network(file, weights, replace=True)


@pytest.mark.slow
def test_nodes_that_add_unlike_files_at_once_leave_a_whole_network(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, weights = context.Barrier(PROCESSES), tmp_path / "weights"
    processes = []
    for number in range(PROCESSES):
        folder = tmp_path / str(number)
        folder.mkdir()
        simcc_network(folder / "rtmw.onnx", seed=number % 2)
        if number == 0:
            shutil.rmtree(tmp_path / "made", ignore_errors=True)
            (tmp_path / "made").mkdir()
            text = rtmw_like(tmp_path / "made").read_text()
            tree = yaml.safe_load(text)
            del tree["weights"]
        (folder / "rtmw.yaml").write_text(yaml.safe_dump(tree))
        arguments = (folder / "rtmw.onnx", weights, start)
        processes.append(context.Process(target=add_again_and_again, args=arguments))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert [status.state for status in check_added(weights)] == ["ok"]
    assert not list(weights.glob(".*")), "temporary files stay behind"


def test_a_manifest_in_the_weights_folder_may_be_named_too(tmp_path: Path) -> None:
    rtmw_like(tmp_path)
    weights = tmp_path / "weights"
    add_network(tmp_path / "rtmw.onnx", weights)
    other = tmp_path / "other"
    other.mkdir()
    simcc_network(other / "other.onnx")
    with pytest.raises(ConfigError, match="There is no manifest 'rtmv'"):
        add_network(other / "other.onnx", weights, "rtmv")
    (weights / "rtmw.yaml").write_text((weights / "rtmw.yaml").read_text().replace("sha256", "# sha256"))
    assert add_network(other / "other.onnx", weights, "rtmw", "other").located.manifest.name == "other"
