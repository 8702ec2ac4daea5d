"""The manifest of a network: what an ONNX file takes, what its outputs mean, and where it comes from.

It is a YAML file; `docs/manifests.md` explains it to who writes one. `catalog` finds manifests by name, `engine` runs
what they describe. Everything but texts for people changes landmarks and belongs to a dataset's identity.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from phoenix_ray.setting_types import Fraction, PositiveInt, Section

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
# No network takes larger pictures; a frame's input must fit into memory.
Side = Annotated[int, Field(ge=1, le=8192)]
Numbers = Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class InputFormat(Section):
    """How a picture becomes the network's input."""

    name: str = Field("", description="Name of the input. Empty: the only one.")
    size: tuple[Side, Side] = Field(description="Width and height in pixels.")
    layout: Literal["nchw", "nhwc"] = Field("nchw", description="Order of the dimensions.")
    channel_order: Literal["rgb", "bgr", "grey"] = Field("rgb", description="Channels, in their order.")
    mean: Numbers = Field((0.0,), description="Subtracted from each channel, whose values are 0 to 255.")
    std: Numbers = Field((1.0,), description="Divides each channel after that; 255 gives 0 to 1.")
    resize: Literal["affine", "letterbox", "height", "stretch"] = Field(
        description="'affine' cuts a box of the input's proportions out of the picture. 'letterbox' fits the whole box "
        "into the input and fills the rest. 'height' scales to the input's height; the width follows and is filled up "
        "to the input's width at least. 'stretch' gives up the proportions."
    )
    padding: Annotated[float, Field(gt=0)] = Field(
        1.0, description="affine and stretch: how much larger than the box the region is. MMPose: 1.25."
    )
    udp: bool = Field(
        False,
        description="affine: whether the box's edges lie in the middle of the outermost pixels (use_udp of MMPose's "
        "TopdownAffine); its networks have the same in their decoder.",
    )
    fill: Annotated[int, Field(ge=0, le=255)] = Field(0, description="Value of pixels outside the picture.")
    position: Literal["center", "top_left"] = Field("center", description="letterbox: where the picture lies.")
    multiple_of: PositiveInt | None = Field(
        None,
        description="letterbox and height: fill only up to a multiple of so many pixels (Ultralytics: 32), where the "
        "network takes any size. Empty: letterbox fills up to the whole size.",
    )


class Channels(Section):
    """Some channels of an output: all, or a range of its second dimension."""

    output: str = Field(description="Name of the output.")
    first: Annotated[int, Field(ge=0)] = Field(0, description="First channel.")
    count: PositiveInt | None = Field(None, description="How many; empty: all that follow.")


class SimccDecoder(Section):
    """Each coordinate is a classification (SimCC: RTMPose, RTMW, DWPose)."""

    kind: Literal["simcc"] = Field(description="Which decoder.")
    x: str = Field("simcc_x", description="Name of the output (N, points, width * split_ratio).")
    y: str = Field("simcc_y", description="Name of the output (N, points, height * split_ratio).")
    split_ratio: Annotated[float, Field(gt=0)] = Field(2.0, description="Bins for each pixel of the input.")
    score: Literal["min", "mean"] = Field(
        "min", description="A point's score from the maxima of x and y: MMPose takes the smaller, rtmlib the mean."
    )


class HeatmapDecoder(Section):
    """A map of scores for each point (ViTPose, HRNet, Sapiens, SDPose)."""

    kind: Literal["heatmap"] = Field(description="Which decoder.")
    output: str = Field("", description="Name of the output (N, points, height, width). Empty: the only one.")
    refine: Literal["none", "quarter", "dark", "udp"] = Field(
        "quarter",
        description="From the highest cell to a place between cells: 'quarter' moves a quarter of a cell towards the "
        "higher neighbour, 'dark' fits a parabola to the logarithm of the smoothed map, 'udp' does so for networks "
        "that were trained with unbiased data processing.",
    )
    blur_kernel: PositiveInt = Field(11, description="dark and udp: side of the Gaussian window, an odd number.")
    udp: bool = Field(
        False, description="Whether the outermost cells stand for the outermost pixels (use_udp in MMPose's codec)."
    )


class YoloPoseDecoder(Section):
    """Anchors with a box, a score and points (YOLOv8-Pose, YOLO11-Pose). The highest score is the person."""

    kind: Literal["yolo-pose"] = Field(description="Which decoder.")
    output: str = Field("", description="Name of the output (N, 5 + 3 * points, anchors). Empty: the only one.")
    min_score: Fraction = Field(0.25, description="A person's score is above this.")


class Limb(Section):
    """A limb of part affinity fields: the points that it joins, and the channels of its direction."""

    points: tuple[int, int] = Field(description="The points that it joins, counted from 0.")
    channels: tuple[int, int] = Field(description="Of `fields`, whose first channel is 0: along x and along y.")
    completes: bool = Field(
        False, description="Whether it only adds a point to a person that has the other, and counts for nothing else."
    )


class PafDecoder(Section):
    """Heat maps of points and fields of limbs (OpenPose). The person with the highest total score is taken."""

    kind: Literal["paf"] = Field(description="Which decoder.")
    heatmaps: Channels = Field(description="A map for each point; give `count` where one of the background follows.")
    fields: Channels = Field(description="Two maps for each limb.")
    limbs: tuple[Limb, ...] = Field(description="The limbs, in the order in which persons are put together.")
    stride: PositiveInt = Field(8, description="Pixels of the input for each cell of the outputs.")
    upsample: PositiveInt = Field(4, description="How much outputs are enlarged (bicubic) before peaks are sought.")
    min_peak: Fraction = Field(0.1, description="Lowest value of a peak.")
    peak_distance: PositiveInt = Field(6, description="Peaks nearer than so many cells of the enlarged map are one.")
    min_limb: Fraction = Field(0.05, description="Lowest score of a sample on a limb.")
    min_samples: Fraction = Field(0.8, description="More than this share of ten samples must reach it.")
    min_points: PositiveInt = Field(3, description="Fewest points of a person.")
    min_mean: Fraction = Field(0.2, description="Lowest mean score of a person's points.")


PoseDecoder = Annotated[SimccDecoder | HeatmapDecoder | YoloPoseDecoder | PafDecoder, Field(discriminator="kind")]


class YoloxDecoder(Section):
    """Boxes of YOLOX. Outputs with NMS inside (N, boxes, 5), or without (N, anchors, 5 + classes); 0 is the person."""

    kind: Literal["yolox"] = Field(description="Which decoder.")
    output: str = Field("", description="Name of the output. Empty: the only one.")
    min_score: Fraction = Field(0.3, description="A person's score is above this; rtmlib: 0.7 without NMS inside.")
    max_overlap: Fraction = Field(0.45, description="Without NMS inside: boxes that overlap more are one person.")


class RtmdetDecoder(Section):
    """Boxes of RTMDet, whose file has NMS inside: (N, boxes, 5), x1, y1, x2, y2, score."""

    kind: Literal["rtmdet"] = Field(description="Which decoder.")
    output: str = Field("dets", description="Name of the output.")
    min_score: Fraction = Field(0.3, description="A person's score is above this.")


class YoloBoxDecoder(Section):
    """Boxes of YOLOv8 or YOLO11, detection or pose: (N, 4 + classes or more, anchors); class 0 is the person."""

    kind: Literal["yolo"] = Field(description="Which decoder.")
    output: str = Field("", description="Name of the output. Empty: the only one.")
    min_score: Fraction = Field(0.25, description="A person's score is above this.")
    max_overlap: Fraction = Field(0.7, description="Boxes that overlap more are one person.")


BoxDecoder = Annotated[YoloxDecoder | RtmdetDecoder | YoloBoxDecoder, Field(discriminator="kind")]


class PartOfLayout(Section):
    """A part of a layout that is described in a manifest."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="Prefix of its columns. Exports and the viewer know pose, feet, face, left_hand and right_hand."
    )
    points: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="The name of each point.")
    edges: tuple[tuple[int, int], ...] = Field(
        (), description="Pairs of points that a drawing joins, counted from 0 in this part."
    )


class LayoutOfManifest(Section):
    """A layout that phoenix_ray does not know: parts whose points follow each other in the network's order."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = Field(description="Its name in datasets.")
    parts: Annotated[tuple[PartOfLayout, ...], Field(min_length=1)] = Field(
        description="What is found or missing as a whole; in a row they are the network's points."
    )


# A text names a layout, fields describe one: so that a mistake in one is not explained as one in the other as well.
LayoutChoice = Annotated[
    Annotated[str, Tag("a name")] | Annotated[LayoutOfManifest, Tag("a description")],
    Discriminator(lambda value: "a description" if isinstance(value, dict | LayoutOfManifest) else "a name"),
]


class NetworkFile(Section):
    """A file, beside the manifest or in the weights folder."""

    file: str = Field("", description="Name of the .onnx file. Empty: the manifest's name.")
    sha256: Sha256 = Field("", description="Its sha256. `phoenix-ray models add` fills it in.")


class NetworkManifest(Section):
    """What the manifests of all kinds of networks have in common."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = Field(description="Value of `model.name`.")
    description: str = Field("", description="One line.")
    weights: NetworkFile = Field(default_factory=NetworkFile, description="The file.")
    fp16: NetworkFile | None = Field(None, description="The same network in half precision, for model.precision=fp16.")
    license: str = Field(description="Licence of the weights, as their publisher states it.")
    source: str = Field(description="Where to get the file, or the commands that export it.")
    input: InputFormat


class PoseManifest(NetworkManifest):
    """A network that finds points."""

    kind: Literal["pose"] = Field("pose", description="What the network does.")
    layout: LayoutChoice = Field(description="Name of a known layout, or the parts of another.")
    keep: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="The network's points that the layout has, in its order. Empty: all, in the network's order."
    )
    box: Literal["frame", "blazepose", "detector"] = Field(
        "frame", description="What is shown to the network if model.box leaves it open (docs/models.md)."
    )
    decoder: PoseDecoder
    missing_below: float = Field(
        0.3, description="A part counts as missing where the mean score of its points is below this."
    )


class DetectorManifest(NetworkManifest):
    """A network that finds a person's box, for model.detector."""

    kind: Literal["detector"] = Field(description="What the network does.")
    decoder: BoxDecoder


class HeadInput(InputFormat):
    """How a crop becomes the input of a head."""

    resize: Literal["affine"] = Field("affine", description="The square crop fills the input.")


class CropOfHead(Section):
    """The region that a head sees: an upright square around the points of a part."""

    part: str = Field("face", description="The part that it looks at.")
    scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Side of the square over the longer side of the points' box, in pixels of the picture."
    )


class OutputOfHead(Section):
    """Numbers of an output (N, numbers) or (N,)."""

    output: str = Field("", description="Name of the output. Empty: the only one.")
    first: Annotated[int, Field(ge=0)] = Field(0, description="Place of the first of them.")


class ValueOfHead(OutputOfHead):
    """A number such as valence."""

    clamp: tuple[float, float] | None = Field(
        None, description="Lowest and highest value: what lies outside becomes the nearer. Empty: as the network says."
    )


class HeadDecoder(Section):
    """What the outputs of a head mean."""

    classes: tuple[str, ...] = Field((), description="Names of the classes, in the network's order.")
    logits: OutputOfHead | None = Field(
        None, description="Scores of the classes: as many numbers as there are classes."
    )
    probabilities: bool = Field(False, description="Whether the scores are probabilities already (softmax inside).")
    values: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ValueOfHead] = Field(
        default_factory=dict, description="Numbers beside the classes, by name, such as valence and arousal."
    )
    heatmap: str = Field("", description="Output with maps (N, points, height, width), for the quality. Empty: none.")


class HeadManifest(NetworkManifest):
    """A network that looks at the crop of a part, for model.heads; its file may be a .tflite file."""

    kind: Literal["head"] = Field(description="What the network does.")
    head: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(description="Prefix of the columns: emotion.")
    input: HeadInput
    crop: CropOfHead = Field(default_factory=CropOfHead, description="What it sees.")
    decoder: HeadDecoder


AnyManifest = Annotated[PoseManifest | DetectorManifest | HeadManifest, Field(discriminator="kind")]
