"""The second step of `benchmarks.gpu`: whether the sums of the networks' layers keep the CPU engine's order.

Landmarks have the CPU engine's bits only if each sum adds product after product in fused multiply-adds. Libraries
choose a kernel for each shape, and some of their kernels split sums. So every shape of the networks is computed with
random numbers, by torch's libraries and by the kernels of this package, and compared with the sum taken one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

from benchmarks.gpu_measure import OWN_KERNELS, stages
from benchmarks.gpu_report import OUT_OF_ORDER, QUOTIENTS, SUMS
from benchmarks.gpu_results import Chapter
from benchmarks.gpu_task import GpuTask, Record
from benchmarks.table import Table
from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.networks import POSE_LANDMARK, POSE_LANDMARKS
from phoenix_ray.models.holistic.torch_engine.device import numerics
from phoenix_ray.models.holistic.torch_engine.graph import build_module
from phoenix_ray.models.holistic.torch_engine.kernels.layers import DenseLayer, DepthwiseLayer, Ending, Taps
from phoenix_ray.models.holistic.torch_engine.layers import Convolution, in_order, product_in_order

# Crops, channels and cells of each layer of which the sums are compared, at most.
CROPS, CHANNELS, CELLS = 3, 64, 24
MOST_ROWS = 40
DIVISORS = (3, 192, 224)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A layer of the networks; pairs are along height, then width.

    Attributes:
        is_depthwise: Whether each channel is convolved on its own.
        crops: Crops of a frame.
        channels: Channels of its input.
        cells: Size of its input.
        outputs: Channels of its output.
        output_cells: Size of its output.
        window: Size of its kernel.
        stride: Cells from one window to the next.
        padding: Zeros before the first cell.
        dilation: Cells from one tap of a window to the next.
    """

    is_depthwise: bool
    crops: int
    channels: int
    cells: tuple[int, int]
    outputs: int
    output_cells: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def terms(self) -> int:
        """Products of a sum, without the bias."""
        return self.window[0] * self.window[1] * (1 if self.is_depthwise else self.channels)

    def __str__(self) -> str:
        kind = "depthwise" if self.is_depthwise else "dense"
        window, cells = (f"{pair[0]}x{pair[1]}" for pair in (self.window, self.output_cells))
        return f"{kind} {window}, {self.channels} to {self.outputs} channels, {cells} cells"


@dataclass(frozen=True, slots=True)
class Order:
    """How many of the sums of a shape that were compared were in order."""

    how: str
    batch_size: int
    shape: LayerShape
    share: float


def run(task: GpuTask, record: Record) -> None:
    """Compare the sums of all shapes, batch size after batch size, and quotients."""
    shapes = layer_shapes(task)
    record.put(_quotients(task.device))
    found: list[Order] = []
    subjects: list[tuple[str, Any]] = [("torch's products", partial(library_sums, device=task.device))]
    if objection := _objection_to_own(task.device):
        record.leave_out(f"order of sums in the kernels of this package: {objection}")
    else:
        subjects.append(("kernels of this package", partial(kernel_sums, device=task.device)))
    for batch_size in task.batch_sizes:
        for how, sums in subjects:
            for shape in shapes:
                compare = partial(_compare, how, sums, shape, batch_size)
                order = record.attempt(f"order of sums, {how}, batch size {batch_size}: {shape}", compare)
                if order is not None:
                    found.append(order)
            record.results.put(_out_of_order(found))
            data = [{"how": order.how, "batch_size": order.batch_size, "shape": str(order.shape), "share": order.share}
                    for order in found]  # fmt: skip
            record.put(_orders(found), sums=data)


def _objection_to_own(device: torch.device) -> str:
    if device.type != "cuda":
        return f"they are for CUDA devices, not for {device.type}"
    try:
        import_module(f"{OWN_KERNELS}.convolutions")
    except ImportError as error:
        return str(error)
    return ""


def layer_shapes(task: GpuTask) -> list[LayerShape]:
    """Return the different shapes of all layers of the networks that the cases run."""
    wanted = {weight.file_name for case in task.cases for weight in case.weights()}
    loads = {
        stage.expects.file: (stage.expects, stage.crops_per_frame) for points in (468, 478) for stage in stages(points)
    } | {spec.file: (replace(POSE_LANDMARK, file=spec.file), 1) for spec in POSE_LANDMARKS.values()}
    found: dict[LayerShape, None] = {}
    for name in sorted(wanted):
        spec, crops = loads[name]
        found |= dict.fromkeys(_shapes_of(task.weights / name, spec.outputs, spec.size, crops))
    return list(found)


def _shapes_of(file: Path, outputs: tuple[str, ...], side: int, crops: int) -> Iterator[LayerShape]:
    asked: dict[nn.Module, Convolution] = {}

    def make_layer(convolution: Convolution) -> nn.Module:
        layer = in_order(convolution)
        asked[layer] = convolution
        return layer

    module = build_module(tflite.read(file.read_bytes(), outputs), make_layer).to("meta")
    with torch.inference_mode():
        ShapeProp(module).propagate(torch.empty(1, 3, side, side, device="meta"))
    layers = dict(module.named_modules())
    for node in module.graph.nodes:
        convolution = asked.get(layers.get(node.target)) if node.op == "call_module" else None
        if convolution is None:
            continue
        # Feature maps there have their width before their height.
        _, channels, width, height = node.args[0].meta["tensor_meta"].shape
        _, made, output_width, output_height = node.meta["tensor_meta"].shape
        _, _, columns, rows = convolution.weight.shape
        if convolution.groups > 1 and (columns, rows) == convolution.stride == (1, 1):
            # A product and a sum, each rounded.
            continue
        yield LayerShape(
            convolution.groups > 1,
            crops,
            channels,
            (height, width),
            made,
            (output_height, output_width),
            (rows, columns),
            convolution.stride[::-1],
            convolution.padding[::-1],
            convolution.dilation[::-1],
        )


def library_sums(shape: LayerShape, batch_size: int, device: torch.device) -> tuple[NDArray[np.float32], ...]:
    """Return sums of torch's products, and the same sums taken one by one; empty for a depthwise layer."""
    if shape.is_depthwise:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    crops, cells = shape.crops * batch_size, shape.output_cells[0] * shape.output_cells[1]
    generator = torch.Generator(device).manual_seed(0)
    factors = torch.randn((shape.outputs, 1 + shape.terms), device=device, generator=generator)
    values = torch.randn((crops, 1 + shape.terms, cells), device=device, generator=generator)
    picked = _spread(crops, CROPS, device), _spread(shape.outputs, CHANNELS, device), _spread(cells, CELLS, device)
    found = product_in_order(factors, values)[picked[0]][:, picked[1]][:, :, picked[2]].cpu().numpy()
    some = values[picked[0]][:, :, picked[2]].cpu().numpy()
    weights = factors[picked[1]].cpu().numpy()
    total = np.zeros_like(found)
    for term in range(1 + shape.terms):
        total = fused_multiply_add(weights[None, :, term, None], some[:, None, term, :], total)
    return found, total


def kernel_sums(shape: LayerShape, batch_size: int, device: torch.device) -> tuple[NDArray[np.float32], ...]:
    """Return sums of the kernels of this package, and the same sums taken one by one, starting from the bias.

    Raises:
        ImportError: This version has no such kernels.
    """
    convolutions = import_module(f"{OWN_KERNELS}.convolutions")
    generator = torch.Generator(device).manual_seed(0)
    crops, taps = shape.crops * batch_size, Taps(shape.window, shape.stride, shape.padding, shape.dilation)
    features = torch.randn((crops, shape.channels, *shape.cells), device=device, generator=generator)
    bias = torch.randn(shape.outputs, device=device, generator=generator)
    out = torch.empty((crops, shape.outputs, *shape.output_cells), device=device)
    # A term's weights for each output: row by row and channel by channel, or in a depthwise layer column by column.
    weight = torch.randn((shape.terms, shape.outputs), device=device, generator=generator)
    if shape.is_depthwise:
        convolutions.convolve_depthwise(features, DepthwiseLayer(weight.T.contiguous(), bias, taps), Ending(), out)
    else:
        convolutions.convolve(features, DenseLayer(weight, bias, taps), Ending(), out)
    items, outputs = _spread(crops, CROPS, device), _spread(shape.outputs, CHANNELS, device)
    cells = _spread(shape.output_cells[0] * shape.output_cells[1], CELLS, device)
    found = out[items][:, outputs].flatten(2)[:, :, cells].cpu().numpy()
    some, picked = features[items].cpu().numpy(), outputs.cpu().numpy()
    weights, place = weight.cpu().numpy()[:, picked], np.divmod(cells.cpu().numpy(), shape.output_cells[1])
    total = np.broadcast_to(bias.cpu().numpy()[picked][None, :, None], found.shape)
    for term, (row, column, channel) in enumerate(_terms(shape)):
        channels = picked if shape.is_depthwise else np.array([channel])
        values = _taps(some[:, channels], shape, place, row, column)
        total = fused_multiply_add(weights[term][None, :, None], values, total)
    return found, np.asarray(total, np.float32)


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float32]:
    """Return a * b + c of float32, rounded once.

    In float64 the product is exact. The sum is rounded to odd there: two more bits than float32 has then suffice for a
    second rounding to be right.
    """
    a, b, c = (np.asarray(values, np.float32).astype(np.float64) for values in (a, b, c))
    product = a * b
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64).astype(np.float32)


def _terms(shape: LayerShape) -> Iterator[tuple[int, int, int]]:
    """Yield row, column and channel of each product in XNNPACK's order."""
    rows, columns = shape.window
    if shape.is_depthwise:
        yield from ((row, column, 0) for column in range(columns) for row in range(rows))
    else:
        yield from ((row, column, channel) for row in range(rows) for column in range(columns)
                    for channel in range(shape.channels))  # fmt: skip


def _taps(
    features: NDArray[np.float32], shape: LayerShape, place: tuple[NDArray[Any], ...], row: int, column: int
) -> NDArray[np.float32]:
    """Return what a tap of the window sees of features (N, channels, height, width) in some cells of the output."""
    taps = [
        cells * stride - padding + dilation * tap
        for cells, stride, padding, dilation, tap in zip(
            place, shape.stride, shape.padding, shape.dilation, (row, column), strict=True
        )
    ]
    inside = [(tap >= 0) & (tap < length) for tap, length in zip(taps, shape.cells, strict=True)]
    rows, columns = (np.clip(tap, 0, length - 1) for tap, length in zip(taps, shape.cells, strict=True))
    seen: NDArray[np.float32] = np.where(inside[0] & inside[1], features[:, :, rows, columns], np.float32(0))
    return seen


def _spread(count: int, most: int, device: torch.device) -> torch.Tensor:
    """Return at most `most` indices below `count`, evenly spread, the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, most)).long().unique().to(device)


def _compare(how: str, sums: Any, shape: LayerShape, batch_size: int) -> Order | None:
    with torch.inference_mode(), numerics("exact"):
        found, expected = sums(shape, batch_size)
    return Order(how, batch_size, shape, float((found == expected).mean())) if len(expected) else None


def _orders(found: list[Order]) -> Chapter:
    rows = []
    for how, batch_size in dict.fromkeys((order.how, order.batch_size) for order in found):
        shares = [order.share for order in found if (order.how, order.batch_size) == (how, batch_size)]
        in_order_count = sum(share == 1 for share in shares)
        rows.append((how, str(batch_size), str(len(shares)), str(in_order_count), f"{min(shares):.1%}"))
    return Chapter(
        SUMS,
        "Shapes of layers whose sums have the bits of products added one by one, in random numbers; depthwise layers "
        "are compared with the kernels of this package alone. The last column is for the worst shape.",
        Table(("by", "batch", "shapes", "in order", "least share of sums"), rows),
    )


def _out_of_order(found: list[Order]) -> Chapter:
    wrong = [order for order in found if order.share < 1]
    rows = [
        (order.how, str(order.batch_size), str(order.shape), f"{order.share:.1%}")
        for order in sorted(wrong, key=lambda order: order.share)[:MOST_ROWS]
    ]
    words = f"{len(wrong)} of {len(found)}; the worst {MOST_ROWS}."
    return Chapter(OUT_OF_ORDER, words, Table(("by", "batch", "shape", "share of sums in order"), rows))


def _quotients(device: torch.device) -> Chapter:
    value = 200 * torch.rand(100_000, device=device, generator=torch.Generator(device).manual_seed(0))
    rows = []
    for divisor in DIVISORS:
        truth = value.cpu().numpy() / np.float32(divisor)
        on_device = torch.tensor(float(divisor), device=device)
        shares = ((quotient.cpu().numpy() == truth).mean() for quotient in (value / divisor, value / on_device))
        rows.append((str(divisor), *(f"{share:.1%}" for share in shares)))
    words = (
        "Share of float32 quotients that are rounded as on a CPU. The engine divides by numbers on the device alone."
    )
    return Chapter(QUOTIENTS, words, Table(("divided by", "a number of Python", "a number on the device"), rows))
