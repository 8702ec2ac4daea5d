"""A network in onnxruntime: calls in batches of one shape, and errors that name the file and the way out.

On the CPU a network sees one input at a time: more at once are no faster there, and a matrix of another height may be
added up in another order. On a GPU it sees batches of one constant size, filled up with the last input, for the same
reason. `engine`, detectors and heads call it; `providers` has the options.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import frames_per_call
from phoenix_ray.models.onnx.portable import PORTABLE, portable_network
from phoenix_ray.models.onnx.providers import (
    load_cuda_libraries,
    providers_for,
    refuse_fallback,
)

Shape = tuple[int | str | None, ...]

# Inputs that go through a GPU at once where the settings leave it open. On a CPU it only bounds the frames in memory.
GPU_BATCH_SIZE, CPU_BATCH_SIZE = 32, 16
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# Where a network that is given as bytes finds weights that it keeps in files of their own.
_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"
# What onnxruntime, CUDA and its libraries say where memory is too small.
_OUT_OF_MEMORY = (
    "failed to allocate memory",
    "is smaller than requested bytes",
    "out of memory",
    "alloc_failed",
    "bad_alloc",
)

_log = logging.getLogger(__name__)


def require_onnxruntime() -> None:
    """Raise MissingExtraError where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("model.engine=onnx", "onnx")


def frames_at_once(settings: ModelSettings) -> int:
    """Return the frames per call of a network."""
    return frames_per_call(settings, CPU_BATCH_SIZE if settings.device in ("auto", "cpu") else GPU_BATCH_SIZE)


def is_portable(settings: ModelSettings) -> bool:
    """Return whether the settings ask for the same bits on each x86-64 processor since 2013."""
    return settings.architecture == PORTABLE and settings.device in ("auto", "cpu")


class NamedOutputs(dict[str, NDArray[np.float32]]):
    """The outputs of a network by name; one that it does not have is a ModelError."""

    def __init__(self, path: Path, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__(outputs)
        self._path = path

    def __missing__(self, name: str) -> NDArray[np.float32]:
        raise ModelError(f"{self._path} has no output '{name}' (decoder in its manifest). It has {', '.join(self)}.")


class OnnxSession:
    """A loaded network.

    Args:
        path: Its file.
        settings: Device, threads, precision, memory and batch size.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file is not an ONNX network, or this machine lacks the device.
    """

    def __init__(self, path: Path, settings: ModelSettings) -> None:
        require_onnxruntime()
        import onnxruntime

        self._path = path
        self._device = settings.device
        self._batch = frames_at_once(settings)
        self._events: list[str] = []
        providers = providers_for(settings, onnxruntime)
        options = _options(settings, onnxruntime)
        # Weights in files of their own, whose sha256 no manifest has, must not be found: a file holds no others.
        options.add_session_config_entry(_FOLDER_OF_WEIGHTS, str(path))
        try:
            network = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
        if is_portable(settings):
            # Without optimisations of the layout, by which convolutions sum in blocks of channels.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            network = portable_network(path) or network
        if settings.device == "cuda":
            load_cuda_libraries(onnxruntime)
        try:
            self._session = onnxruntime.InferenceSession(network, options, providers=providers)
        except Exception as error:
            raise ModelError(f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {error}") from None
        refuse_fallback(settings, self._session.get_providers(), path)
        self._buffers: dict[tuple[int, ...], Any] = {}
        self._types = {value.name: value.type for value in self._session.get_inputs()}

    @property
    def inputs(self) -> dict[str, Shape]:
        """Name → shape of each input; a dimension of any size is a name or None."""
        return {value.name: tuple(value.shape) for value in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, Shape]:
        """Name → shape of each output."""
        return {value.name: tuple(value.shape) for value in self._session.get_outputs()}

    def run(self, inputs: NDArray[np.float32], name: str = "") -> Mapping[str, NDArray[np.float32]]:
        """Return the outputs for N inputs, name → float32 (N, ...).

        Where a GPU's memory is too small, batches are halved, and `take_events` says so.

        Args:
            inputs: float32 (N, ...), N at least 1, without the batch dimension what the network takes.
            name: The input's name; empty for the only one.

        Raises:
            ModelError: The network has no such input, takes another shape or type, or cannot compute it.
            MemoryError: Memory is too small for the smallest batch.
        """
        name, fixed = self._input(name, inputs.shape)
        inputs = inputs.astype(_TYPES[self._types[name]], copy=False)
        if self._device in ("auto", "cpu"):
            # An input's place in a batch of constant size might change its last bits: each has the first.
            parts = [
                [output[:1] for output in self._call(name, _filled_up(row, fixed or 1))] for row in inputs[:, None]
            ]
        else:
            parts = self._run_in_batches(name, inputs, fixed)
        arrays = (np.concatenate(batches).astype(np.float32, copy=False) for batches in zip(*parts, strict=True))
        return NamedOutputs(self._path, dict(zip(self.outputs, arrays, strict=True)))

    def take_events(self) -> tuple[str, ...]:
        """Return what happened since the last call that a run should record, a line each."""
        events, self._events = tuple(self._events), []
        return events

    def close(self) -> None:
        """Release the network and its memory."""
        self._buffers.clear()
        del self._session

    def _input(self, name: str, shape: tuple[int, ...]) -> tuple[str, int | None]:
        """Return the name of the input, and the constant size of its batches or None; see `run` for what it raises."""
        shapes = self.inputs
        if not name and len(shapes) > 1:
            raise ModelError(
                f"{self._path} has several inputs ({', '.join(shapes)}): its manifest must name one (input.name)."
            )
        name = name or next(iter(shapes))
        if name not in shapes:
            raise ModelError(
                f"{self._path} has no input '{name}' (input.name in its manifest). It has {', '.join(shapes)}."
            )
        if self._types[name] not in _TYPES:
            raise ModelError(
                f"{self._path}: the input '{name}' takes {self._types[name]}. Export the network with an input of "
                "float32 or float16 (a quantised one keeps float32 outside)."
            )
        wanted = shapes[name]
        if len(wanted) != len(shape) or any(
            isinstance(size, int) and size != given for size, given in zip(wanted[1:], shape[1:], strict=True)
        ):
            raise ModelError(
                f"{self._path}: the input '{name}' takes {_show(wanted)}, but its manifest makes "
                f"{_show((None, *shape[1:]))}: correct input.size, input.layout or input.channel_order there."
            )
        return name, wanted[0] if isinstance(wanted[0], int) else None

    def _run_in_batches(self, name: str, inputs: NDArray[Any], fixed: int | None) -> list[list[NDArray[Any]]]:
        """Return the outputs of each batch; all batches have the same size until one does not fit into memory."""
        parts: list[list[NDArray[Any]]] = []
        together, first = fixed or self._batch, 0
        while first < len(inputs):
            some = inputs[first : first + together]
            try:
                outputs = self._call(name, _filled_up(some, together))
            except MemoryError:
                if fixed or together == 1:
                    raise
                half = together // 2
                self._events.append(f"out of memory with {together} frames at once: went on with {half}")
                _log.warning("model.engine=onnx ran %s", self._events[-1])
                together = half
                continue
            parts.append([output[: len(some)] for output in outputs])
            first += len(some)
        return parts

    def _call(self, name: str, inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return all outputs for a batch; raise MemoryError where memory is too small, ModelError for all else."""
        try:
            if self._device != "cuda":
                outputs = self._session.run(None, {name: inputs})
            else:
                outputs = self._call_cuda(name, inputs)
        except Exception as error:
            if _is_out_of_memory(error):
                fewer = "machine (cluster.num_workers)"
                if self._device == "cuda":
                    fewer = "GPU (cluster.workers_per_gpu), raise model.memory_fraction"
                raise MemoryError(
                    f"{self._path}: {len(inputs)} inputs of {_show(inputs.shape[1:])} do not fit into memory. Run "
                    f"fewer workers on a {fewer}, or take a smaller network."
                ) from None
            raise ModelError(
                f"{self._path} cannot compute an input of {_show(inputs.shape)}: {error}. Compare its manifest (input, "
                "decoder) with the file: `phoenix-ray models add` shows what the file says."
            ) from None
        arrays = [np.asarray(output) for output in outputs]
        for output, array in zip(self.outputs, arrays, strict=True):
            if array.ndim == 0 or len(array) != len(inputs):
                raise ModelError(
                    f"{self._path}: the output '{output}' is {_show(array.shape)} for {len(inputs)} inputs. Export the "
                    "network with a batch as the first dimension of each output."
                )
        return arrays

    def _call_cuda(self, name: str, inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs of a call whose input and outputs lie in buffers on the GPU, which calls share."""
        import onnxruntime

        binding = self._session.io_binding()
        buffer = self._buffers.get(inputs.shape)
        if buffer is None:
            # Batches come in few sizes; one that was halved is not seen again.
            self._buffers.clear()
            buffer = self._buffers[inputs.shape] = onnxruntime.OrtValue.ortvalue_from_numpy(inputs, "cuda", 0)
        else:
            buffer.update_inplace(inputs)
        binding.bind_ortvalue_input(name, buffer)
        for output in self.outputs:
            binding.bind_output(output, "cuda", 0)
        self._session.run_with_iobinding(binding)
        outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs


def _options(settings: ModelSettings, onnxruntime: ModuleType) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Threads that wait in a loop take the processor from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Its warnings are about the exporter; errors arrive as exceptions.
    options.log_severity_level = 3
    return options


def _filled_up(inputs: NDArray[Any], count: int) -> NDArray[Any]:
    """Return `count` inputs: those given, and the last of them again."""
    missing = count - len(inputs)
    padded = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)]) if missing > 0 else inputs
    return np.ascontiguousarray(padded)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _OUT_OF_MEMORY)


def _show(shape: Shape) -> str:
    return "(" + ", ".join("N" if size is None else str(size) for size in shape) + ")"
