"""Landmark layouts: the parts, points and axes that models find."""

from phoenix_ray.layouts.coco import COCO_17, COCO_WHOLEBODY_133
from phoenix_ray.layouts.halpe import HALPE_26
from phoenix_ray.layouts.layout import SEEN_FROM, Edge, Head, Layout, Part, layout_from_json
from phoenix_ray.layouts.mediapipe import BLAZEPOSE, holistic
from phoenix_ray.layouts.openpose import OPENPOSE_18, OPENPOSE_25, OPENPOSE_137

# By name. A dataset with any other layout describes it in its `dataset.json`.
LAYOUTS = {
    layout.name: layout
    for layout in (
        *(holistic(468), holistic(478), BLAZEPOSE, COCO_17, COCO_WHOLEBODY_133),
        *(OPENPOSE_18, OPENPOSE_25, OPENPOSE_137, HALPE_26),
    )
}

__all__ = [
    "BLAZEPOSE",
    "COCO_17",
    "COCO_WHOLEBODY_133",
    "HALPE_26",
    "LAYOUTS",
    "OPENPOSE_18",
    "OPENPOSE_25",
    "OPENPOSE_137",
    "SEEN_FROM",
    "Edge",
    "Head",
    "Layout",
    "Part",
    "holistic",
    "layout_from_json",
]
