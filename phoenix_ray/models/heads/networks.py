"""The networks of heads, in ONNX files or in `.tflite` files: from inputs to named outputs, one crop at a time.

They compute on the CPU, whatever the model computes on: there a crop's numbers depend on the crop alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.heads.outputs import Floats, Outputs
from phoenix_ray.models.onnx.manifest import HeadDecoder, HeadManifest

TFLITE_SUFFIX = ".tflite"


class HeadNetwork(Protocol):
    """A loaded network."""

    def run(self, inputs: NDArray[np.float32]) -> Outputs:
        """Return the outputs for N inputs, at least one: name → float32 (N, ...)."""


def load_head_network(manifest: HeadManifest, path: Path, settings: ModelSettings) -> HeadNetwork:
    """Return the network of a manifest.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file holds no network, or not the manifest's.
    """
    if path.suffix == TFLITE_SUFFIX:
        return TfliteHead(path, outputs_named(manifest.decoder), settings.threads)
    return OnnxHead(path, manifest.input.name, settings)


def outputs_named(decoder: HeadDecoder) -> list[str]:
    """Return the outputs that a decoder names, each once, without the empty name."""
    wanted = [*([decoder.logits] if decoder.logits else []), *decoder.values.values()]
    return list(dict.fromkeys(name for name in (*(which.output for which in wanted), decoder.heatmap) if name))


class OnnxHead:
    """A network in onnxruntime."""

    def __init__(self, path: Path, input_name: str, settings: ModelSettings) -> None:
        from phoenix_ray.models.onnx.session import OnnxSession

        on_cpu = settings.model_copy(update={"device": "cpu", "precision": "exact"})
        self._session = OnnxSession(path, on_cpu)
        self._input = input_name

    def run(self, inputs: NDArray[np.float32]) -> Outputs:
        """Return the outputs for N inputs, at least one: name → float32 (N, ...)."""
        return self._session.run(inputs, self._input)


class TfliteHead:
    """A network in LiteRT, of which only what computes the wanted tensors is kept.

    Args:
        path: Its file.
        tensors: Names of tensors to return, which need not be outputs: XNNPACK computes a softmax at the end
            differently on each kind of processor. Empty: the file's outputs.
        threads: Threads that compute it.

    Raises:
        ModelError: The file holds no network, or no such tensor.
    """

    def __init__(self, path: Path, tensors: Sequence[str], threads: int) -> None:
        from phoenix_ray.models.holistic import tflite_surgery
        from phoenix_ray.models.holistic.litert_engine.networks import TensorNetwork

        try:
            model = tflite_surgery.load_model(path.read_bytes())
            graph = model.subgraphs[0]
            self._names = list(tensors) or [graph.tensors[index].name.decode() for index in graph.outputs]
            tflite_surgery.cut_out(model, self._names)
            self._network = TensorNetwork(tflite_surgery.pack_model(model), threads)
        except Exception as error:
            # The reader of the format raises whatever a damaged offset leads to.
            raise ModelError(f"{path} cannot be loaded: {error!r}") from None

    def run(self, inputs: NDArray[np.float32]) -> Outputs:
        """Return the outputs for N inputs, at least one: name → float32 (N, ...)."""
        rows = [self._run(values) for values in inputs]
        return {name: np.stack(arrays) for name, arrays in zip(self._names, zip(*rows, strict=True), strict=True)}

    def _run(self, values: Floats) -> list[Floats]:
        np.copyto(self._network.input(0)[0], values)
        return [output[0].copy() for output in self._network.run()]
