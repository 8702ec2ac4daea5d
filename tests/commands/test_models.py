"""`phoenix-ray models add` and its neighbours, with networks that the tests make."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_MODEL, EXIT_OK, EXIT_USAGE

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

import onnx

from tests.models.onnx.made_up import simcc_network, write_network

SIZE = (64, 96)
POINTS = 26
# A manifest as a person writes it: with comments, which stay.
MANIFEST = """\
# Made by the tests.
name: little
license: "MIT: keep the notice."
source: tests/commands/test_models.py
layout: halpe-26
input:
  size: [64, 96]  # width first
  resize: affine
  padding: 1.25
decoder:
  kind: simcc
"""
PAF = """\
name: little
license: none
source: here
layout: halpe-26
input: {size: [64, 96], resize: affine}
decoder:
  kind: paf
  heatmaps: {output: maps, count: 26}
  fields: {output: fields, count: 2}
  limbs: [{points: [0, 1], channels: [0, 1]}]
"""


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def in_one_line(text: str) -> str:
    return " ".join(text.split())


class World(NamedTuple):
    """A folder with a network and its manifest, and a weights folder that is empty."""

    file: Path
    manifest: Path
    weights: Path

    def add(self, *words: str) -> Result:
        return invoke("models", "add", self.file, "--path", self.weights, *words)

    def edit(self, old: str, new: str) -> None:
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))


@pytest.fixture
def world(tmp_path: Path) -> World:
    file = tmp_path / "little.onnx"
    simcc_network(file, POINTS, SIZE)
    manifest = tmp_path / "little.yaml"
    manifest.write_text(MANIFEST)
    return World(file, manifest, tmp_path / "weights")


def test_a_network_is_added_with_its_sha256_and_the_comments_of_its_manifest(world: World) -> None:
    result = world.add()
    assert result.exit_code == EXIT_OK, result.output
    for said in ("input N x 3 x 96 x 64", "simcc_x N x 26 x 128", "pose 26 of 26 points", "MIT: keep the notice."):
        assert said in result.output
    added = (world.weights / "little.yaml").read_text()
    assert "# Made by the tests." in added
    assert "# width first" in added
    assert yaml.safe_load(added)["weights"]["sha256"]
    listed = invoke("models", "list", "--path", world.weights).output
    assert any(line.split()[:3] == ["added", "little", "halpe-26"] for line in listed.splitlines())
    assert invoke("models", "show", "little", "--path", world.weights).output == added


def test_to_add_the_same_again_changes_nothing(world: World) -> None:
    world.add()
    before = {path: path.read_bytes() for path in world.weights.iterdir()}
    result = world.add()
    assert result.exit_code == EXIT_OK
    assert "kept" in result.output
    assert before == {path: path.read_bytes() for path in world.weights.iterdir()}


def test_another_file_of_the_same_name_is_refused_until_it_may_replace(world: World) -> None:
    world.add()
    simcc_network(world.file, POINTS, SIZE, seed=8)
    refused = world.add()
    assert refused.exit_code == EXIT_USAGE
    assert "--replace" in refused.output
    (old,) = world.weights.glob("*.onnx")
    replaced = world.add("--replace")
    assert replaced.exit_code == EXIT_OK
    assert f"unused   {old}" in replaced.output
    assert world.add("--name", "other").exit_code == EXIT_OK
    invoke("models", "remove", "little", "--path", world.weights)
    assert {path.name.partition("-")[0].partition(".")[0] for path in world.weights.iterdir()} == {"other"}


def test_a_network_of_the_package_is_added_by_the_name_of_its_manifest(world: World) -> None:
    simcc_network(world.file, 133, (192, 256))
    assert world.add("--manifest", "rtmw-256x192", "--name", "rtmw-m").exit_code == EXIT_OK
    listed = invoke("models", "list", "--path", world.weights).output
    assert "added    rtmw-m" in listed
    assert "no file  rtmw-256x192" in listed


def test_the_licence_that_a_file_names_is_shown(world: World) -> None:
    model = onnx.load(world.file)
    onnx.helper.set_model_props(model, {"license": "AGPL-3.0 License (https://ultralytics.com/license)"})
    world.file.write_bytes(model.SerializeToString())
    output = world.add().output
    assert "license: AGPL-3.0 License" in output
    assert "another licence" in output
    assert "AGPL-3.0" in (world.weights / "little.yaml").read_text()
    world.edit('"MIT: keep the notice."', '"AGPL-3.0 (Ultralytics): offer the source."')
    assert "another licence" not in world.add("--replace").output


def test_check_finds_a_file_that_changed_or_is_gone(world: World) -> None:
    world.add()
    (file,) = world.weights.glob("*.onnx")
    assert "ok       " + str(world.weights / "little.yaml") in invoke("models", "check", "--path", world.weights).output
    file.write_bytes(file.read_bytes() + b"x")
    result = invoke("models", "check", "--path", world.weights)
    assert result.exit_code == EXIT_MODEL
    assert f"{file} has the sha256" in result.output
    file.unlink()
    assert f"{file} is not there" in invoke("models", "check", "--path", world.weights).output
    (world.weights / "little.yaml").write_text("name: [")
    assert "cannot be read as YAML" in invoke("models", "check", "--path", world.weights).output
    assert "unreadable" in invoke("models", "list", "--path", world.weights).output


def test_an_added_network_is_removed_with_its_files(world: World) -> None:
    world.add("--fp16", str(world.file))
    assert invoke("models", "remove", "little", "--path", world.weights).exit_code == EXIT_OK
    assert list(world.weights.iterdir()) == []
    result = invoke("models", "remove", "little", "--path", world.weights)
    assert result.exit_code == EXIT_USAGE
    assert "Nothing was added there" in result.output


class Bad(NamedTuple):
    """A mistake, and what the user is shown.

    Attributes:
        spoil: Makes the mistake; what it returns are words for the command.
        code: The exit code.
        said: Pieces of the message: the field or file, and the way out.
    """

    spoil: Callable[[World], tuple[str, ...] | None]
    code: int
    said: tuple[str, ...]


def text(old: str, new: str, *said: str, code: int = EXIT_USAGE) -> Bad:
    """A mistake in the manifest."""
    return Bad(lambda world: world.edit(old, new), code, ("little.yaml", *said))


def paf(old: str, new: str, *said: str) -> Bad:
    """A mistake in a manifest with part affinity fields."""

    def spoil(world: World) -> None:
        world.manifest.write_text(PAF)
        world.edit(old, new)

    return Bad(spoil, EXIT_USAGE, ("little.yaml", *said))


def network(*said: str, code: int = EXIT_MODEL, **options: Any) -> Bad:
    """A network of another shape."""
    return Bad(lambda world: simcc_network(world.file, **{"points": POINTS, "size": SIZE, **options}), code, said)


def content(change: Callable[[bytes], bytes], *said: str) -> Bad:
    """Other bytes in the file."""
    return Bad(
        lambda world: (world.file.write_bytes(change(world.file.read_bytes())), None)[1],
        EXIT_MODEL,
        ("little.onnx", *said),
    )


def words(*given: str, said: tuple[str, ...], code: int = EXIT_USAGE) -> Bad:
    """A mistake on the command line."""
    return Bad(lambda world: given, code, said)


def _other_inputs(world: World) -> None:
    model = onnx.load(world.file)
    model.graph.input.append(onnx.helper.make_tensor_value_info("scale", onnx.TensorProto.FLOAT, [1]))
    world.file.write_bytes(model.SerializeToString())


def _takes(kind: int) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        model = onnx.load(world.file)
        (picture,) = model.graph.input
        model.graph.node.insert(0, onnx.helper.make_node("Cast", ["raw"], [picture.name], to=onnx.TensorProto.FLOAT))
        shape = ["N", 3, SIZE[1], SIZE[0]]
        del model.graph.input[:]
        model.graph.input.append(onnx.helper.make_tensor_value_info("raw", kind, shape))
        world.file.write_bytes(model.SerializeToString())

    return spoil


def _dies(world: World) -> None:
    """A network whose declared shapes are right, and which fails on every picture."""
    bins: dict[str, list[int | str]] = {f"simcc_{axis}": ["N", POINTS, f"bins_{axis}"] for axis in "xy"}
    # What the shape will be cannot be known before the picture is.
    nodes = [
        onnx.helper.make_node("ReduceMin", ["input"], ["least"], keepdims=0),
        onnx.helper.make_node("Cast", ["least"], ["whole"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Mul", ["whole", "sides"], ["shape"]),
        onnx.helper.make_node("Reshape", ["input", "shape"], ["simcc_x"]),
        onnx.helper.make_node("Identity", ["simcc_x"], ["simcc_y"]),
    ]
    write_network(world.file, nodes, {"input": ["N", 3, 96, 64]}, bins, {"sides": np.array([7, 7, 7], np.int64)})


def _hides_its_points(world: World) -> None:
    """A file that leaves the number of its points open, as exports with open sizes do."""
    nodes = [
        onnx.helper.make_node("ReduceMin", ["input"], ["least"], keepdims=0),
        onnx.helper.make_node("Cast", ["least"], ["whole"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Sub", ["whole", "whole"], ["nothing"]),
    ]
    constants = {}
    for axis, bins in (("x", 2 * SIZE[0]), ("y", 2 * SIZE[1])):
        constants[f"sides_{axis}"] = np.array([1, -1, bins], np.int64)
        nodes.append(onnx.helper.make_node("Add", [f"sides_{axis}", "nothing"], [f"shape_{axis}"]))
        nodes.append(onnx.helper.make_node("Reshape", ["input", f"shape_{axis}"], [f"simcc_{axis}"]))
    outputs: dict[str, list[int | str]] = {f"simcc_{axis}": ["N", "points", f"bins_{axis}"] for axis in "xy"}
    write_network(world.file, nodes, {"input": ["N", 3, 96, 64]}, outputs, constants)


def _fixed_batch(world: World) -> None:
    model = onnx.load(world.file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    world.file.write_bytes(model.SerializeToString())


def _two_outputs_of_one_name(world: World) -> None:
    world.edit("kind: simcc", "kind: heatmap")


def _unreadable(world: World) -> None:
    world.manifest.write_bytes(b"name: \xff\xfe")


def _folder(world: World) -> None:
    world.file.unlink()
    world.file.mkdir()


def _file_as_folder(world: World) -> tuple[str, ...]:
    world.weights.write_text("a file where the weights folder should be")
    return ()


BAD: dict[str, Bad] = {
    "unknown field": text("padding", "pading", "no field input.pading", "Did you mean 'padding'?"),
    "unknown field at the top": text("source:", "sauce: x\nsource:", "no field sauce", "source"),
    "missing licence": text('license: "MIT: keep the notice."\n', "", "license is missing"),
    "missing input": text("  size: [64, 96]  # width first\n", "", "input.size is missing"),
    "wrong type": text("1.25", "wide", "input.padding", "'wide'"),
    "unknown layout": text("halpe-26", "halpe-27", "no layout 'halpe-27'", "Did you mean 'halpe-26'?"),
    "layout with z": text("halpe-26", "holistic-468", "layout: 'holistic-468' has more than x, y and a score"),
    "unknown decoder": text("simcc", "simc", "decoder.kind: there is no 'simc', only 'simcc'"),
    "missing decoder kind": text("kind: simcc", "x: simcc_x", "decoder.kind is missing"),
    "unknown kind": text("name: little", "name: little\nkind: poses", "kind: there is no 'poses'", "detector"),
    "mean of two numbers": text("padding: 1.25", "mean: [1, 2]", "input.mean: it has 2", "1 or 3 numbers"),
    "std of four numbers": text("padding: 1.25", "std: [1, 2, 3, 4]", "input.std"),
    "std for 0 to 1": text("padding: 1.25", "std: [0.229, 0.224, 0.225]", "input.std", "by 255"),
    "std that is no number": text("padding: 1.25", "std: [.nan]", "input.std", "finite number"),
    "endless padding": text("padding: 1.25", "padding: .inf", "input.padding", "finite number"),
    "endless size": text("[64, 96]", "[64, 1000000000]", "input.size.1", "less than or equal to 8192"),
    "name like a path": text(
        "name: little", "name: little.yaml", "name: 'little.yaml' would be taken for a file's path"
    ),
    "std of 0": text("padding: 1.25", "std: [1, 0, 1]", "input.std", "must not be 0"),
    "fill out of range": text("padding: 1.25", "fill: 256", "input.fill", "less than or equal to 255"),
    "size of 0": text("[64, 96]", "[0, 96]", "input.size.0", "greater than or equal to 1"),
    "one side": text("[64, 96]", "[64]", "input.size.1 is missing"),
    "padding of a letterbox": text("affine", "letterbox", "input.padding", "affine or stretch, not to 'letterbox'"),
    "position of a cut": text("padding: 1.25", "position: top_left", "input.position", "letterbox or height"),
    "no multiple": text(
        "affine\n  padding: 1.25", "letterbox\n  multiple_of: 40", "input.multiple_of", "not a multiple of 40"
    ),
    "simcc of any width": text("affine\n  padding: 1.25", "height", "decoder.kind", "must have one size"),
    "x is y": text("kind: simcc", "kind: simcc\n  y: simcc_x", "decoder.y", "both the output 'simcc_x'"),
    "even window": text("kind: simcc", "kind: heatmap\n  blur_kernel: 10", "decoder.blur_kernel", "not an odd number"),
    "udp in one place": text("kind: simcc", "kind: heatmap\n  udp: true", "input.udp", "both or neither"),
    "too few to keep": text("layout: halpe-26", "layout: halpe-26\nkeep: [0, 1]", "keep: it has 2 points", "layout 26"),
    "kept twice": text(
        "layout: halpe-26", f"layout: halpe-26\nkeep: {[0, *range(25)]}", "keep: it names 0 more than once", "'pose'"
    ),
    "kept below 0": text("layout: halpe-26", f"layout: halpe-26\nkeep: {list(range(-1, 25))}", "keep.0", "to 0"),
    "name with a slash": text("name: little", "name: a/b", "name: write small letters", "no slash"),
    "file with a slash": text("layout:", "weights: {file: ../x.onnx}\nlayout:", "weights.file", "without a folder"),
    "no sha256": text("layout:", "weights: {sha256: 12ab}\nlayout:", "weights.sha256", "64 hexadecimal digits"),
    "no YAML": text("source:", "source: [", "cannot be read as YAML"),
    "no mapping": Bad(lambda world: (world.manifest.write_text("- a\n"), None)[1], EXIT_USAGE, ("must hold fields",)),
    "no text": Bad(_unreadable, EXIT_USAGE, ("little.yaml", "not text in UTF-8")),
    "points twice": text(
        "layout: halpe-26",
        "layout: {name: own, parts: [{name: a, points: [p, p]}]}",
        "layout.parts.0.points",
        "names p",
    ),
    "parts twice": text(
        "layout: halpe-26",
        "layout: {name: own, parts: [{name: a, points: [p]}, {name: a, points: [q]}]}",
        "layout.parts: it names a more than once",
    ),
    "no parts": text("layout: halpe-26", "layout: {name: own, parts: []}", "layout.parts", "at least 1 item"),
    "edge out of range": text(
        "layout: halpe-26",
        "layout: {name: own, parts: [{name: a, points: [p, q], edges: [[0, 2]]}]}",
        "[0, 2]",
        "0 to 1",
    ),
    "layout of a known name": text(
        "layout: halpe-26", "layout: {name: coco-17, parts: [{name: a, points: [p]}]}", "layout.name", "another name"
    ),
    "limb to a point too far": paf("[0, 1], ch", "[0, 26], ch", "decoder.limbs.0.points", "0 to 25"),
    "limb to itself": paf("[0, 1], ch", "[1, 1], ch", "decoder.limbs.0.points", "joins two points"),
    "channel too far": paf("channels: [0, 1]", "channels: [0, 2]", "decoder.limbs.0.channels", "0 to 1"),
    "no limbs": paf("[{points: [0, 1], channels: [0, 1]}]", "[]", "decoder.limbs: it is empty"),
    "maps and points": paf("count: 26", "count: 25", "decoder.heatmaps.count", "26 points"),
    "wrong sha256": text(
        "layout:", f"weights: {{sha256: {'f' * 64}}}\nlayout:", "weights.sha256", "fetch the file", code=EXIT_MODEL
    ),
    "empty file": content(lambda _: b"", "is empty"),
    "no ONNX": content(lambda _: b"PK\x03\x04 a zip", "not an ONNX network", ".zip"),
    "truncated": content(lambda whole: whole[: len(whole) // 2], "not an ONNX network", "Is it whole"),
    "wrong input name": text(
        "input:", "input:\n  name: image", "input.name: the network has no input 'image', only input", code=EXIT_MODEL
    ),
    "two inputs": Bad(_other_inputs, EXIT_MODEL, ("only networks of one input run", "input, scale")),
    "wrong input size": network("input.size", "N x 3 x 64 x 96", "64 wide and 96 high", size=(96, 64)),
    "channels last": text("padding: 1.25", "layout: nhwc", "input.layout", "64 channels as nhwc", code=EXIT_MODEL),
    "wrong channels": text(
        "padding: 1.25", "channel_order: grey", "input.channel_order", "3 channels", code=EXIT_MODEL
    ),
    "bytes": Bad(_takes(onnx.TensorProto.UINT8), EXIT_MODEL, ("'raw' takes tensor(uint8)", "float32")),
    "fixed batch": Bad(_fixed_batch, EXIT_MODEL, ("always takes 4 pictures", "open batch")),
    "wrong output name": text(
        "kind: simcc", "kind: simcc\n  x: out", "decoder.x: the network has no output 'out'", "simcc_x", code=EXIT_MODEL
    ),
    "two outputs": Bad(
        _two_outputs_of_one_name, EXIT_MODEL, ("decoder.output is empty", "2 outputs: simcc_x, simcc_y")
    ),
    "wrong dimensions": text(
        "kind: simcc",
        "kind: heatmap\n  output: simcc_x",
        "decoder.output",
        "N x points x height x width",
        code=EXIT_MODEL,
    ),
    "wrong number of points": network("'simcc_x' is N x 17 x 128", "layout halpe-26 has 26", points=17),
    "kept point too far": text(
        "layout: halpe-26", f"layout: halpe-26\nkeep: {list(range(1, 27))}", "keep names point 26", code=EXIT_MODEL
    ),
    "wrong number of bins": network("256 bins, not 64 pixels", "decoder.split_ratio", split_ratio=4),
    "one size only": text(
        "affine\n  padding: 1.25\ndecoder:\n  kind: simcc",
        "letterbox\n  multiple_of: 32\ndecoder:\n  kind: heatmap\n  output: simcc_x",
        "input.multiple_of",
        "open size",
        code=EXIT_MODEL,
    ),
    "more points than it says": Bad(_hides_its_points, EXIT_MODEL, ("other outputs", "'simcc_x' is 1 x 144 x 128")),
    "fails on a picture": Bad(
        _dies,
        EXIT_MODEL,
        ("little.onnx cannot compute an input of (1, 3, 96, 64)", "Compare its manifest", "models add"),
    ),
    "no file": Bad(lambda world: world.file.unlink(), EXIT_MODEL, ("There is no file", "little.onnx")),
    "a folder": Bad(_folder, EXIT_MODEL, ("little.onnx is not a file",)),
    "no manifest": Bad(
        lambda world: world.manifest.unlink(),
        EXIT_USAGE,
        ("has no manifest", "--manifest", "input N x 3 x 96 x 64", "simcc_x N x 26 x 128"),
    ),
    "no such manifest": words(
        "--manifest", "rtmw-256", said=("no manifest 'rtmw-256'", "Did you mean 'rtmw-256x192'?")
    ),
    "no manifest at a path": words("--manifest", "there/x.yaml", said=("There is no manifest there/x.yaml",)),
    "name of a model": words("--name", "holistic", said=("holistic is a model of phoenix_ray", "--name")),
    "bad name": words("--name", "A b", said=("name: write small letters",)),
    "folder is a file": Bad(_file_as_folder, EXIT_MODEL, ("cannot be written", "--path")),
    "no half": words("--fp16", "none.onnx", said=("none.onnx cannot be read",), code=EXIT_MODEL),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_named_with_its_field_and_the_way_out(mistake: str, world: World) -> None:
    bad = BAD[mistake]
    result = world.add(*(bad.spoil(world) or ()))
    message = in_one_line(result.output)
    assert result.exit_code == bad.code, message
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    for said in bad.said:
        assert said in message, message
    assert not world.weights.is_dir() or not list(world.weights.iterdir()), "something was added"


def test_without_onnxruntime_the_extra_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find_spec(name, *rest)
    )
    result = world.add()
    assert result.exit_code == EXIT_USAGE
    assert "phoenix-ray[onnx]" in result.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(world: World) -> None:
    world.weights.mkdir(mode=0o500)
    result = world.add()
    assert result.exit_code == EXIT_MODEL
    assert str(world.weights) in result.output


def test_fields_are_printed_as_the_page_has_them() -> None:
    assert "| `input.size` | list of 2 whole numbers | required |" in invoke("models", "fields").output


def test_a_name_that_looks_like_a_path_is_refused(world: World) -> None:
    refused = world.add("--name", "net.yaml")
    assert refused.exit_code == EXIT_USAGE
    assert "taken for a file's path" in refused.output


def test_to_remove_a_network_leaves_one_whose_name_begins_alike(world: World) -> None:
    alike = "little-0123456789ab"
    world.add()
    world.add("--name", alike)
    assert invoke("models", "remove", "little", "--path", world.weights).exit_code == EXIT_OK
    left = {path.name for path in world.weights.iterdir()}
    assert f"{alike}.yaml" in left
    assert any(name.startswith(f"{alike}-") and name.endswith(".onnx") for name in left)
    assert len(left) == 2
