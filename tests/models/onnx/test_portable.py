from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.onnx.portable import architecture_for, portable_network
from phoenix_ray.models.onnx.session import OnnxSession

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
from onnx import TensorProto, helper

from tests.models.onnx import processors

FAST = ModelSettings(device="cpu")
PORTABLE = ModelSettings(device="cpu", architecture="x86_64")


def write(path: Path, nodes: list[Any], shape: list[int], opset: int = 17) -> Path:
    graph = helper.make_graph(
        nodes,
        "made up",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


@settings(max_examples=40, deadline=None)
@given(
    opset=st.sampled_from([11, 12, 13, 17, 18, 21]),
    axis=st.sampled_from([None, -3, -2, -1, 1, 2, 3]),
    shape=st.lists(st.integers(1, 19), min_size=3, max_size=3),
)
def test_softmax_in_other_words_is_the_same_function(
    tmp_path_factory: pytest.TempPathFactory, opset: int, axis: int | None, shape: list[int]
) -> None:
    attributes = {} if axis is None else {"axis": axis}
    softmax = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Softmax", ["n"], ["s"], **attributes),
        helper.make_node("Identity", ["s"], ["y"]),
    ]
    path = write(tmp_path_factory.mktemp("softmax") / "n.onnx", softmax, [1, *shape], opset)
    rewritten = portable_network(path)
    assert rewritten is not None
    model = onnx.load_from_string(rewritten)
    onnx.checker.check_model(model, full_check=True)
    assert "Softmax" not in {node.op_type for node in model.graph.node}
    inputs = np.random.default_rng(3).normal(0, 5, (2, *shape)).astype(np.float32)
    found, expected = (OnnxSession(path, settings).run(inputs)["y"] for settings in (PORTABLE, FAST))
    assert np.abs(found - expected).max() < 1e-6


def test_all_else_of_a_file_stays_as_it_is(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1], name="first"),
        helper.make_node("Softmax", ["t"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["y"], name="last"),
    ]
    path = write(tmp_path / "n.onnx", nodes, [1, 3, 5])
    before = onnx.load(path)
    rewritten = portable_network(path)
    assert rewritten is not None
    after = onnx.load_from_string(rewritten)
    assert (after.graph.node[0], after.graph.node[-1]) == (before.graph.node[0], before.graph.node[-1])
    del before.graph.node[:], after.graph.node[:]
    assert before == after


def test_a_file_without_softmax_is_loaded_as_it_is(tmp_path: Path) -> None:
    assert portable_network(write(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"])], [1, 3])) is None


@pytest.mark.parametrize(("operator", "expected"), [("Relu", "x86_64"), ("LogSoftmax", "x86_64-avx2")])
def test_auto_means_the_same_bits_on_each_processor_where_the_operators_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operator: str, expected: str
) -> None:
    monkeypatch.setattr(provenance, "architecture", lambda: "x86_64")
    monkeypatch.setattr(provenance, "instruction_set", lambda: "avx2")
    path = write(tmp_path / "network.onnx", [helper.make_node(operator, ["x"], ["y"])], [1, 4])
    assert architecture_for([path]) == expected
    monkeypatch.setattr(provenance, "architecture", lambda: "aarch64")
    assert architecture_for([path]) == "aarch64"


def test_a_file_that_cannot_be_read_decides_no_architecture(tmp_path: Path) -> None:
    assert architecture_for([tmp_path / "none.onnx"]) == provenance.vector_architecture()


def test_operators_that_were_not_compared_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mish", ["x"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    path = write(tmp_path / "n.onnx", nodes, [1, 3], opset=18)
    with pytest.raises(ModelError, match=r"n\.onnx has Mish, which may round .*Leave model\.architecture out"):
        OnnxSession(path, PORTABLE)
    assert OnnxSession(path, FAST).run(np.ones((1, 3), np.float32))["y"].shape == (1, 3)


def test_operators_of_others_and_branches_are_not_accepted(tmp_path: Path) -> None:
    foreign = [helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft")]
    with pytest.raises(ModelError, match=r"has com\.microsoft\.Relu,"):
        portable_network(write(tmp_path / "n.onnx", foreign, [1, 3]))
    branch = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    choice = [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)]
    with pytest.raises(ModelError, match=r"has If, functions or branches"):
        portable_network(write(tmp_path / "n.onnx", choice, [1, 3]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_the_model(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "n.onnx"
    whole = write(path, [helper.make_node("Softmax", ["x"], ["y"])], [1, 3]).read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged[: data.draw(st.integers(0, len(whole)))]))
    # Some damage leaves a network; any other error than ModelError fails the test.
    with suppress(ModelError):
        OnnxSession(path, PORTABLE)


@pytest.mark.slow
@pytest.mark.skipif(not processors.can_emulate(), reason="qemu-x86_64 is not installed")
@pytest.mark.skipif(provenance.instruction_set() != "avx512", reason="this processor has no AVX-512 to compare with")
@pytest.mark.timeout(1800)  # an emulated processor, on a machine that may be busy
def test_portable_networks_have_the_same_bits_with_avx512_and_with_avx2(tmp_path: Path) -> None:
    processors.make(tmp_path)
    here = processors.compute(tmp_path, "x86_64")
    assert {name for name, outputs in here.items() if outputs == "refused"} == {
        name for name in here if name.startswith("log-softmax")
    }
    assert processors.compute_with_avx2(tmp_path, "x86_64") == here
