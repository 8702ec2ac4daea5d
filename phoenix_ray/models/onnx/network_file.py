"""What an ONNX file says of itself, and whether that is what its manifest says.

`adding` asks for it before a file is copied into the weights folder, so that a wrong file or manifest is named by field
and shape instead of failing in a run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from phoenix_ray.errors import ModelError
from phoenix_ray.models.onnx.manifest import (
    Channels,
    DetectorManifest,
    HeadManifest,
    HeatmapDecoder,
    InputFormat,
    OutputOfHead,
    PafDecoder,
    PoseManifest,
    RtmdetDecoder,
    SimccDecoder,
    YoloBoxDecoder,
    YoloPoseDecoder,
    YoloxDecoder,
)
from phoenix_ray.models.onnx.manifest_rules import points_of_layout
from phoenix_ray.models.onnx.session import require_onnxruntime

# Sizes of the dimensions of a tensor; a text or None where the file leaves one open.
Shape = tuple[int | str | None, ...]

# Types of inputs that the session feeds.
_FLOATS = ("tensor(float)", "tensor(float16)")
_BLOCK = 1 << 24


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What a file says of itself.

    Attributes:
        inputs: Name → shape.
        types: Name of an input → its type, such as `tensor(float)`.
        outputs: Name → shape.
        metadata: What its exporter wrote into it, such as `license`.
    """

    inputs: Mapping[str, Shape]
    types: Mapping[str, str]
    outputs: Mapping[str, Shape]
    metadata: Mapping[str, str]


def read_facts(path: Path) -> NetworkFacts:
    """Load an ONNX file on the CPU and return what it says of itself.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: It cannot be read, is not an ONNX network, or keeps its weights in further files.
    """
    require_onnxruntime()
    import onnxruntime

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from None
    if not content:
        raise ModelError(f"{path} is empty: fetch or export it again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        # From memory: so a file whose weights lie in further files, which would stay behind, is refused.
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())
        if "external" in reason.lower():
            raise ModelError(
                f"{path} keeps its weights in further files, which is not supported: export it again as one file "
                "(onnx.save_model with save_as_external_data=False)."
            ) from None
        raise ModelError(
            f"{path} is not an ONNX network that onnxruntime {onnxruntime.__version__} loads: {reason} "
            "Is it whole, and is it the .onnx file itself rather than a .zip or a .pt?"
        ) from None
    return NetworkFacts(
        {value.name: tuple(value.shape) for value in session.get_inputs()},
        {value.name: value.type for value in session.get_inputs()},
        {value.name: tuple(value.shape) for value in session.get_outputs()},
        dict(session.get_modelmeta().custom_metadata_map),
    )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits; raise OSError where it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def mismatches(manifest: PoseManifest | DetectorManifest | HeadManifest, facts: NetworkFacts) -> list[str]:
    """Return each point in which a file is not what its manifest says, with the field, as a sentence."""
    return [*_of_input(manifest.input, facts), *output_mismatches(manifest, facts.outputs)]


def output_mismatches(
    manifest: PoseManifest | DetectorManifest | HeadManifest, outputs: Mapping[str, Shape]
) -> list[str]:
    """Return each point in which outputs are not what a manifest says; open dimensions fit anything."""
    checked = _Outputs(outputs)
    match manifest:
        case PoseManifest():
            _check_points(manifest, checked)
        case DetectorManifest():
            _check_boxes(manifest.decoder, checked)
        case HeadManifest():
            _check_head(manifest, checked)
    return checked.problems


def shape_text(shape: Shape) -> str:
    """Return a shape for people: `N x 3 x 256 x 192`."""
    return " x ".join("?" if side is None else str(side) for side in shape)


def _of_input(form: InputFormat, facts: NetworkFacts) -> Iterator[str]:
    names = ", ".join(facts.inputs)
    if len(facts.inputs) != 1:
        yield f"the network has {len(facts.inputs)} inputs ({names}), but only networks of one input run."
        return
    name = form.name or names
    if name not in facts.inputs:
        yield f"input.name: the network has no input '{name}', only {names}."
        return
    if others := [other for other in facts.inputs if other != name]:
        yield f"input.name: the network also wants {', '.join(others)}; only networks with one input run."
    shape, text = facts.inputs[name], f"'{name}' is {shape_text(facts.inputs[name])}"
    if facts.types[name] not in _FLOATS:
        yield f"input: '{name}' takes {facts.types[name]}, not tensor(float): export it with an input of float32."
    if len(shape) != 4:
        yield f"input.layout: {text}, which has {len(shape)} dimensions instead of four."
        return
    batch, *sides = shape
    channels = sides.pop(0 if form.layout == "nchw" else 2)
    if isinstance(batch, int) and batch > 1:
        yield f"input: {text}: it always takes {batch} pictures. Export it with an open batch, or a batch of 1."
    if isinstance(channels, int) and channels != (wanted := 1 if form.channel_order == "grey" else 3):
        yield (
            f"input.layout or input.channel_order: {text}, {channels} channels as {form.layout}; "
            f"'{form.channel_order}' has {wanted}."
        )
    width, height = form.size
    if any(isinstance(found, int) and found != side for found, side in zip(sides, (height, width), strict=True)):
        yield f"input.size: {text} ({form.layout}), not {width} wide and {height} high; the width comes first."
    if (form.multiple_of or form.resize == "height") and any(isinstance(side, int) for side in sides):
        field = "input.multiple_of" if form.multiple_of else "input.resize"
        yield f"{field}: {text}, so its size is fixed, but the manifest lets it vary. Export it with an open size."


class _Outputs:
    """Outputs to check, and the problems that were found."""

    def __init__(self, outputs: Mapping[str, Shape]) -> None:
        self._outputs = outputs
        self.problems: list[str] = []

    def shape(self, field: str, name: str, *forms: str) -> Shape | None:
        """Return the shape of an output; None where it is open or has another number of dimensions than its forms.

        A form names the dimensions, `N x points x bins`. An empty name is the only output.
        """
        names = ", ".join(self._outputs)
        if not name and len(self._outputs) != 1:
            self.problems.append(f"{field} is empty, but the network has {len(self._outputs)} outputs: {names}.")
            return None
        name = name or names
        if name not in self._outputs:
            self.problems.append(f"{field}: the network has no output '{name}', only {names}.")
            return None
        shape = self._outputs[name]
        # The shape is empty where the file does not say it.
        if shape and len(shape) not in [len(form.split(" x ")) for form in forms]:
            self.problems.append(f"{field}: '{name}' is {shape_text(shape)} instead of {' or '.join(forms)}.")
            return None
        return shape or None

    def check(self, field: str, shape: Shape | None, axis: int, fits: bool, reason: str) -> None:
        """Note a reason where a dimension is known and does not fit."""
        if shape is not None and isinstance(shape[axis], int) and not fits:
            names = [name for name, found in self._outputs.items() if found is shape]
            self.problems.append(f"{field}: '{names[0]}' is {shape_text(shape)}: {reason}.")


def _size(shape: Shape | None, axis: int) -> int:
    """Return a dimension; 0 where it is open."""
    side = shape[axis] if shape else None
    return side if isinstance(side, int) else 0


def _check_points(manifest: PoseManifest, outputs: _Outputs) -> None:
    decoder = manifest.decoder
    match decoder:
        case SimccDecoder():
            for axis, side in zip("xy", manifest.input.size, strict=True):
                field = f"decoder.{axis}"
                shape = outputs.shape(field, getattr(decoder, axis), "N x points x bins")
                _check_count(manifest, outputs, field, shape, _size(shape, 1))
                bins = side * decoder.split_ratio
                reason = f"{_size(shape, 2)} bins, not {side} pixels times decoder.split_ratio {decoder.split_ratio:g}"
                outputs.check(field, shape, 2, _size(shape, 2) == bins, reason)
        case HeatmapDecoder():
            shape = outputs.shape("decoder.output", decoder.output, "N x points x height x width")
            _check_count(manifest, outputs, "decoder.output", shape, _size(shape, 1))
        case YoloPoseDecoder():
            shape = outputs.shape("decoder.output", decoder.output, "N x (5 + 3 * points) x anchors")
            points, rest = divmod(_size(shape, 1) - 5, 3)
            reason = "its channels are not 5 + 3 for each point; several classes, or points without a score, do not run"
            outputs.check("decoder.output", shape, 1, rest == 0, reason)
            if rest == 0:
                _check_count(manifest, outputs, "decoder.output", shape, points)
        case PafDecoder():
            maps = decoder.heatmaps.count or _network_points(manifest)
            last = max(channel for limb in decoder.limbs for channel in limb.channels)
            _check_channels(outputs, "decoder.heatmaps", decoder.heatmaps, maps, "N x channels x height x width", 1)
            _check_channels(outputs, "decoder.fields", decoder.fields, last + 1, "N x channels x height x width", 1)


def _check_count(manifest: PoseManifest, outputs: _Outputs, field: str, shape: Shape | None, found: int) -> None:
    wanted = _network_points(manifest)
    if manifest.keep:
        reason = f"{found} points, but keep names point {wanted - 1}, counted from 0"
        outputs.check(field, shape, 1, found >= wanted, reason)
    else:
        layout = manifest.layout if isinstance(manifest.layout, str) else manifest.layout.name
        reason = f"{found} points, but layout {layout} has {wanted}; keep chooses some of a network's points"
        outputs.check(field, shape, 1, found == wanted, reason)


def _network_points(manifest: PoseManifest) -> int:
    """Return how many points the network must have, at least."""
    return 1 + max(manifest.keep) if manifest.keep else points_of_layout(manifest)


def _check_channels(outputs: _Outputs, field: str, channels: Channels, count: int, form: str, axis: int) -> None:
    shape = outputs.shape(f"{field}.output", channels.output, form)
    last = channels.first + (channels.count or count)
    reason = f"{_size(shape, axis)} channels, but {field} goes up to channel {last - 1}, counted from 0"
    outputs.check(field, shape, axis, _size(shape, axis) >= last, reason)


def _check_boxes(decoder: YoloxDecoder | RtmdetDecoder | YoloBoxDecoder, outputs: _Outputs) -> None:
    forms = {"yolox": "N x boxes x (5 + classes)", "rtmdet": "N x boxes x 5", "yolo": "N x (4 + classes) x anchors"}
    shape = outputs.shape("decoder.output", decoder.output, forms[decoder.kind])
    axis = 1 if isinstance(decoder, YoloBoxDecoder) else 2
    reason = f"{_size(shape, axis)} numbers for a box, but {decoder.kind} has {forms[decoder.kind]}"
    outputs.check("decoder.output", shape, axis, _size(shape, axis) >= 5, reason)


def _check_head(manifest: HeadManifest, outputs: _Outputs) -> None:
    decoder = manifest.decoder
    for name, value in decoder.values.items():
        _check_numbers(outputs, f"decoder.values.{name}", value, 1)
    if decoder.logits is not None:
        _check_numbers(outputs, "decoder.logits", decoder.logits, len(decoder.classes))
    if decoder.heatmap:
        outputs.shape("decoder.heatmap", decoder.heatmap, "N x points x height x width")


def _check_numbers(outputs: _Outputs, field: str, which: OutputOfHead, count: int) -> None:
    shape = outputs.shape(f"{field}.output", which.output, "N x numbers", "N")
    if shape is None or any(not isinstance(side, int) for side in shape[1:]):
        return
    found, last = math.prod(_size(shape, axis) for axis in range(1, len(shape))), which.first + count
    axis = len(shape) - 1
    reason = f"{found} numbers, but {field} goes up to number {last - 1}, counted from 0"
    outputs.check(field, shape, axis, found >= last, reason)
