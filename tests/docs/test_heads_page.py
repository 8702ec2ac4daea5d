"""The page about heads says of the shipped manifests what they say, and its example is a manifest that runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.onnx.adding import add_network
from phoenix_ray.models.onnx.catalog import parse_manifest, shipped_manifests
from phoenix_ray.models.onnx.manifest import HeadManifest
from tests.docs.pages import ROOT, blocks

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import helper

from tests.models.onnx.made_up import write_network

SIZES = {"classes": 3, "numbers": 2}
PAGE = ROOT / "docs" / "heads.md"


def test_the_table_has_each_head_of_the_package_with_its_classes_size_and_licence() -> None:
    rows = {
        found[1]: line
        for line in PAGE.read_text(encoding="utf-8").partition("## Columns")[0].splitlines()
        if (found := re.match(r"\| `([a-z0-9_-]+)` \| [A-Za-z]", line))
    }
    heads = {
        located.manifest.name: located.manifest
        for located in shipped_manifests()
        if isinstance(located.manifest, HeadManifest)
    }
    assert rows.keys() == heads.keys()
    for name, manifest in heads.items():
        row = rows[name]
        classes = ", ".join(manifest.decoder.classes)
        if f"the same {len(manifest.decoder.classes)}" not in row:
            assert f"{len(manifest.decoder.classes)}: {classes}" in row
        assert f"{manifest.input.size[0]}x" in row or "the same |" in row
        assert f"| {manifest.license.partition(':')[0]}" in row
        assert ("valence, arousal" in row) == (tuple(manifest.decoder.values) == ("valence", "arousal"))


def test_the_manifest_of_the_page_runs_a_network_that_it_describes(tmp_path: Path) -> None:
    (example,) = (block.text for block in blocks("") if block.page == "docs/heads.md" and "kind: head" in block.text)
    manifest = parse_manifest(example, PAGE)
    assert isinstance(manifest, HeadManifest)
    network = tmp_path / "my-mood.onnx"
    random = np.random.default_rng(3)
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[24, 24], strides=[24, 24]),
        helper.make_node("Flatten", ["pooled"], ["cells"]),
        helper.make_node("MatMul", ["cells", "of_classes"], ["logits"]),
        helper.make_node("MatMul", ["cells", "of_numbers"], ["numbers"]),
    ]
    constants = {f"of_{name}": random.normal(0, 1, (16, count)).astype(np.float32) for name, count in SIZES.items()}
    outputs: dict[str, list[int | str]] = {"logits": ["N", 3], "numbers": ["N", 2]}
    write_network(network, nodes, {"input": ["N", 1, 96, 96]}, outputs, constants)
    (tmp_path / "my-mood.yaml").write_text(example)
    add_network(network, tmp_path / "weights")
    settings = ModelSettings(name="synthetic", heads=("my-mood",), weights_path=str(tmp_path / "weights"))
    images = [np.random.default_rng(seed).integers(0, 256, (50, 40, 3), np.uint8) for seed in range(9)]
    batch = registry.create(settings).estimate(images)
    assert np.array_equal(~np.isnan(batch.heads["mood"][:, 0]), batch.present("face"))
