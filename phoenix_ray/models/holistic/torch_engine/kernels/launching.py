"""The one place that starts kernels, counts them, and can record them in place of running them.

Every kernel is compiled without contraction (`enable_fp_fusion=False`): a product and a sum become one rounding only
where a kernel asks for it with `tl.dot` or `tl.fma`. Launches on fake tensors (torch's `FakeTensorMode`) compute
nothing, so that a machine without a GPU can count what a batch launches, and compile exactly that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

# Triton's names of types in a signature.
_TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.bool: "i1",
}
_INT32_END = 2**31
# Triton specialises on arguments that are multiples of it.
_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch of a kernel.

    Attributes:
        kernel: The function, as `triton.jit` returns it.
        grid: Programs along each axis.
        types: Parameter → its type in Triton's notation, `*fp32` for a pointer, in the order of the arguments.
        constants: Compile-time parameter → value.
        warps: Warps of a program.
        stages: Depth of the software pipeline of its loops.
        bytes_moved: Bytes that it reads from and writes to the device's memory, each tensor counted once.
        multiples: Parameters that are multiples of 16 (of tensors, the address), of which Triton makes a variant.
        ones: Parameters that are the integer 1, likewise.
    """

    kernel: Any
    grid: tuple[int, ...]
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    warps: int
    stages: int
    bytes_moved: int
    multiples: frozenset[str]
    ones: frozenset[str]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return str(self.kernel.__name__)


_recordings: list[list[Launch]] = []


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: Mapping[str, torch.Tensor | int | float],
    constants: Mapping[str, Any],
    *,
    warps: int = 4,
    stages: int = 1,
    bytes_moved: int | None = None,
) -> None:
    """Run a kernel; on fake tensors, do nothing.

    Args:
        kernel: A function of `triton.jit`.
        grid: Programs along each axis.
        arguments: Its parameters that are known at run time, tensors before numbers.
        constants: Its parameters of type `tl.constexpr`.
        warps: Warps of a program.
        stages: Depth of the software pipeline of its loops.
        bytes_moved: What it reads and writes, for the record; by default all bytes of its tensors.
    """
    tensors = [value for value in arguments.values() if isinstance(value, torch.Tensor)]
    if _recordings:
        moved = sum(tensor.nbytes for tensor in tensors) if bytes_moved is None else bytes_moved
        types = {name: _type_of(value) for name, value in arguments.items()}
        multiples = frozenset(name for name, value in arguments.items() if _is_multiple(value))
        ones = frozenset(name for name, value in arguments.items() if isinstance(value, int) and value == 1)
        _recordings[-1].append(Launch(kernel, grid, types, dict(constants), warps, stages, moved, multiples, ones))
    if not any(isinstance(tensor, FakeTensor) for tensor in tensors):
        kernel[grid](**arguments, **constants, num_warps=warps, num_stages=stages, enable_fp_fusion=False)


def strides(name: str, tensor: torch.Tensor, *axes: str) -> dict[str, int]:
    """Return the strides of a tensor as arguments of a kernel, called `{name}_{axis}`."""
    return {f"{name}_{axis}": stride for axis, stride in zip(axes, tensor.stride(), strict=True)}


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Note all launches of this process until the block ends."""
    launches: list[Launch] = []
    _recordings.append(launches)
    try:
        yield launches
    finally:
        _recordings.pop()


def _type_of(value: torch.Tensor | float) -> str:
    if isinstance(value, torch.Tensor):
        return f"*{_TYPES[value.dtype]}"
    if isinstance(value, float):
        return "fp32"
    return "i32" if -_INT32_END <= value < _INT32_END else "i64"


def _is_multiple(value: torch.Tensor | float) -> bool:
    if isinstance(value, FakeTensor):
        # Allocators hand out addresses that are multiples of more.
        return bool(value.storage_offset() * value.itemsize % _MULTIPLE == 0)
    if isinstance(value, torch.Tensor):
        return bool(value.data_ptr() % _MULTIPLE == 0)
    return isinstance(value, int) and value % _MULTIPLE == 0
