"""A network in onnxruntime: the options that keep its numbers the same, and calls in batches of one shape."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.model_settings import ModelSettings


class OnnxSession:
    """A loaded network.

    Args:
        path: Its file.
        settings: Device, threads, precision.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file is not an ONNX network.
    """

    def __init__(self, path: Path, settings: ModelSettings) -> None:
        require_onnxruntime()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path} cannot be loaded: {error}") from None

    @property
    def inputs(self) -> dict[str, tuple[int | str | None, ...]]:
        """Name → shape of each input; a dimension of any size is a name or None."""
        return {value.name: tuple(value.shape) for value in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, tuple[int | str | None, ...]]:
        """Name → shape of each output."""
        return {value.name: tuple(value.shape) for value in self._session.get_outputs()}

    def run(self, inputs: NDArray[np.float32], name: str = "") -> Mapping[str, NDArray[np.float32]]:
        """Return the outputs for N inputs, name → float32 (N, ...).

        On the CPU the network sees one input at a time: more at once are no faster there, and a matrix of another
        height may be added up in another order.
        """
        name = name or next(iter(self.inputs))
        names = list(self.outputs)
        rows = [self._session.run(names, {name: row[np.newaxis]}) for row in inputs]
        return {output: np.concatenate(arrays) for output, arrays in zip(names, zip(*rows, strict=True), strict=True)}


def require_onnxruntime() -> None:
    """Raise MissingExtraError where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("model.engine=onnx", "onnx")
