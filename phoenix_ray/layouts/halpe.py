"""Halpe's body of 26 points: COCO's 17, then head, neck, hips and feet."""

from __future__ import annotations

from phoenix_ray.layouts.coco import BODY_EDGES, BODY_NAMES, IMAGE_AXES
from phoenix_ray.layouts.layout import Layout, Part, chain

HALPE_POINTS = (
    *BODY_NAMES,
    *("head", "neck", "middle_hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe"),
    *("left_heel", "right_heel"),
)
# Shoulders and hips are joined through neck and middle of the hips.
_SIDES = {(11, 12), (5, 11), (6, 12), (5, 6)}
HALPE_EDGES = (
    *(edge for edge in BODY_EDGES if edge not in _SIDES),
    *chain(17, 18, 19),
    *chain(5, 18, 6),
    *chain(11, 19, 12),
    *((15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25)),
)
HALPE_26 = Layout("halpe-26", (Part("pose", HALPE_POINTS, IMAGE_AXES, HALPE_EDGES),))
