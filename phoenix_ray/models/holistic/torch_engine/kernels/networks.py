"""Holistic's networks on a GPU, as few kernels each (`network_plan`), on all crops of a batch at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from phoenix_ray.models.holistic.networks import Networks, NetworkSpec
from phoenix_ray.models.holistic.tflite_surgery import read_living
from phoenix_ray.models.holistic.torch_engine.kernels import attention, convolutions, elementwise
from phoenix_ray.models.holistic.torch_engine.kernels import network_steps as steps
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, DenseLayer, DepthwiseLayer, Ending
from phoenix_ray.models.holistic.torch_engine.kernels.network_plan import NetworkPlan, plan_network
from phoenix_ray.models.holistic.torch_engine.kernels.network_steps import Activate, Finish, Scale, Step
from phoenix_ray.models.holistic.torch_engine.layers import neighbours
from phoenix_ray.models.weights import reading
from phoenix_ray.setting_types import Precision


class KernelNetworks(Networks):
    """Holistic's networks on one device.

    Args:
        weights: Folder of the `.tflite` files.
        face_points: 468 or 478, or 0 for the pose alone.
        device: Where the networks compute.
        precision: 'exact' has the bits of the CPU engine; 'tf32' rounds the factors of products; 'fp16' keeps weights
            and feature maps in half precision, but for the last layers before the outputs.
        complexity: The pose network's: 0, 1 or 2.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(
        self, weights: Path, face_points: int, device: torch.device, precision: Precision, complexity: int = 1
    ) -> None:
        def load(spec: NetworkSpec) -> KernelNetwork:
            with reading(weights / spec.file) as path:
                return KernelNetwork(plan_network(read_living(path.read_bytes(), spec.outputs)), device, precision)

        super().__init__(face_points, load, complexity)


class KernelNetwork:
    """A network from images to tensors.

    Args:
        plan: How it runs.
        device: Where it runs.
        precision: See `KernelNetworks`.

    Attributes:
        dtype: Type of the images that it takes, float32 or, in half precision, float16.
    """

    def __init__(self, plan: NetworkPlan, device: torch.device, precision: Precision) -> None:
        self._plan, self._precision = plan, precision
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        full = {plan.places[tensor].buffer for tensor in plan.in_full}
        self._types = {buffer: torch.float32 if buffer in full else self.dtype for buffer in plan.buffers}
        self._steps = [_on_device(step, device, self.dtype, self._type(step.output)) for step in plan.steps]
        self._grids = {
            step.output: _grid_tables(plan.shapes[step.source], plan.shapes[step.output], step.align_corners, device)
            for step in plan.steps
            if isinstance(step, steps.Resizing)
        }

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return each output, float32 (M, ...) as in the file, for images (M, 3, height, width)."""
        memory = _Memory(self._plan, images, self._types)
        for step, dying in zip(self._steps, self._plan.dying, strict=True):
            self._run(step, memory)
            memory.free(dying)
        return [memory.tensor(output) for output in self._plan.outputs]

    def _type(self, tensor: str) -> torch.dtype:
        return self._types[self._plan.places[tensor].buffer]

    def _run(self, step: Step, memory: _Memory) -> None:
        match step:
            case steps.Dense():
                ending = _ending(step.finish, memory)
                out = memory.new_map(step.output)
                convolutions.convolve(memory.map(step.source), step.layer, ending, out, self._precision)
            case steps.Depthwise():
                ending = _ending(step.finish, memory)
                convolutions.convolve_depthwise(
                    memory.map(step.source), step.layer, ending, memory.new_map(step.output)
                )
            case steps.Separable():
                between = Ending() if step.between is None else Ending(step.between.kind, step.between.slope)
                convolutions.convolve_separable(
                    memory.map(step.source),
                    step.depthwise,
                    between,
                    step.layer,
                    _ending(step.finish, memory),
                    memory.new_map(step.output),
                    self._precision,
                )
            case steps.Elementwise():
                scale = None if step.finish.scale is None else (step.finish.scale.factor, step.finish.scale.shift)
                elementwise.finish_values(
                    memory.channels(step.source), scale, _ending(step.finish, memory), memory.new_channels(step.output)
                )
            case steps.Resizing():
                added = None if step.added is None else memory.map(step.added)
                rows, columns = self._grids[step.output]
                elementwise.resize(memory.map(step.source), rows, columns, added, memory.new_map(step.output))
            case steps.MaxPool():
                elementwise.pool(memory.map(step.source), step.taps, memory.new_map(step.output))
            case steps.DepthToSpace():
                elementwise.spread_depth(memory.map(step.source), step.block, memory.new_map(step.output))
            case steps.CellMean():
                elementwise.mean_of_planes(memory.map(step.source), memory.new_map(step.output))
            case steps.RegionTransform():
                memory.put(step.output, attention.landmarks_to_transform(memory.tensor(step.source), step.region))
            case steps.Sample():
                size = self._plan.shapes[step.output][1:3]
                samples = attention.sample_bilinear(memory.map(step.source), memory.tensor(step.transform), *size)
                memory.put(step.output, samples)
            case steps.MoveLandmarks():
                moved = attention.transform_landmarks(memory.tensor(step.source), memory.tensor(step.transform))
                memory.put(step.output, moved)
            case _:
                raise TypeError(f"{type(step).__name__} has no kernel")


class _Memory:
    """The buffers of a network while it runs, each (M, values)."""

    def __init__(self, plan: NetworkPlan, images: torch.Tensor, types: dict[str, torch.dtype]) -> None:
        self._plan, self._types = plan, types
        self._count, self._device = len(images), images.device
        self._buffers = {plan.input: images.flatten(1)}

    def map(self, name: str) -> torch.Tensor:
        """Return a tensor as a feature map (M, channels, height, width), wherever it lies."""
        return self._as_map(name, self._values(name))

    def channels(self, name: str) -> torch.Tensor:
        """Return a tensor as (M, channels, cells): of maps their planes, of others each value."""
        return self.map(name).flatten(2) if len(self._plan.shapes[name]) == 4 else self._values(name)[:, :, None]

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor in the file's shape (M, ...)."""
        return self._values(name).unflatten(1, self._plan.shapes[name][1:])

    def new_map(self, name: str) -> torch.Tensor:
        """Return a tensor that is to be written, as a feature map."""
        self._make(name)
        return self.map(name)

    def new_channels(self, name: str) -> torch.Tensor:
        """Return a tensor that is to be written, as (M, channels, cells)."""
        self._make(name)
        return self.channels(name)

    def put(self, name: str, values: torch.Tensor) -> None:
        """Take a tensor that was made elsewhere, in the layout of `name`."""
        self._buffers[self._plan.places[name].buffer] = values.flatten(1)

    def free(self, buffers: Sequence[str]) -> None:
        """Give buffers back to torch, which makes others of their memory."""
        for buffer in buffers:
            del self._buffers[buffer]

    def _make(self, name: str) -> None:
        buffer = self._plan.places[name].buffer
        if buffer not in self._buffers:
            size = (self._count, self._plan.buffers[buffer])
            self._buffers[buffer] = torch.empty(size, dtype=self._types[buffer], device=self._device)

    def _values(self, name: str) -> torch.Tensor:
        buffer, start = self._plan.places[name]
        return self._buffers[buffer][:, start : start + math.prod(self._plan.shapes[name][1:])]

    def _as_map(self, name: str, values: torch.Tensor) -> torch.Tensor:
        shape = self._plan.shapes[name]
        if len(shape) != 4:
            return values[:, :, None, None]
        _, height, width, channels = shape
        if name in self._plan.in_file_order:
            return values.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
        return values.unflatten(1, (channels, height, width))


def _ending(finish: Finish, memory: _Memory) -> Ending:
    """Return the ending of a kernel, without the scaling."""
    total = finish.sum
    if total is None:
        return Ending(*_activation(finish.activation), None, False, *_activation(finish.last))
    residual = memory.map(total.tensor)[:, : total.channels]
    return Ending(*_activation(finish.activation), residual, total.pooled, *_activation(finish.last))


def _activation(activation: Activate | None) -> tuple[Activation, torch.Tensor | None]:
    return ("none", None) if activation is None else (activation.kind, activation.slope)


def _on_device(step: Step, device: torch.device, dtype: torch.dtype, output_dtype: torch.dtype) -> Step:
    """Return a step with its tensors on a device, and with weights of the type that its sums are written in."""
    if isinstance(step, steps.Finishing):
        step = replace(step, finish=_finish_on_device(step.finish, device))
    match step:
        case steps.Dense():
            return replace(step, layer=_dense_on_device(step.layer, device, output_dtype))
        case steps.Depthwise():
            return replace(step, layer=_depthwise_on_device(step.layer, device, output_dtype))
        case steps.Separable():
            return replace(
                step,
                depthwise=_depthwise_on_device(step.depthwise, device, dtype),
                between=_activate_on_device(step.between, device),
                layer=_dense_on_device(step.layer, device, output_dtype),
            )
    return step


def _dense_on_device(layer: DenseLayer, device: torch.device, dtype: torch.dtype) -> DenseLayer:
    weight, bias = layer.weight.to(device, dtype), layer.bias.to(device)
    return convolutions.with_pitch(replace(layer, weight=weight, bias=bias))


def _depthwise_on_device(layer: DepthwiseLayer, device: torch.device, dtype: torch.dtype) -> DepthwiseLayer:
    return replace(layer, weight=layer.weight.to(device, dtype), bias=layer.bias.to(device))


def _finish_on_device(finish: Finish, device: torch.device) -> Finish:
    scale = finish.scale
    if scale is not None:
        scale = Scale(scale.factor.to(device), None if scale.shift is None else scale.shift.to(device))
    return Finish(
        _activate_on_device(finish.activation, device), scale, finish.sum, _activate_on_device(finish.last, device)
    )


def _activate_on_device(activation: Activate | None, device: torch.device) -> Activate | None:
    if activation is None or activation.slope is None:
        return activation
    return replace(activation, slope=activation.slope.to(device))


def _grid_tables(
    source: Sequence[int], target: Sequence[int], align_corners: bool, device: torch.device
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Return what `elementwise.resize` takes for rows and columns, from shapes (1, height, width, channels)."""

    def tables(axis: int) -> tuple[torch.Tensor, ...]:
        first, second, share = neighbours(source[axis], target[axis], align_corners)
        return tuple(torch.from_numpy(values).to(device) for values in (first.astype("i4"), second.astype("i4"), share))

    return tables(1), tables(2)
