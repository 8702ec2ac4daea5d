"""An onnxruntime with a GPU by name only: what the session asks of it can be seen, and that it runs out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakeGpu:
    """Stands in for the module and for its sessions; their output `y` is twice the input `x` (N, 96).

    Attributes:
        most: Inputs that fit into its memory.
        used: Providers that its sessions report.
        providers: Providers and options that it was given.
        calls: Size of each batch that it was given.
        copies: Number of buffers made on the GPU.
        error: What it says when a batch does not fit.
    """

    def __init__(self, provider: str = "CUDAExecutionProvider") -> None:
        self.provider = provider
        self.most = 1000
        self.used = [provider, "CPUExecutionProvider"]
        self.providers: list[tuple[str, Mapping[str, str]]] = []
        self.calls: list[int] = []
        self.copies = 0
        self.options: Any = None
        self.error = "Failed to allocate memory for requested buffer of size 268435456"
        self.OrtValue = SimpleNamespace(ortvalue_from_numpy=self._to_gpu)
        self.SessionOptions = lambda: SimpleNamespace(add_session_config_entry=lambda name, value: None)
        self.ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL="sequential")
        self.__version__ = "1.31.1"
        self.__spec__ = object()
        self.preloaded = 0

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def get_available_providers(self) -> list[str]:
        return [self.provider, "CPUExecutionProvider"]

    def InferenceSession(self, network: str, options: Any, providers: Any) -> FakeGpu:  # noqa: N802 - its name
        self.providers, self.options = providers, options
        return self

    def get_providers(self) -> list[str]:
        return self.used

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", shape=["N", 96], type="tensor(float)")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y", shape=["N", 96])]

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def _to_gpu(self, inputs: Any, device: str, number: int) -> FakeBuffer:
        self.copies += 1
        return FakeBuffer(inputs)

    def run(self, names: None, inputs: Mapping[str, Any]) -> list[Any]:
        return [self._compute(inputs["x"])]

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        assert binding.bound == ["y on cuda"]
        binding.result = self._compute(binding.buffer.content)

    def _compute(self, inputs: Any) -> Any:
        self.calls.append(len(inputs))
        if len(inputs) > self.most:
            raise RuntimeError(self.error)
        return inputs * 2


class FakeBuffer:
    def __init__(self, content: Any) -> None:
        self.content = content.copy()

    def update_inplace(self, content: Any) -> None:
        self.content[:] = content


class FakeBinding:
    def __init__(self) -> None:
        self.bound: list[str] = []
        self.buffer = FakeBuffer(np.zeros(1))
        self.result: Any = None

    def bind_ortvalue_input(self, name: str, buffer: FakeBuffer) -> None:
        assert name == "x"
        self.buffer = buffer

    def bind_output(self, name: str, device: str, number: int) -> None:
        self.bound.append(f"{name} on {device}")

    def copy_outputs_to_cpu(self) -> list[Any]:
        return [self.result]
