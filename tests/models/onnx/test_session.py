from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.models.onnx import providers
from phoenix_ray.models.onnx.session import OnnxSession, frames_at_once
from tests.models.onnx.fake_gpu import FakeGpu

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper

CPU = ModelSettings(device="cpu")


def dense_network(path: Path, batch: int | str = "N", kind: int = TensorProto.FLOAT) -> Path:
    """Write a network with an input `x` (batch, 96) and an output `y` (batch, 40), the product with random weights."""
    weights = np.random.default_rng(1).normal(0, 1, (96, 40)).astype(helper.tensor_dtype_to_np_dtype(kind))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", kind, [batch, 96])],
        [helper.make_tensor_value_info("y", kind, [batch, 40])],
        [numpy_helper.from_array(weights, "w")],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def rows(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(2).normal(0, 1, (count, 96)).astype(np.float32)


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_are_the_same_bits_whatever_the_batch(tmp_path: Path, batch: int | str, threads: int) -> None:
    session = OnnxSession(dense_network(tmp_path / "n.onnx", batch), ModelSettings(device="cpu", threads=threads))
    inputs = rows(17)
    together = session.run(inputs)["y"]
    assert together.shape == (17, 40)
    for size in (1, 4, 8, 16):
        parts = [session.run(inputs[first : first + size])["y"] for first in range(0, 17, size)]
        assert same_bits(np.concatenate(parts), together).all()


def test_a_network_in_half_precision_is_given_half_precision_and_gives_single(tmp_path: Path) -> None:
    session = OnnxSession(dense_network(tmp_path / "n.onnx", kind=TensorProto.FLOAT16), CPU)
    exact = OnnxSession(dense_network(tmp_path / "exact.onnx"), CPU)
    inputs = rows(3)
    found = session.run(inputs)["y"]
    assert found.dtype == np.float32
    assert np.abs(found - exact.run(inputs)["y"]).max() < 0.1


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("pixels", (2, 96), r"no input 'pixels' \(input\.name in its manifest\)\. It has x"),
        ("", (2, 95), r"takes \(N, 96\), but its manifest makes \(N, 95\): correct input\.size"),
        ("", (2, 3, 96), r"takes \(N, 96\), but its manifest makes \(N, 3, 96\)"),
    ],
)
def test_inputs_that_do_not_fit_name_the_field(tmp_path: Path, name: str, shape: tuple[int, ...], says: str) -> None:
    session = OnnxSession(dense_network(tmp_path / "n.onnx"), CPU)
    with pytest.raises(ModelError, match=says):
        session.run(np.zeros(shape, np.float32), name)


def test_an_output_that_a_network_lacks_is_named(tmp_path: Path) -> None:
    outputs = OnnxSession(dense_network(tmp_path / "n.onnx"), CPU).run(rows(1))
    with pytest.raises(ModelError, match=r"n\.onnx has no output 'simcc_x' \(decoder in its manifest\)\. It has y\."):
        outputs["simcc_x"]


def test_an_input_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "whole",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["N", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"takes tensor\(uint8\).*float32 or float16"):
        OnnxSession(tmp_path / "n.onnx", CPU).run(np.zeros((1, 4), np.float32))


def test_an_output_without_a_batch_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)],
        "scalar",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"output 'y' is \(\) for 1 inputs.*batch as the first dimension"):
        OnnxSession(tmp_path / "n.onnx", CPU).run(np.zeros((1, 4), np.float32))


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"n\.onnx cannot be loaded by onnxruntime"):
        OnnxSession(tmp_path / "n.onnx", CPU)


def test_the_extra_is_named_where_onnxruntime_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'phoenix-ray\[onnx\]'"):
        OnnxSession(tmp_path / "n.onnx", CPU)


@pytest.mark.parametrize(("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("mps", "CoreML")])
def test_a_device_that_onnxruntime_lacks_is_an_error_with_a_way_out(tmp_path: Path, device: Any, provider: str) -> None:
    import onnxruntime

    if any(provider in name for name in onnxruntime.get_available_providers()):
        pytest.skip("this onnxruntime has the provider")
    with pytest.raises(ModelError, match=rf"model\.device={device}.*has no {provider}.*model\.device=cpu"):
        OnnxSession(dense_network(tmp_path / "n.onnx"), ModelSettings(device=device))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    (tmp_path / "n.onnx").write_bytes(b"whatever the stand-in makes of it")
    monkeypatch.chdir(tmp_path)
    fake = FakeGpu()
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


def on_gpu(**fields: Any) -> OnnxSession:
    return OnnxSession(Path("n.onnx"), ModelSettings(device="cuda", **fields))


def test_cuda_gets_options_that_keep_numbers_the_same(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "gpu_memory", lambda: 80_000_000_000)
    on_gpu(memory_fraction=0.25)
    (name, options), last = gpu.providers
    assert name == "CUDAExecutionProvider"
    assert last == ("CPUExecutionProvider", {})
    assert options["cudnn_conv_algo_search"] == "DEFAULT"
    assert options["use_tf32"] == "0"
    assert options["gpu_mem_limit"] == "20000000000"
    assert gpu.options.use_deterministic_compute is True
    assert gpu.options.intra_op_num_threads == 1
    assert gpu.preloaded == 1


def test_all_of_a_gpus_memory_is_no_limit_and_tf32_is_what_precision_asks_for(gpu: FakeGpu) -> None:
    on_gpu(precision="tf32")
    options = gpu.providers[0][1]
    assert "gpu_mem_limit" not in options
    assert options["use_tf32"] == "1"


def test_a_quiet_fall_back_to_the_cpu_is_an_error(gpu: FakeGpu) -> None:
    gpu.used = ["CPUExecutionProvider"]
    with pytest.raises(ModelError, match=r"could not start CUDAExecutionProvider.*\[onnx-gpu\].*model\.device=cpu"):
        on_gpu()


def test_apples_gpus_compute_through_coreml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"whatever the stand-in makes of it")
    fake = FakeGpu("CoreMLExecutionProvider")
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    session = OnnxSession(tmp_path / "n.onnx", ModelSettings(device="mps", batch_size=4))
    assert fake.providers[0][0] == "CoreMLExecutionProvider"
    inputs = rows(5)
    assert (session.run(inputs)["y"] == 2 * inputs).all()
    assert fake.calls == [4, 4]


def test_a_gpu_sees_batches_of_one_size_in_buffers_that_stay(gpu: FakeGpu) -> None:
    session = on_gpu(batch_size=8)
    for count in (8, 3, 20):
        inputs = rows(count)
        assert (session.run(inputs)["y"] == 2 * inputs).all()
    assert gpu.calls == [8, 8, 8, 8, 8]
    assert gpu.copies == 1
    assert session.take_events() == ()


@pytest.mark.parametrize(
    "error",
    [
        "Failed to allocate memory for requested buffer of size 268435456",
        "Available memory of 100 is smaller than requested bytes of 200",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_run_records_it(gpu: FakeGpu, error: str) -> None:
    session = on_gpu(batch_size=16)
    gpu.most, gpu.error = 5, error
    inputs = rows(16)
    assert (session.run(inputs)["y"] == 2 * inputs).all()
    assert gpu.calls == [16, 8, 4, 4, 4, 4]
    assert session.take_events() == (
        "out of memory with 16 frames at once: went on with 8",
        "out of memory with 8 frames at once: went on with 4",
    )
    assert session.take_events() == ()


def test_a_single_frame_that_does_not_fit_is_an_error_with_a_way_out(gpu: FakeGpu) -> None:
    session = on_gpu(batch_size=2)
    gpu.most = 0
    with pytest.raises(MemoryError, match=r"1 inputs of \(96\).*cluster\.workers_per_gpu.*model\.memory_fraction"):
        session.run(rows(2))


def test_what_else_a_gpu_says_is_an_error_of_the_model(gpu: FakeGpu) -> None:
    session = on_gpu(batch_size=2)
    gpu.most, gpu.error = 0, "an illegal memory access was encountered"
    with pytest.raises(ModelError, match=r"cannot compute an input of \(2, 96\): an illegal memory access"):
        session.run(rows(1))
    assert gpu.calls == [2]


def test_frames_at_once_are_what_the_settings_say_or_what_suits_the_device() -> None:
    asked: Callable[..., int] = lambda **fields: frames_at_once(ModelSettings(**fields))  # noqa: E731
    assert asked(device="cpu") == 16
    assert asked(device="cuda") == 32
    assert asked(device="cuda", batch_size=5) == 5
    assert asked(device="cuda", enable_batching=False) == 1


def test_weights_in_a_file_of_their_own_are_refused_because_no_sum_covers_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    path = dense_network(tmp_path / "n.onnx")
    apart = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(onnx.load(path), tmp_path / "apart.onnx", **apart)
    assert (tmp_path / "weights.bin").exists()
    # onnxruntime looks into the working folder, too.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"apart\.onnx cannot be loaded"):
        OnnxSession(tmp_path / "apart.onnx", CPU)
