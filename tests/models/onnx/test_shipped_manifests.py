"""The manifests of the package, against the shapes that the published networks have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from phoenix_ray.layouts import LAYOUTS
from phoenix_ray.layouts.correspondence import coco_133_points
from phoenix_ray.models.onnx.catalog import LocatedManifest, shipped_manifests
from phoenix_ray.models.onnx.manifest import PafDecoder, PoseManifest
from phoenix_ray.models.onnx.network_file import NetworkFacts, Shape, mismatches
from phoenix_ray.models.onnx.network_layout import layout_of_manifest

ROOT = Path(__file__).parents[3]
SHIPPED = {found.path.stem: found for found in shipped_manifests()}
FLOAT = "tensor(float)"


def simcc(points: int, width: int, height: int) -> tuple[Shape, dict[str, Shape]]:
    return ("N", 3, height, width), {"simcc_x": ("N", points, 2 * width), "simcc_y": ("N", points, 2 * height)}


def maps(points: int, width: int, height: int) -> tuple[Shape, dict[str, Shape]]:
    return ("N", 3, height, width), {"heatmaps": ("N", points, height // 4, width // 4)}


def boxes(size: int) -> tuple[Shape, dict[str, Shape]]:
    return (1, 3, size, size), {"dets": (1, "boxes", 5), "labels": (1, "boxes")}


ANY: Shape = ("N", 3, "h", "w")
# Input and outputs of the exports that the manifests are for.
PUBLISHED: dict[str, tuple[Shape, dict[str, Shape]]] = {
    "rtmw-256x192": simcc(133, 192, 256),
    "rtmw-384x288": simcc(133, 288, 384),
    "rtmpose-wholebody-256x192": simcc(133, 192, 256),
    "rtmpose-wholebody-384x288": simcc(133, 288, 384),
    "rtmpose-body-256x192": simcc(17, 192, 256),
    "rtmpose-body-384x288": simcc(17, 288, 384),
    "rtmpose-halpe26-256x192": simcc(26, 192, 256),
    "rtmpose-halpe26-384x288": simcc(26, 288, 384),
    "vitpose-body": maps(17, 192, 256),
    "vitpose-wholebody": maps(133, 192, 256),
    "sapiens-17": maps(17, 768, 1024),
    "sapiens-133": maps(133, 768, 1024),
    "sapiens-308-hands": maps(308, 768, 1024),
    "sdpose-wholebody": maps(133, 768, 1024),
    "yolo-pose": (ANY, {"output0": ("N", 56, "anchors")}),
    "yolo-pose-640": ((1, 3, 640, 640), {"output0": (1, 56, 8400)}),
    "yolo-person": (ANY, {"output0": ("N", 84, "anchors")}),
    "yolox-humanart-640": boxes(640),
    "yolox-humanart-416": boxes(416),
    "yolox-coco-640": ((1, 3, 640, 640), {"output": (1, 8400, 85)}),
    "rtmdet-person-640": boxes(640),
    "rtmdet-person-320": boxes(320),
    "openpose-body25": (ANY, {"net_output": ("N", 78, "h", "w")}),
    "openpose-coco18": (ANY, {"net_output": ("N", 57, "h", "w")}),
    "lightweight-openpose-18": (
        ANY,
        {
            "stage_0_output_1_heatmaps": ("N", 19, "h", "w"),
            "stage_0_output_0_pafs": ("N", 38, "h", "w"),
            "stage_1_output_1_heatmaps": ("N", 19, "h", "w"),
            "stage_1_output_0_pafs": ("N", 38, "h", "w"),
        },
    ),
}
INPUT_NAMES = {"lightweight-openpose-18": "data"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_manifest_fits_the_published_network(name: str) -> None:
    shape, outputs = PUBLISHED[name]
    called = INPUT_NAMES.get(name, "input")
    facts = NetworkFacts({called: shape}, {called: FLOAT}, outputs, {})
    assert mismatches(SHIPPED[name].manifest, facts) == []


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "openpose" not in name])
def test_a_manifest_does_not_fit_another_network(name: str) -> None:
    shape, outputs = simcc(21, 64, 64)
    facts = NetworkFacts({"input": shape}, {"input": FLOAT}, outputs, {})
    assert mismatches(SHIPPED[name].manifest, facts)


def test_every_network_that_finds_points_or_boxes_has_its_shapes_here() -> None:
    assert {name for name, found in SHIPPED.items() if found.manifest.kind != "head"} == set(PUBLISHED)


@pytest.mark.parametrize("found", SHIPPED.values(), ids=SHIPPED)
def test_a_manifest_says_what_its_licence_asks_and_where_the_file_comes_from(found: LocatedManifest) -> None:
    name, colon, asks = found.manifest.license.partition(":")
    assert colon
    assert 2 < len(name) < 60
    assert len(asks) > 10
    assert len(found.manifest.source) > 10
    text = found.path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    comment = " ".join(text.partition("\nname:")[0].replace("\n#", "").split())
    assert "run here" in comment or "erified" in comment, "say what was verified and what only read"


@pytest.mark.parametrize("name", ["openpose-body25", "openpose-coco18", "lightweight-openpose-18"])
def test_limbs_join_all_points_and_use_each_channel_once(name: str) -> None:
    manifest = SHIPPED[name].manifest
    assert isinstance(manifest, PoseManifest)
    decoder = manifest.decoder
    assert isinstance(decoder, PafDecoder)
    points = {point for limb in decoder.limbs for point in limb.points}
    assert points == set(range(len(layout_of_manifest(manifest).parts[0].points)))
    channels = sorted(channel for limb in decoder.limbs for channel in limb.channels)
    assert channels == list(range(2 * len(decoder.limbs)))


def test_the_hands_of_sapiens_are_those_of_coco_wholebody() -> None:
    """By the names in goliath.py: fingers come tip first there, and the wrist last."""
    manifest = SHIPPED["sapiens-308-hands"].manifest
    assert isinstance(manifest, PoseManifest)
    layout = layout_of_manifest(manifest)
    whole = LAYOUTS["coco-wholebody-133"]
    for part in layout.parts:
        assert part == whole.part(part.name)
    found = coco_133_points(layout)
    assert [index for index, point in enumerate(found) if point is None] == list(range(23, 91)), "all but the face"
    assert len(manifest.keep) == 65
    left, right = manifest.keep[23:44], manifest.keep[44:]
    assert left[0] == manifest.keep[9] == 62
    assert right[0] == manifest.keep[10] == 41
    assert [point - 21 for point in left[1:]] == list(right[1:]), "left hand after right"
    assert list(right[1:5]) == [24, 23, 22, 21]


def test_no_module_imports_the_code_of_these_networks() -> None:
    """Their licences would bind the package, or they need an environment of their own."""
    foreign = {"ultralytics", "mmpose", "mmcv", "mmdet", "mmdeploy", "mmengine", "rtmlib", "emonet", "sapiens"}
    found = set()
    for path in (ROOT / "phoenix_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {(path.name, alias.name.partition(".")[0]) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add((path.name, node.module.partition(".")[0]))
    assert not [(path, name) for path, name in found if name in foreign]
    suffixes = {path.suffix for path in (ROOT / "phoenix_ray" / "models").rglob("*") if path.is_file()}
    assert suffixes <= {".py", ".yaml", ".pyc", ".txt", ".npz"}, "weights are not shipped"
