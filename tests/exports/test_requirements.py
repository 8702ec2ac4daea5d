from __future__ import annotations

import pytest

from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.registry import FORMATS
from phoenix_ray.exports.requirements import fitting_formats, require_format
from phoenix_ray.layouts import (
    BLAZEPOSE,
    COCO_17,
    COCO_WHOLEBODY_133,
    HALPE_26,
    OPENPOSE_18,
    OPENPOSE_25,
    OPENPOSE_137,
    Layout,
    Part,
    holistic,
)

ANY = {"npz", "csv", "webdataset", "pose", "delta"}
BODY = ANY | {"coco", "openpose"}
WHOLE_BODY = BODY | {"mska", "twostream"}
FACE_WITHOUT_NAMES = Layout(
    "numbers", (BLAZEPOSE.part("pose"), Part("face", tuple(f"face_{point}" for point in range(200)), ("x", "y")))
)


@pytest.mark.parametrize(
    ("layout", "formats"),
    [
        (holistic(468), {form.name for form in FORMATS}),
        (holistic(478), {form.name for form in FORMATS}),
        (COCO_WHOLEBODY_133, WHOLE_BODY),
        (OPENPOSE_137, WHOLE_BODY),
        (BLAZEPOSE, BODY),
        (COCO_17, BODY),
        (OPENPOSE_18, BODY),
        (OPENPOSE_25, BODY),
        (HALPE_26, BODY),
        (Layout("mouse", (Part("whiskers", ("tip",), ("x", "y", "confidence")),)), ANY),
        (Layout("named", (Part("body", COCO_17.part("pose").points, ("x", "y")),)), BODY),
        (FACE_WITHOUT_NAMES, ANY),
    ],
    ids=lambda value: value.name if isinstance(value, Layout) else "",
)
def test_each_layout_has_its_formats(layout: Layout, formats: set[str]) -> None:
    assert set(fitting_formats(layout)) == formats
    for form in FORMATS:
        if form.name in formats:
            require_format(layout, form.name)
        else:
            with pytest.raises(ConfigError, match=f"format '{form.name}' .*{layout.name}.*written as npz, csv"):
                require_format(layout, form.name)


@pytest.mark.parametrize(
    ("layout", "form", "message"),
    [
        (BLAZEPOSE, "mska", r"needs all 133 points .* 17 of 17 of body, 6 of 6 of feet, 0 of 68 of face"),
        (COCO_17, "kaggle", "needs MediaPipe Holistic's landmarks; the layout coco-17 has 17 points of 'pose', not 33"),
        (COCO_17, "mska", "0 of 21 of right_hand"),
        (Layout("x", (Part("tail", ("tip",), ("x", "y")),)), "coco", "17 points of COCO's body; the layout x has none"),
        (FACE_WITHOUT_NAMES, "openpose", "knows no point of 'face' of the layout numbers"),
    ],
)
def test_what_is_lacking_is_said(layout: Layout, form: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_format(layout, form)
