"""Landmark layouts: which parts a model finds, the names of their points, and which points a drawing joins.

A layout is data. The Parquet columns (`dataset.schema`), the pictures (`viewer`) and the exports follow from it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

Edge = tuple[int, int]

# Columns of each row beside those of parts and heads.
FRAME_COLUMNS = ("split", "video_id", "frame_name", "frame_index", "timestamp", "width", "height", "status", "error")

# An axis that says how sure a point is → from which value on a point counts as seen, and not as a guess: pictures draw
# it faintly below, COCO's v is 1. For MediaPipe's visibility it is MediaPipe's own; scores of other networks have units
# of their own, and 0.3 is what rtmlib, MMPose's demonstrations and converters to OpenPose's format ask for.
SEEN_FROM: Mapping[str, float] = MappingProxyType({"visibility": 0.5, "confidence": 0.3})


@dataclass(frozen=True, slots=True)
class Part:
    """A group of points that is found or missing as a whole; single points of a part that was found may be missing.

    Attributes:
        name: Prefix of its columns: `<name>_<axis>`, `<name>_score`.
        points: The name of each point.
        axes: The values of each point. `x` and `y` are fractions of the image's width and height and `z` is scaled like
            `x`, except in `pose_world`, which is in metres; `visibility` is a probability; `confidence` is the
            network's score of the point, in units of its own.
        edges: Pairs of points that a drawing joins.
        scored: Whether the model gives the part its own presence score.
    """

    name: str
    points: tuple[str, ...]
    axes: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    scored: bool = True

    def columns(self) -> Iterator[str]:
        """Yield the name of each coordinate column, in the order of the axes."""
        return (f"{self.name}_{axis}" for axis in self.axes)

    @property
    def sureness(self) -> str:
        """The axis that says how sure a point is, one of `SEEN_FROM`; empty where the part has none."""
        return next((axis for axis in SEEN_FROM if axis in self.axes), "")


@dataclass(frozen=True, slots=True)
class Head:
    """What a second network says about the crop of a part, such as the expression of a face.

    Attributes:
        name: Prefix of its columns: `<name>_logits`, `<name>_<value>`, `<name>_quality`.
        part: The part that is cropped.
        classes: The name of each class, in the order of the logits; empty for a network without classes.
        values: Numbers beside the classes, such as `valence` and `arousal`.
    """

    name: str
    part: str
    classes: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a frame has: logits, values, quality."""
        return len(self.classes) + len(self.values) + 1

    @property
    def logits_column(self) -> str:
        """Name of the column of lists with a number for each class."""
        return f"{self.name}_logits"

    @property
    def number_columns(self) -> tuple[str, ...]:
        """Names of the columns with one number a frame: the values, then the quality."""
        return tuple(f"{self.name}_{value}" for value in (*self.values, "quality"))

    def columns(self) -> Iterator[str]:
        """Yield the names of its columns in their order."""
        if self.classes:
            yield self.logits_column
        yield from self.number_columns


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts a model finds, in the order of their columns, and what heads say about them."""

    name: str
    parts: tuple[Part, ...]
    heads: tuple[Head, ...] = ()

    def part(self, name: str) -> Part:
        """Return the part of this name; raise KeyError if the layout has none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(
            f"layout {self.name} has no part {name!r}: its parts are {', '.join(part.name for part in self.parts)}"
        )

    def parts_named(self, names: Iterable[str]) -> list[Part]:
        """Return the parts of these names in their order, or of one name; raise KeyError if the layout lacks one."""
        return [self.part(name) for name in ((names,) if isinstance(names, str) else names)]

    def only(self, names: Collection[str]) -> Layout:
        """Return the layout reduced to some of its parts and their heads, in its own order.

        Raises:
            KeyError: It lacks one of the parts.
        """
        wanted = self.parts_named(names)
        kept = {part.name for part in wanted}
        return replace(
            self,
            parts=tuple(part for part in self.parts if part in wanted),
            heads=tuple(head for head in self.heads if head.part in kept),
        )

    def head(self, name: str) -> Head:
        """Return the head of this name; raise KeyError if the layout has none."""
        for head in self.heads:
            if head.name == name:
                return head
        known = ", ".join(head.name for head in self.heads) or "none"
        raise KeyError(f"layout {self.name} has no head {name!r}: its heads are {known}")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which `layout_from_json` makes the same layout."""
        tree: dict[str, Any] = {"name": self.name, "parts": {part.name: _describe(part) for part in self.parts}}
        if self.heads:
            tree["heads"] = {head.name: _describe(head) for head in self.heads}
        return tree


def layout_from_json(tree: Mapping[str, Any]) -> Layout:
    """Return the layout that `Layout.to_json` describes.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: The values do not describe a layout.
    """
    parts = tuple(
        Part(
            str(name),
            tuple(map(str, part["points"])),
            tuple(map(str, part["axes"])),
            tuple((int(first), int(second)) for first, second in part["edges"]),
            bool(part["scored"]),
        )
        for name, part in tree["parts"].items()
    )
    heads = tuple(
        Head(str(name), str(head["part"]), tuple(map(str, head["classes"])), tuple(map(str, head["values"])))
        for name, head in tree.get("heads", {}).items()
    )
    for part in parts:
        if not part.axes or not all(0 <= point < len(part.points) for edge in part.edges for point in edge):
            raise ValueError(f"part {part.name!r} has no axes, or edges to points that it lacks")
    if not {head.part for head in heads} <= {part.name for part in parts}:
        raise ValueError("a head looks at a part that is not there")
    layout = Layout(str(tree["name"]), parts, heads)
    # Half of a surrogate pair in a name could not be written anywhere.
    json.dumps(layout.to_json(), ensure_ascii=False).encode()
    return layout


def chain(*points: int) -> tuple[Edge, ...]:
    """Return the edges from each point to the next."""
    return tuple(pairwise(points))


def loop(*points: int) -> tuple[Edge, ...]:
    """Return the edges of a chain that ends where it began."""
    return chain(*points, points[0])


def _describe(thing: Part | Head) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in thing.__slots__ if name != "name"}
