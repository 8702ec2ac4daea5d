"""Makes fewer steps of a network's steps: each rule looks at one step and its neighbours, until no rule applies.

A tensor that a rule leaves out must have no other reader, and must not be an output. A fused step stands where the last
of its parts stood, so all that it reads is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from phoenix_ray.models.holistic.torch_engine.kernels.convolution_tiles import is_worth_fusing
from phoenix_ray.models.holistic.torch_engine.kernels.layers import DenseLayer, DepthwiseLayer
from phoenix_ray.models.holistic.torch_engine.kernels.network_steps import (
    AddMap,
    Dense,
    Depthwise,
    Elementwise,
    Finishing,
    FirstChannels,
    MaxPool,
    Pad,
    Resizing,
    Separable,
    Step,
    channels_of,
)

Layer = TypeVar("Layer", DenseLayer, DepthwiseLayer)


class Draft:
    """Steps while they are being fused.

    Args:
        steps: The steps, in an order in which they can run.
        outputs: Tensors that are wanted.
        shapes: Shape of each tensor.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.steps = list(steps)
        self.outputs, self.shapes = tuple(outputs), shapes

    def maker(self, tensor: str) -> Step | None:
        """Return the step that computes a tensor; None for the network's input."""
        return next((step for step in self.steps if step.output == tensor), None)

    def readers(self, tensor: str) -> list[Step]:
        """Return the steps that read a tensor, each as often as it does."""
        return [step for step in self.steps for source in step.sources if source == tensor]

    def is_passing(self, tensor: str) -> bool:
        """Return whether a tensor has one reader and is not an output, so that it need not exist."""
        return tensor not in self.outputs and len(self.readers(tensor)) == 1

    def replace(self, parts: Sequence[Step], fused: Step) -> None:
        """Put a step in place of the last of some steps, and take the others away."""
        last = max(self.steps.index(part) for part in parts)
        self.steps[last] = fused
        self.steps = [step for step in self.steps if step not in parts]


def fuse(draft: Draft) -> None:
    """Apply all rules until none applies."""
    is_done = False
    while not is_done:
        is_done = True
        for rule in RULES:
            for step in list(draft.steps):
                if step in draft.steps and rule(draft, step):
                    is_done = False


def pad_inside_convolutions(draft: Draft, pad: Step) -> bool:
    """Zeros around a map become padding of the convolutions that read it."""
    if not isinstance(pad, Pad) or pad.channels != (0, 0) or pad.output in draft.outputs:
        return False
    readers = draft.readers(pad.output)
    if not all(isinstance(reader, Dense | Depthwise) and reader.source == pad.output for reader in readers):
        return False
    for reader in readers:
        match reader:
            case Dense():
                draft.replace([reader], replace(reader, source=pad.source, layer=_padded(reader.layer, pad)))
            case Depthwise():
                draft.replace([reader], replace(reader, source=pad.source, layer=_padded(reader.layer, pad)))
    draft.steps.remove(pad)
    return True


def _padded(layer: Layer, pad: Pad) -> Layer:
    rows, columns = layer.taps.padding
    return replace(layer, taps=layer.taps._replace(padding=(rows + pad.rows[0], columns + pad.columns[0])))


def sum_inside_resizing(draft: Draft, total: Step) -> bool:
    """A resized map and another are added up where the first is resized."""
    if not isinstance(total, Elementwise) or total.finish.sum is None or len(list(total.finish.stages())) > 1:
        return False
    for resized, other in _operands(total, total.finish.sum):
        resizing = draft.maker(resized)
        if isinstance(resizing, Resizing) and resizing.added is None and draft.is_passing(resized):
            draft.replace([resizing, total], replace(resizing, output=total.output, added=other))
            return True
    return False


def finish_inside_maker(draft: Draft, step: Step) -> bool:
    """Activation, scaling and sum run in the kernel that computes what they take."""
    if not isinstance(step, Elementwise):
        return False
    total = step.finish.sum
    choices = [(step.source, "")] if total is None else _operands(step, total)
    # The maker that runs last fuses, so that the other map is there by then.
    for source, other in sorted(choices, key=lambda choice: _place(draft, choice[0]), reverse=True):
        maker = draft.maker(source)
        if not isinstance(maker, Finishing) or not draft.is_passing(source):
            continue
        later = step.finish
        if total is not None:
            if source != step.source and (step.finish.activation or step.finish.scale):
                continue
            later = replace(step.finish, sum=_added_map(draft, other, isinstance(maker, Elementwise)))
        finish = maker.finish.then(later)
        if finish is None or (finish.scale is not None and not isinstance(maker, Elementwise)):
            continue
        draft.replace([maker, step], replace(maker, output=step.output, finish=finish))
        return True
    return False


def separable_in_a_kernel(draft: Draft, dense: Step) -> bool:
    """A depthwise convolution and the pointwise one after it become one step, where that pays."""
    if not isinstance(dense, Dense) or not draft.is_passing(dense.source):
        return False
    depthwise = draft.maker(dense.source)
    if not isinstance(depthwise, Depthwise) or not is_worth_fusing(depthwise.layer, dense.layer):
        return False
    between = depthwise.finish.activation
    if depthwise.finish.sum is not None:
        return False
    fused = Separable(
        output=dense.output,
        source=depthwise.source,
        depthwise=depthwise.layer,
        between=between,
        layer=dense.layer,
        finish=dense.finish,
    )
    draft.replace([depthwise, dense], fused)
    return True


def unread_is_left_out(draft: Draft, step: Step) -> bool:
    """What nobody reads is not computed."""
    if step.output in draft.outputs or draft.readers(step.output):
        return False
    draft.steps.remove(step)
    return True


# Resizing goes before convolutions: it takes a sum without storing what it has resized.
RULES: tuple[Callable[[Draft, Step], bool], ...] = (
    unread_is_left_out,
    pad_inside_convolutions,
    sum_inside_resizing,
    finish_inside_maker,
    separable_in_a_kernel,
)


def _operands(step: Step, total: AddMap) -> list[tuple[str, str]]:
    """Return each operand of a sum with the other."""
    return [(step.source, total.tensor), (total.tensor, step.source)]


def _place(draft: Draft, tensor: str) -> int:
    return next((place for place, step in enumerate(draft.steps) if step.output == tensor), -1)


def _added_map(draft: Draft, tensor: str, is_plain: bool) -> AddMap:
    """Return how a map is added inside of a convolution: as a larger one is pooled, or as far as its channels go.

    Args:
        draft: All steps.
        tensor: The map.
        is_plain: Whether it must be added as it is.
    """
    channels, pooled = channels_of(draft.shapes[tensor]), False
    while not is_plain and _is_only_added(draft, tensor):
        match maker := draft.maker(tensor):
            case Pad(rows=(0, 0), columns=(0, 0), channels=(0, _)) | FirstChannels():
                channels = min(channels, draft.shapes[maker.source][-1])
            case MaxPool() if (
                maker.halves
                and not pooled
                and draft.shapes[maker.source][1] % 2 == 0
                and (draft.shapes[maker.source][2] % 2 == 0)
            ):
                pooled = True
            case _:
                break
        tensor = maker.source
    return AddMap(tensor, channels, pooled)


def _is_only_added(draft: Draft, tensor: str) -> bool:
    """Return whether a tensor exists for the sake of sums alone."""
    return tensor not in draft.outputs and all(
        isinstance(reader, Pad | FirstChannels) or (isinstance(reader, Finishing) and reader.finish.sum is not None)
        for reader in draft.readers(tensor)
    )
