"""Every setting of `phoenix-ray prepare`, in one typed tree like `phoenix_ray.config`, and the steps they ask for.

The order of the sections is the order of the steps (`build_pipeline`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.layouts import Head, Layout
from phoenix_ray.layouts.correspondence import Point
from phoenix_ray.prepare.cleaning import FillGaps, OneEuro, SavitzkyGolay
from phoenix_ray.prepare.normalise import ImageHeights, PartBoxes, ShoulderWidth, WristCentred
from phoenix_ray.prepare.point_sets import counterparts, resolve_points, shoulder_points, wrist_points
from phoenix_ray.prepare.points import KeepPoints, Mirror, TakePoints, refuse_lacking_axes
from phoenix_ray.prepare.prepared import Compose, Transform
from phoenix_ray.prepare.temporal import AddMotion, ToFrameRate, ToLength
from phoenix_ray.setting_types import Fraction, PositiveInt, Section


class PointsSettings(Section):
    """The points that a model sees."""

    select: tuple[str, ...] = Field(
        ("upper_body", "hands", "face_128"),
        description="Sets of points (docs/prepare.md), parts (left_hand), `part:indices` (pose:11-16) or `all`, in the "
        "order in which they become columns. The default is the 178 points of `holistic_178`, which other layouts "
        "lack: `coco_133` is for those with whole bodies, `coco_17` for bodies alone.",
    )
    axes: Literal["xy", "xyz"] = Field(
        "xy",
        description="z is a rough estimate of MediaPipe's, least reliable on small frames; 'xyz' includes it. Other "
        "networks have none.",
    )


class CleanSettings(Section):
    """How gaps are filled and jitter is smoothed, in image coordinates."""

    fill: Literal["none", "linear", "hold"] = Field(
        "none",
        description="How frames are filled in which a part was not found. 'linear' goes straight across, 'hold' "
        "repeats the frame before. What was filled is marked in `filled`.",
    )
    longest_gap: PositiveInt | None = Field(
        5, description="Longer gaps, in frames, stay missing: across them filling is invention. none fills all."
    )
    smooth: Literal["none", "one_euro", "savitzky_golay"] = Field(
        "none",
        description="'one_euro' reduces jitter while a hand rests and lags little behind fast ones. "
        "'savitzky_golay' fits parabolas to a window, without lag.",
    )
    one_euro_min_cutoff: Annotated[float, Field(gt=0)] = Field(
        3.0, description="Cut-off in Hz of a point at rest. A lower value reduces jitter and increases lag."
    )
    one_euro_beta: Annotated[float, Field(ge=0)] = Field(
        5.0, description="Rise of the cut-off in Hz for a speed of one image a second. A higher value reduces lag."
    )
    savitzky_golay_window: Annotated[int, Field(ge=3)] = Field(
        7, description="Frames of the window, an odd number. Longer smooths more and flattens quick movements."
    )

    @model_validator(mode="after")
    def _refuse_even_windows(self) -> CleanSettings:
        if self.savitzky_golay_window % 2 == 0:
            raise ValueError("savitzky_golay_window must be odd")
        return self


class TimeSettings(Section):
    """Frame rate and length."""

    frame_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Frames per second to resample to; none keeps the source's."
    )
    length: PositiveInt | None = Field(
        None, description="Frames to resample each video to, whatever its length; none keeps it."
    )
    assumed_frame_rate: Annotated[float, Field(gt=0)] = Field(
        25.0, description="Frames per second where the source has no clock. PHOENIX is 25."
    )


class NormaliseSettings(Section):
    """Origin and unit of the coordinates."""

    reference: Literal["none", "image", "shoulders", "part_box"] = Field(
        "shoulders",
        description="'none' keeps 0..1 over the image. 'image': the origin is its middle, the unit its height. "
        "'shoulders': the origin lies between them, the unit is their distance, so that signers and cameras compare. "
        "'part_box': each part has a box of its own and loses its place in the image.",
    )
    over: Literal["video", "frame"] = Field(
        "video",
        description="'video' takes the median shoulders of the video, so that leaning and turning stay visible; "
        "'frame' takes each frame's own.",
    )
    hands: Literal["as_body", "wrist"] = Field(
        "as_body",
        description="'wrist' moves the origin of each hand to its wrist; only the pose then shows where the hand is.",
    )
    pixel_aspect: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="Width of a pixel over its height as it is meant to be shown. 1.4222 (64/45) undoes the squeeze of "
        "PHOENIX' 210x260 frames.",
    )

    @model_validator(mode="after")
    def _refuse_wrists_in_two_units(self) -> NormaliseSettings:
        if self.reference == "none" and self.hands == "wrist":
            raise ValueError("hands=wrist needs a reference in which x and y are equally long: image, shoulders, …")
        return self


class MirrorSettings(Section):
    """Whether left and right are swapped."""

    mode: Literal["no", "only", "also"] = Field(
        "no",
        description="'only' writes each video mirrored; 'also' writes both, the mirrored one as `<video>.mirrored`. "
        "For random mirroring while training use the transform `Mirror`.",
    )
    splits: tuple[str, ...] = Field(("train",), description="Splits to mirror; empty means all.")


class ChannelSettings(Section):
    """The axes of a point, and how they are stored."""

    motion: Literal["none", "velocity", "acceleration"] = Field(
        "none",
        description="'velocity' adds the change per second of each axis; 'acceleration' adds it and the change of it.",
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32",
        description="float16 halves the files and keeps 11 bits: half a pixel in a thousand. Cannot be undone.",
    )
    missing: Literal["zero", "nan"] = Field(
        "zero", description="What is written where a point is missing. `mask` shows it in both cases."
    )


class HeadsSettings(Section):
    """What heads say of the frames (docs/heads.md)."""

    select: tuple[str, ...] = Field(
        (), description="Heads whose columns are written beside the points, such as emotion; empty: none."
    )
    smooth: bool = Field(
        True,
        description="Smooth logits and values over a frame and the four before it, with EmoNet's weights. A dataset "
        "holds what the networks gave.",
    )


class TextSettings(Section):
    """Vocabularies, made from the training split alone."""

    training_split: str = Field("train", description="The split that vocabularies are made from.")
    lowercase: bool = Field(True, description="Lower-case translations first. Glosses stay as they are.")
    min_count: PositiveInt = Field(1, description="Rarer tokens become <unk>.")


class FilesSettings(Section):
    """The files that are written."""

    format: Literal["npz", "parquet", "webdataset"] = Field(
        "npz",
        description="'npz': a file a video, for random access. 'parquet': a row a video, for Hugging Face datasets and "
        "Ray Data. 'webdataset': tar shards, for streaming.",
    )
    splits: tuple[str, ...] = Field((), description="Only these splits; empty means all.")
    max_unreadable: Fraction = Field(
        1.0,
        description="Videos of whose frames a larger share could not be read (truncated uploads, damaged files) are "
        "left out; 0 takes whole videos alone, 1 takes all and says how many are affected.",
    )
    videos_per_shard: PositiveInt = Field(
        256, description="Videos per Parquet file or tar shard; also the most that a stopped run has to redo."
    )
    placement: bool = Field(
        False,
        description="Also write `scale` and `origin`, which put (predicted) points back into the image: "
        "image = points * scale + origin.",
    )


class PrepareSettings(Section):
    """The whole tree."""

    points: PointsSettings = Field(default_factory=PointsSettings)
    clean: CleanSettings = Field(default_factory=CleanSettings)
    time: TimeSettings = Field(default_factory=TimeSettings)
    mirror: MirrorSettings = Field(default_factory=MirrorSettings)
    normalise: NormaliseSettings = Field(default_factory=NormaliseSettings)
    channels: ChannelSettings = Field(default_factory=ChannelSettings)
    heads: HeadsSettings = Field(default_factory=HeadsSettings)
    text: TextSettings = Field(default_factory=TextSettings)
    files: FilesSettings = Field(default_factory=FilesSettings)


def build_pipeline(settings: PrepareSettings, layout: Layout, mirrored: bool = False) -> Compose:
    """Return the pipeline that settings describe.

    Points that only a normalisation needs (shoulders, wrists) are taken along and dropped at the end.

    Raises:
        ConfigError: The chosen points do not exist in the layout, lack an axis, cannot be mirrored or normalised.
    """
    chosen = resolve_points(layout, settings.points.select)
    refuse_lacking_axes(layout, chosen, settings.points.axes)
    if mirrored:
        _refuse_one_sided(layout, chosen)
    helping = tuple(point for point in _needed(settings, layout, chosen) if point not in chosen)
    words = (*settings.points.select, *(f"{part}:{index}" for part, index in helping))
    time = settings.time
    return Compose(
        TakePoints(
            *words,
            axes=settings.points.axes,
            frame_rate=time.assumed_frame_rate,
            heads=[head.name for head in chosen_heads(settings, layout)],
            smooth_heads=settings.heads.smooth,
        ),
        *_cleaning(settings.clean),
        *([ToFrameRate(time.frame_rate)] if time.frame_rate else []),
        *([ToLength(time.length)] if time.length else []),
        *([Mirror()] if mirrored else []),
        *_normalisations(settings),
        *([KeepPoints(chosen)] if helping else []),
        *([AddMotion(settings.channels.motion == "acceleration")] if settings.channels.motion != "none" else []),
    )


def parts_needed(settings: PrepareSettings, layout: Layout) -> tuple[str, ...]:
    """Return the parts that the pipeline reads, in the order of the layout."""
    chosen = resolve_points(layout, settings.points.select)
    names = {part for part, _ in (*chosen, *_needed(settings, layout, chosen))}
    names |= {head.part for head in chosen_heads(settings, layout)}
    return tuple(part.name for part in layout.parts if part.name in names)


def chosen_heads(settings: PrepareSettings, layout: Layout) -> tuple[Head, ...]:
    """Return the heads that the settings name, in their order.

    Raises:
        ConfigError: The layout has no such head.
    """
    known = {head.name: head for head in layout.heads}
    for name in settings.heads.select:
        if name not in known:
            raise ConfigError(
                f"heads.select: the dataset has no head '{name}'.{did_you_mean(name, known)} "
                f"Its heads: {', '.join(known) or 'none'}."
            )
    return tuple(known[name] for name in dict.fromkeys(settings.heads.select))


def axis_names(settings: PrepareSettings) -> tuple[str, ...]:
    """Return the names of the axes that points will have."""
    orders = {"none": 1, "velocity": 2, "acceleration": 3}[settings.channels.motion]
    return tuple(f"{'d' * order}{axis}" for order in range(orders) for axis in settings.points.axes)


def _needed(settings: PrepareSettings, layout: Layout, chosen: tuple[Point, ...]) -> Iterator[Point]:
    """Yield the points that the normalisation measures by."""
    if settings.normalise.reference == "shoulders":
        shoulders = shoulder_points(layout)
        if not shoulders:
            raise ConfigError(
                f"normalise.reference=shoulders: the layout {layout.name} has no left_shoulder and right_shoulder. "
                "Take image or part_box."
            )
        yield from shoulders
    if settings.normalise.hands == "wrist":
        parts = {part for part, _ in chosen}
        yield from (wrist for wrist in wrist_points(layout) if wrist[0] in parts)


def _cleaning(clean: CleanSettings) -> Iterator[Transform]:
    if clean.fill != "none":
        yield FillGaps(clean.fill, clean.longest_gap)
    if clean.smooth == "one_euro":
        yield OneEuro(clean.one_euro_min_cutoff, clean.one_euro_beta)
    elif clean.smooth == "savitzky_golay":
        yield SavitzkyGolay(clean.savitzky_golay_window)


def _normalisations(settings: PrepareSettings) -> Iterator[Transform]:
    normalise = settings.normalise
    if normalise.reference == "none":
        return
    yield ImageHeights(normalise.pixel_aspect)
    if normalise.reference == "shoulders":
        yield ShoulderWidth(normalise.over)
    elif normalise.reference == "part_box":
        yield PartBoxes()
    if normalise.hands == "wrist":
        yield WristCentred()


def _refuse_one_sided(layout: Layout, chosen: tuple[Point, ...]) -> None:
    sides = counterparts(layout)
    for point in chosen:
        if sides.get(point) not in chosen:
            raise ConfigError(
                f"Mirroring needs both sides, but points.select takes '{point[0]}:{point[1]}' "
                f"({layout.part(point[0]).points[point[1]]}) without its counterpart"
                f"{'.' if point in sides else ', of which the layout says nothing.'}"
            )
