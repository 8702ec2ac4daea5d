"""Plans a TFLite network for a GPU: few steps, where each tensor lies in memory, and when it is no longer needed.

Feature maps lie in planes, (N, channels, height, width). Outputs, and what is reshaped or joined, lie as in the file,
(N, height, width, channels). Tensors that are the same memory share a *buffer*: a reshaped tensor and its source, the
parts of a concatenation, which are written straight into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from phoenix_ray.models.holistic.tflite import Network
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Taps
from phoenix_ray.models.holistic.torch_engine.kernels.network_fusion import Draft, fuse
from phoenix_ray.models.holistic.torch_engine.kernels.network_steps import (
    Activate,
    AddMap,
    Dense,
    Depthwise,
    Finishing,
    FirstChannels,
    Join,
    MaxPool,
    Pad,
    Reshape,
    Resizing,
    Separable,
    Step,
)
from phoenix_ray.models.holistic.torch_engine.kernels.network_translation import translate


class TensorPlace(NamedTuple):
    """Where a tensor lies: its values are those of an item's part of a buffer from `start` on."""

    buffer: str
    start: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPlan:
    """How a network runs.

    Attributes:
        input: Name of the input, a feature map in planes.
        outputs: Names of the outputs.
        shapes: Shape of each tensor, (1, height, width, channels) for maps.
        steps: The kernels in order.
        places: Where each tensor lies.
        buffers: Buffer → values of an item.
        in_file_order: Tensors with four axes that lie as in the file; all others with four axes lie in planes.
        in_full: Tensors that stay float32 in half precision: what the last convolutions before the outputs compute, and
            what is computed of it.
        dying: For each step the buffers that nothing reads after it.
    """

    input: str
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    steps: tuple[Step, ...]
    places: Mapping[str, TensorPlace]
    buffers: Mapping[str, int]
    in_file_order: frozenset[str]
    in_full: frozenset[str]
    dying: tuple[tuple[str, ...], ...]

    def lines(self) -> list[str]:
        """Return a line for each step: its number, what it does to which steps, and the shape of its output."""
        makers = {self.places[self.input]: "input"}
        lines = []
        for number, step in enumerate(self.steps):
            sources = ", ".join(makers[self.places[source]] for source in step.sources)
            lines.append(f"{number} {_kind(step)} ({sources}) {self.shapes[step.output][1:]}")
            makers[self.places[step.output]] = str(number)
        return lines


def plan_network(network: Network) -> NetworkPlan:
    """Return how a network runs on a GPU.

    Raises:
        ValueError: An operator, or an option of an operator, is not supported here; the message names it.
    """
    draft = Draft(translate(network), network.outputs, network.shapes)
    fuse(draft)
    for step in draft.steps:
        if isinstance(step, Pad | FirstChannels):
            raise ValueError(f"its operator that computes {step.output} has a reader that cannot do its work")
    places = _places(draft.steps)
    steps = tuple(step for step in draft.steps if not isinstance(step, Reshape | Join))
    shared = {
        tensor for step in draft.steps if isinstance(step, Reshape | Join) for tensor in (step.output, *step.sources)
    }
    in_file_order = frozenset(tensor for tensor in {*shared, *network.outputs} if len(network.shapes[tensor]) == 4)
    _check_layouts(network, steps, in_file_order)
    buffers = dict.fromkeys((place.buffer for place in places.values()), 0)
    for tensor, place in places.items():
        size = place.start + math.prod(network.shapes[tensor][1:])
        buffers[place.buffer] = max(buffers[place.buffer], size)
    for step in steps:
        if not isinstance(step, Finishing):
            _check_whole(step, network.shapes, places, buffers)
    return NetworkPlan(
        network.input,
        network.outputs,
        network.shapes,
        steps,
        places,
        buffers,
        in_file_order,
        _in_full(draft),
        _dying(steps, network.outputs, places),
    )


def _places(steps: Sequence[Step]) -> dict[str, TensorPlace]:
    """Return where each tensor lies. Readers come before makers here, as a part asks where its whole is."""
    within: dict[str, TensorPlace] = {}
    for step in reversed(steps):
        if isinstance(step, Reshape):
            if step.source not in within:
                within[step.source] = TensorPlace(step.output)
            elif step.output not in within:
                within[step.output] = TensorPlace(step.source)
            else:
                raise ValueError(f"its tensor {step.source} would have to lie in two places")
        elif isinstance(step, Join):
            for part, start in zip(step.parts, step.starts, strict=True):
                if part in within:
                    raise ValueError(f"its tensor {part} would have to lie in two places")
                within[part] = TensorPlace(step.output, start)

    def place(tensor: str) -> TensorPlace:
        if tensor not in within:
            return TensorPlace(tensor)
        whole = place(within[tensor].buffer)
        return TensorPlace(whole.buffer, whole.start + within[tensor].start)

    return {tensor: place(tensor) for step in steps for tensor in (step.output, *step.sources)}


def _check_layouts(network: Network, steps: Sequence[Step], in_file_order: frozenset[str]) -> None:
    """Refuse what reads or writes cells in the file's order, and cannot."""
    several = {tensor for tensor in in_file_order if math.prod(network.shapes[tensor][1:3]) > 1}
    if network.input in several:
        raise ValueError(f"its input {network.input} is reshaped, joined or an output")
    for step in steps:
        writes = step.output in several and not isinstance(step, Dense | Depthwise | Separable)
        if writes or several & set(step.sources):
            raise ValueError(f"its tensors {step.output} and {step.sources} lie in memory in two ways")


def _check_whole(
    step: Step,
    shapes: Mapping[str, Sequence[int]],
    places: Mapping[str, TensorPlace],
    buffers: Mapping[str, int],
) -> None:
    """Refuse parts of concatenations where a kernel takes whole buffers alone."""
    for tensor in (step.output, *step.sources):
        if buffers[places[tensor].buffer] != math.prod(shapes[tensor][1:]):
            raise ValueError(f"its tensor {tensor} is part of another, which {type(step).__name__} cannot reach")


def _in_full(draft: Draft) -> frozenset[str]:
    """Return the tensors that stay float32: from each output back to a convolution."""
    found: set[str] = set()
    waiting = list(draft.outputs)
    while waiting:
        tensor = waiting.pop()
        step = draft.maker(tensor)
        if step is not None and tensor not in found:
            found.add(tensor)
            if not isinstance(step, Dense | Depthwise | Separable):
                waiting += step.sources
    return frozenset(found)


def _dying(
    steps: Sequence[Step], outputs: Sequence[str], places: Mapping[str, TensorPlace]
) -> tuple[tuple[str, ...], ...]:
    last_read = {places[tensor].buffer: number for number, step in enumerate(steps) for tensor in step.sources}
    for output in outputs:
        last_read[places[output].buffer] = len(steps)
    return tuple(tuple(buffer for buffer, last in last_read.items() if last == number) for number in range(len(steps)))


def _kind(step: Step) -> str:
    """Return the kind of a step with its stages, as `dense 3x3/2 prelu + pooled[16] prelu`."""
    words = [type(step).__name__.lower()]
    match step:
        case Separable():
            words.append(_taps(step.depthwise.taps))
            if step.between is not None:
                words.append(step.between.kind)
        case Dense() | Depthwise():
            words.append(_taps(step.layer.taps))
        case MaxPool():
            words.append(_taps(step.taps))
        case Resizing() if step.added is not None:
            words.append("+ map")
    if isinstance(step, Finishing):
        for stage in step.finish.stages():
            if isinstance(stage, AddMap):
                words.append(f"+ {'pooled' if stage.pooled else 'map'}[{stage.channels}]")
            else:
                words.append(stage.kind if isinstance(stage, Activate) else "scale")
    return " ".join(words)


def _taps(taps: Taps) -> str:
    rows, columns = taps.size
    return f"{rows}x{columns}" + (f"/{taps.stride[0]}" if taps.stride != (1, 1) else "")
