"""What a manifest must fulfil beyond the types of its fields: fields that belong together, and layouts that exist.

`catalog` asks for it whenever it reads a manifest, so that a mistake is named before a network is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from phoenix_ray.errors import did_you_mean
from phoenix_ray.layouts import LAYOUTS, Part
from phoenix_ray.layouts.coco import IMAGE_AXES
from phoenix_ray.models.onnx.manifest import (
    DetectorManifest,
    HeadManifest,
    HeatmapDecoder,
    InputFormat,
    LayoutOfManifest,
    PafDecoder,
    PartOfLayout,
    PoseManifest,
    SimccDecoder,
)

# What ends with one of these is the path of a manifest or a network.
FILE_ENDINGS = (".yaml", ".yml", ".onnx", ".tflite")
# A rule that is broken: the field, and a sentence about it that ends without a full stop.
Broken = tuple[str, str]

# Layouts whose points are places in the picture with a score, which networks in ONNX files give.
NETWORK_LAYOUTS = tuple(
    name for name, layout in LAYOUTS.items() if all(part.axes == IMAGE_AXES for part in layout.parts)
)


def broken_rules(manifest: PoseManifest | DetectorManifest | HeadManifest) -> Iterator[Broken]:
    """Yield each rule that a manifest breaks."""
    if manifest.name.endswith(FILE_ENDINGS):
        yield "name", f"'{manifest.name}' would be taken for a file's path: leave its ending out"
    yield from _of_input(manifest.input)
    for name in ("weights", "fp16"):
        file = getattr(manifest, name)
        if file and (set(file.file) & set("/\\") or file.file in (".", "..")):
            yield f"{name}.file", f"'{file.file}' must be a file's name without a folder: it lies beside the manifest"
    match manifest:
        case PoseManifest():
            yield from _of_pose(manifest)
        case HeadManifest():
            yield from _of_head(manifest)


def points_of_layout(manifest: PoseManifest) -> int:
    """Return how many points a manifest's layout has; its layout exists."""
    return sum(len(part.points) for part in parts_of(manifest))


def _of_input(form: InputFormat) -> Iterator[Broken]:
    channels = 1 if form.channel_order == "grey" else 3
    for name in ("mean", "std"):
        count = len(getattr(form, name))
        if count not in (1, channels):
            numbers = "1 number" if channels == 1 else "1 or 3 numbers"
            yield f"input.{name}", f"it has {count}: give {numbers}, as channel_order is '{form.channel_order}'"
    if 0 in form.std:
        yield "input.std", "pixels are divided by it, so it must not be 0"
    elif any(abs(value) < 1 for value in form.std):
        # ImageNet's 0.229 is for pixels from 0 to 1.
        yield "input.std", "pixels are 0 to 255 here: multiply mean and std that are made for 0 to 1 by 255"
    if form.multiple_of is not None:
        if form.resize not in ("letterbox", "height"):
            yield "input.multiple_of", f"it belongs to resize: letterbox or height, not to '{form.resize}'"
        elif any(side % form.multiple_of for side in form.size):
            yield "input.multiple_of", f"size {list(form.size)} is not a multiple of {form.multiple_of}"
    if form.udp and form.resize != "affine":
        yield "input.udp", f"it belongs to resize: affine, not to '{form.resize}'"
    if form.padding != 1 and form.resize not in ("affine", "stretch"):
        yield "input.padding", f"it belongs to resize: affine or stretch, not to '{form.resize}'"
    if form.position != "center" and form.resize not in ("letterbox", "height"):
        yield "input.position", f"it belongs to resize: letterbox or height, not to '{form.resize}'"


def _of_pose(manifest: PoseManifest) -> Iterator[Broken]:
    known = manifest.layout if isinstance(manifest.layout, LayoutOfManifest) else LAYOUTS.get(manifest.layout)
    if known is None:
        hint = did_you_mean(str(manifest.layout), NETWORK_LAYOUTS)
        names = ", ".join(NETWORK_LAYOUTS)
        yield "layout", f"there is no layout '{manifest.layout}'.{hint} Known are {names}; or describe its parts here"
        return
    if isinstance(manifest.layout, LayoutOfManifest):
        yield from _of_layout(manifest.layout)
    elif manifest.layout not in NETWORK_LAYOUTS:
        yield (
            "layout",
            f"'{manifest.layout}' has more than x, y and a score: choose one of {', '.join(NETWORK_LAYOUTS)}",
        )
    points = points_of_layout(manifest)
    if manifest.keep and len(manifest.keep) != points:
        yield "keep", f"it has {len(manifest.keep)} points, but the layout {points}"
    else:
        yield from _kept_twice(manifest)
    form, decoder = manifest.input, manifest.decoder
    if isinstance(decoder, SimccDecoder) and (form.resize == "height" or form.multiple_of):
        yield "decoder.kind", "simcc has as many bins as its input has pixels, so the input must have one size"
    if isinstance(decoder, SimccDecoder) and decoder.x == decoder.y:
        yield "decoder.y", f"x and y are both the output '{decoder.x}'"
    if isinstance(decoder, HeatmapDecoder) and form.resize == "affine" and form.udp != decoder.udp:
        yield "input.udp", f"it is {form.udp}, but decoder.udp is {decoder.udp}: a network has both or neither"
    if isinstance(decoder, HeatmapDecoder) and decoder.blur_kernel % 2 == 0:
        yield "decoder.blur_kernel", f"the window has a cell in its middle: {decoder.blur_kernel} is not an odd number"
    if isinstance(decoder, PafDecoder):
        yield from _of_fields(decoder, None if manifest.keep else points)


def _kept_twice(manifest: PoseManifest) -> Iterator[Broken]:
    """Yield each part that has a point of the network twice; two parts may share one, such as a wrist."""
    first = 0
    for part in parts_of(manifest) if manifest.keep else ():
        own = manifest.keep[first : (first := first + len(part.points))]
        yield from ((field, f"{text} in part '{part.name}'") for field, text in _twice("keep", own))


def parts_of(manifest: PoseManifest) -> tuple[PartOfLayout, ...] | tuple[Part, ...]:
    """Return the parts of a manifest's layout, which exists."""
    if isinstance(manifest.layout, LayoutOfManifest):
        return manifest.layout.parts
    return LAYOUTS[manifest.layout].parts


def _of_layout(layout: LayoutOfManifest) -> Iterator[Broken]:
    if layout.name in LAYOUTS:
        yield "layout.name", f"'{layout.name}' is a layout of phoenix_ray: choose another name, or write that name only"
    yield from _twice("layout.parts", [part.name for part in layout.parts])
    for number, part in enumerate(layout.parts):
        yield from _twice(f"layout.parts.{number}.points", part.points)
        for edge in part.edges:
            if not all(0 <= point < len(part.points) for point in edge):
                last = len(part.points) - 1
                place = f"layout.parts.{number}.edges"
                yield place, f"{list(edge)} names a point that '{part.name}' lacks: its points are 0 to {last}"


def _of_fields(decoder: PafDecoder, points: int | None) -> Iterator[Broken]:
    maps = decoder.heatmaps.count
    if points is not None and maps is not None and maps != points:
        yield "decoder.heatmaps.count", f"it is {maps}, but the layout has {points} points: each has a map"
    count = maps or points
    if not decoder.limbs:
        yield "decoder.limbs", "it is empty: a person is put together by limbs"
    for number, limb in enumerate(decoder.limbs):
        place = f"decoder.limbs.{number}"
        if limb.points[0] == limb.points[1]:
            yield f"{place}.points", f"{list(limb.points)}: a limb joins two points"
        if min(limb.points) < 0 or (count is not None and max(limb.points) >= count):
            last = "" if count is None else f" to {count - 1}"
            yield f"{place}.points", f"{list(limb.points)} is not among the network's points, 0{last}"
        fields = decoder.fields.count
        if min(limb.channels) < 0 or (fields is not None and max(limb.channels) >= fields):
            last = "" if fields is None else f" to {fields - 1}"
            yield f"{place}.channels", f"{list(limb.channels)} is not among the channels of decoder.fields, 0{last}"


def _of_head(manifest: HeadManifest) -> Iterator[Broken]:
    decoder, form = manifest.decoder, manifest.input
    if form.size[0] != form.size[1]:
        yield "input.size", f"{list(form.size)} is not a square: a head sees squares"
    if form.padding != 1:
        yield "input.padding", "it is crop.scale for a head"
    if manifest.fp16 is not None:
        yield "fp16", "heads run in full precision only"
    yield from _twice("decoder.classes", decoder.classes)
    if decoder.classes and decoder.logits is None:
        yield "decoder.logits", "it is missing: which output has the scores of the classes?"
    if decoder.logits is not None and not decoder.classes:
        yield "decoder.classes", "they are missing: name the classes of decoder.logits, in the network's order"
    if not decoder.classes and not decoder.values:
        yield "decoder", "it says nothing: give classes and logits, or values"
    for name, value in decoder.values.items():
        if name in ("logits", "quality"):
            yield f"decoder.values.{name}", "every head has a column of this name: choose another"
        if value.clamp is not None and value.clamp[0] > value.clamp[1]:
            yield f"decoder.values.{name}.clamp", f"{list(value.clamp)}: the lowest comes first"


def _twice(field: str, names: Iterable[object]) -> Iterator[Broken]:
    twice = [str(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        yield field, f"it names {', '.join(twice)} more than once"
