"""Who has nothing but docs/manifests.md brings a network of his own, and it runs.

The network is made here, with an input, outputs and points that no published one has. What describes it are the YAML
blocks of the page, as they stand there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import phoenix_ray
from phoenix_ray.cli import cli
from phoenix_ray.models.onnx.catalog import parse_manifest, shipped_folder, shipped_manifests
from phoenix_ray.models.onnx.manifest_fields import tables_as_markdown
from tests.docs.pages import ROOT, Block, blocks

PAGE = "docs/manifests.md"
MANIFESTS = [block for block in blocks("yaml") if block.page == PAGE]
SCORE = 0.5


@pytest.mark.parametrize("block", MANIFESTS, ids=str)
def test_the_manifests_of_the_page_are_right(block: Block) -> None:
    parse_manifest(block.text, Path(str(block)))


def test_the_table_of_fields_is_up_to_date() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert page.endswith(tables_as_markdown()), "replace the tables with what `phoenix-ray models fields` prints"


def test_every_manifest_of_the_package_is_in_the_table_of_models() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    missing = [found.manifest.name for found in shipped_manifests() if f"`{found.manifest.name}`" not in page]
    assert not missing
    assert all(found.path.stem == found.manifest.name for found in shipped_manifests())
    # Only fer's file is the same for everybody: the others are exported, or chosen among several.
    assert [found.manifest.name for found in shipped_manifests() if found.manifest.weights.sha256] == ["fer"]
    assert not [path for path in shipped_folder().rglob("*") if path.suffix not in (".yaml", "")]


def network_of_the_page(path: Path) -> None:
    """Write the network that the page describes.

    Each part follows a colour: its points lie where the pictures, whose channels are the other way round, are reddest
    (pose), greenest (left hand) and bluest (right hand).
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.models.onnx.made_up import write_network

    channel = [2] + 4 * [1] + 4 * [0]
    weights = np.zeros((9, 3, 1, 1), np.float32)
    weights[np.arange(9), channel] = SCORE
    nodes = [
        onnx.helper.make_node("Transpose", ["frames"], ["planes"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        onnx.helper.make_node("Conv", ["cells", "weights"], ["maps"]),
    ]
    write_network(path, nodes, {"frames": ["N", 120, 160, 3]}, {"maps": ["N", 9, 30, 40]}, {"weights": weights})


def test_a_newcomer_brings_a_network_with_the_page_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network_of_the_page(tmp_path / "my_hands.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOENIX_RAY_MODELS", str(tmp_path / "weights"))
    command = ["models", "add", "my_hands.onnx"]

    first = " ".join(CliRunner().invoke(cli, command).output.split())
    (shown,) = (block for block in blocks("") if block.page == PAGE and block.text.startswith("error: my_hands.onnx"))
    assert first.startswith(" ".join(shown.text.split()).removesuffix(" …")), "the page shows another message"

    Path("my_hands.yaml").write_text(MANIFESTS[0].text)
    added = CliRunner().invoke(cli, command)
    assert added.exit_code == 0, added.output
    assert "MIT: keep the notice with copies." in added.output

    name = yaml.safe_load(MANIFESTS[0].text)["name"]
    pixels = np.zeros((150, 240, 3), np.uint8)
    places = {"pose": (60, 45), "left_hand": (120, 90), "right_hand": (201, 117)}
    for channel, (x, y) in enumerate(places.values()):
        pixels[y - 9 : y + 9, x - 9 : x + 9, channel] = 255
    video = phoenix_ray.estimate([pixels, pixels[:, ::-1]], model=name)
    # A cell of the maps is six pixels of this picture, and stands for its upper left corner.
    for part, (x, y) in places.items():
        points = video.points[part] * [240, 150, 1]
        assert np.abs(points[0, :, :2] - (x, y)).max() < 10, part
        assert np.abs(points[1, :, :2] - (240 - x, y)).max() < 10, part
        assert points[:, :, 2] == pytest.approx(SCORE, abs=0.01)
