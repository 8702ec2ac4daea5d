"""One `.tflite` network in LiteRT: loaded from a folder of weights, run on one item at a time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from phoenix_ray.models.holistic.networks import NetworkInput, input_values

FloatArray = NDArray[np.float32]
Crops = NDArray[np.uint8]


class TensorNetwork:
    """A network from tensors to tensors.

    Args:
        model: Content of a `.tflite` file.
        threads: Threads that compute it.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._interpreter = Interpreter(model_content=model, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._inputs = [self._interpreter.tensor(detail["index"]) for detail in self._interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def input(self, position: int) -> FloatArray:
        """Return the memory of an input, to be filled. LiteRT refuses to run while anyone holds on to it."""
        memory: FloatArray = self._inputs[position]()
        return memory

    def run(self) -> list[FloatArray]:
        """Return the outputs for what the inputs were filled with, each with a first axis of one item."""
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class ImageNetwork:
    """A network from crops to tensors.

    Args:
        model: Content of a `.tflite` file.
        expects: What the network wants to see.
        threads: Threads that compute it.
    """

    def __init__(self, model: bytes, expects: NetworkInput, threads: int) -> None:
        self._network = TensorNetwork(model, threads)
        self._values = input_values(expects.lowest)

    def __call__(self, crops: Crops) -> list[FloatArray]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...)."""
        return stack_items([self._run(crop) for crop in crops])

    def _run(self, crop: Crops) -> list[FloatArray]:
        cv2.LUT(crop, self._values, dst=self._network.input(0)[0])
        return self._network.run()


def stack_items(items: Sequence[list[FloatArray]]) -> list[FloatArray]:
    """Return each of several outputs for all items, from the outputs of one item after the other."""
    return items[0] if len(items) == 1 else [np.concatenate(outputs) for outputs in zip(*items, strict=True)]
