"""The suite `models-parity`: networks in ONNX files beside the programs of those who trained them.

RTMPose and RTMW: boxes, crops and decoding against MMPose's and rtmlib's own functions, on random boxes and outputs;
MMPose's codecs of heat maps and lightweight OpenPose's fields likewise. YOLO11n-pose: our whole model against
Ultralytics' own predictor, which sees each frame alone, on all frames of the sample datasets or of --source.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import mmpose_functions, openpose_functions
from benchmarks.contestants import in_scratch, run_script
from benchmarks.environments import POSE_NETWORKS, install
from benchmarks.frames import choose_source
from benchmarks.parity import list_frames
from benchmarks.pose_networks import YOLO, YOLO_MANIFEST, run_ultralytics, write_frames, write_manifest, yolo_weights
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.onnx.decoders.heatmap import decode_heatmaps
from phoenix_ray.models.onnx.decoders.paf import decode_fields
from phoenix_ray.models.onnx.decoders.simcc import decode_simcc
from phoenix_ray.models.onnx.manifest import HeatmapDecoder, InputFormat, PafDecoder, SimccDecoder
from phoenix_ray.models.onnx.regions import fill_input, region_of, to_picture
from phoenix_ray.text import counted

SAMPLES = 1000
# Pictures with up to three persons, for lightweight OpenPose.
SCENES = 300
SCORES = {"mmpose": "min", "rtmlib": "mean"}
IMAGENET = {"mean": mmpose_functions.MEAN, "std": mmpose_functions.STD}

Found = Mapping[str, NDArray[Any]]


def run(request: Request) -> Findings:
    """Compare everything once; nothing of it depends on time."""
    if not request.peers:
        raise ConfigError("models-parity compares with other programs: it needs --peers.")
    python = install(POSE_NETWORKS, request.environments, request.announce)
    functions, versions = in_scratch(request.output, lambda scratch: _functions(python, scratch, request))
    fields = in_scratch(request.output, lambda scratch: _fields(python, scratch, request))
    yolo = in_scratch(request.output, lambda scratch: _yolo(python, scratch, request))
    quantities = {name: Rounds.of([value]) for name, value in (*functions, *fields, *yolo)}
    rows = [(name, f"{value.median:.3g}") for name, value in quantities.items()]
    named = ", ".join(f"{package} {version}" for package, version in versions.items())
    notes = [
        f"MMPose's and rtmlib's functions: {SAMPLES:,} random boxes and outputs each. Peers: {named}.",
        "Points that MMPose and rtmlib leave at -1, because their score is not above 0, are missing here and left out.",
        "Ultralytics' predictor sees a frame at a time: in a batch it pads frames to the largest.",
    ]
    frames = f"{SAMPLES:,} random boxes and outputs, and all frames of the sample videos"
    return Findings(frames, 1, [Table(("", "measured"), rows)], quantities, notes)


def _functions(python: Path, scratch: Path, request: Request) -> tuple[list[tuple[str, float]], Mapping[str, str]]:
    """Return what differs from MMPose's and rtmlib's functions, and the versions of the peers."""
    boxes, picture = mmpose_functions.boxes(SAMPLES), mmpose_functions.picture()
    crops = {}
    for network, (size, _) in mmpose_functions.NETWORKS.items():
        form = InputFormat(size=size, resize="affine", padding=1.25, layout="nhwc")
        crops[network] = str(scratch / f"{network}.npy")
        pixels = np.lib.format.open_memmap(crops[network], "w+", np.uint8, (SAMPLES, size[1], size[0], 3))
        for target, box in zip(pixels, boxes, strict=True):
            target[:] = fill_input(picture, region_of(box, form), form)
        pixels.flush()
    request.announce("MMPose's and rtmlib's functions")
    result, _ = run_script(python, mmpose_functions.__file__, {"samples": SAMPLES, "crops": crops}, scratch)
    with np.load(scratch / "result.json.npz") as archive:
        found = {name: archive[name] for name in archive.files}
    measured = [
        (f"{network}: {name}", float(value))
        for network, counts in result["counts"].items()
        for name, value in counts.items()
    ]
    measured += [*_points(boxes, found), *_maps(boxes, found), *_normalised(found)]
    return measured, result["versions"]


def _points(boxes: NDArray[np.float32], found: Found) -> list[tuple[str, float]]:
    measured = []
    for network, (size, _) in mmpose_functions.NETWORKS.items():
        form = InputFormat(size=size, resize="affine", padding=1.25)
        for peer, score in SCORES.items():
            decoder = SimccDecoder.model_validate({"kind": "simcc", "score": score})
            largest, scores = 0.0, 0.0
            for sample, box in enumerate(boxes):
                decoded = decode_simcc(*mmpose_functions.simcc(sample, size), decoder)
                theirs = found[f"{network}_{peer}_scores"][sample]
                points = to_picture(decoded.xy, [region_of(box, form)])[0]
                expected = np.where((theirs > 0)[:, np.newaxis], found[f"{network}_{peer}"][sample], np.nan)
                largest = max(largest, _largest_difference(points, expected))
                scores = max(scores, float(np.abs(decoded.scores[0] - theirs).max()))
            measured += [(f"{network}: px from {peer}", largest), (f"{network}: score from {peer}", scores)]
    return measured


def _maps(boxes: NDArray[np.float32], found: Found) -> list[tuple[str, float]]:
    measured = []
    for name in mmpose_functions.CODECS:
        udp = name == "udp"
        form = InputFormat(size=mmpose_functions.MAP_INPUT, resize="affine", padding=1.25, udp=udp)
        decoder = HeatmapDecoder.model_validate({"kind": "heatmap", "refine": name, "udp": udp})
        largest = 0.0
        for sample, box in enumerate(boxes):
            maps = mmpose_functions.heatmaps(sample)[np.newaxis]
            decoded = decode_heatmaps(maps, decoder, mmpose_functions.MAP_INPUT)
            points = to_picture(decoded.xy, [region_of(box, form)])[0]
            largest = max(largest, _largest_difference(points, found[f"maps_{name}"][sample]))
        measured.append((f"heat maps, {name}: px from mmpose", largest))
    return measured


def _normalised(found: Found) -> list[tuple[str, float]]:
    """Return how far a network's input is from the peers' for each grey value."""
    form = InputFormat.model_validate({"size": (256, 1), "resize": "stretch", "layout": "nhwc", **IMAGENET})
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    values = fill_input(ramp, region_of(np.array([0, 0, 256, 1], np.float32), form), form)[0]
    return [
        ("input from mmpose", float(np.abs(values - found["normalised"]).max())),
        ("input from rtmlib", float(np.abs(values - found["normalised_rtmlib"]).max())),
    ]


def _fields(python: Path, scratch: Path, request: Request) -> list[tuple[str, float]]:
    """Return what differs from lightweight OpenPose's steps."""
    form = InputFormat.model_validate(
        {
            "size": (openpose_functions.HEIGHT, openpose_functions.HEIGHT),
            "channel_order": "bgr",
            "mean": (128,),
            "std": (256,),
            "resize": "height",
            "fill": 128,
            "multiple_of": openpose_functions.CELL,
        }
    )
    # The last two limbs of its table only complete a person.
    limbs = [
        {"points": (start, end), "channels": (channel, channel + 1), "completes": number >= 17}
        for number, (start, end, channel) in enumerate(openpose_functions.LIMBS)
    ]
    decoder = PafDecoder.model_validate(
        {"kind": "paf", "heatmaps": {"output": "maps"}, "fields": {"output": "fields"}, "limbs": limbs}
    )
    inputs, points, scores = {}, [], []
    for sample in range(SCENES):
        image = openpose_functions.picture(sample)
        region = region_of(np.array([0, 0, *image.shape[1::-1]], np.float32), form)
        inputs[sample] = fill_input(image, region, form)
        columns, rows = (side // openpose_functions.CELL for side in region.size)
        maps, fields = openpose_functions.outputs(sample, rows, columns)
        found = decode_fields(maps[:, : openpose_functions.POINTS], fields, decoder)
        points.append(to_picture(found.xy, [region])[0])
        scores.append(np.nan if found.person is None else found.person[0])
    write_frames(list(inputs.values()), scratch / "inputs.npz")
    request.announce("lightweight OpenPose's functions")
    asked = {"samples": SCENES, "inputs": str(scratch / "inputs.npz")}
    result, _ = run_script(python, openpose_functions.__file__, asked, scratch)
    with np.load(scratch / "result.json.npz") as archive:
        theirs, expected = archive["points"], archive["scores"]
    other = (np.isnan(np.stack(points)) != np.isnan(theirs)).any(axis=(1, 2))
    return [
        ("lightweight OpenPose: input", float(result["input"])),
        ("lightweight OpenPose: pictures with a person", float((~np.isnan(expected)).sum())),
        ("lightweight OpenPose: pictures where other points are found", float(other.sum())),
        ("lightweight OpenPose: px", _largest_difference(np.stack(points), theirs)),
        ("lightweight OpenPose: score of the person", _largest_difference(np.array(scores), expected)),
    ]


def _yolo(python: Path, scratch: Path, request: Request) -> list[tuple[str, float]]:
    """Return what differs from Ultralytics' predictor, on its own file and on the ONNX file exported from it."""
    sources = [choose_source(request.source)]
    if request.source is None and sources[0].kind != "sample":
        sources.append(SourceSettings(kind="sample"))
    images = [frame.image for frame in list_frames(sources, 1)]
    network, exported = yolo_weights(python), scratch / f"{YOLO}.onnx"
    request.announce(f"Ultralytics' predictor on {counted(len(images), 'frame')}")
    _, theirs = run_ultralytics(python, network, images, scratch, exported)
    _, theirs_onnx = run_ultralytics(python, exported, images, scratch)
    model = registry.create(ModelSettings(name=str(write_manifest(exported, YOLO_MANIFEST))))
    sizes = np.array([image.shape[1::-1] for image in images]).reshape(-1, 1, 2)
    found = np.concatenate([model.estimate([image]).points["pose"] for image in images])
    model.close()
    nobody = np.isnan(found).all(axis=(1, 2))
    points = found[:, :, :2].astype(np.float64) * sizes
    return [
        (f"{YOLO}: frames", float(len(images))),
        (f"{YOLO}: frames with a person", float((~np.isnan(theirs["person"])).sum())),
        (f"{YOLO}: frames with another presence", float((nobody != np.isnan(theirs["person"])).sum())),
        (f"{YOLO}: px from ultralytics", _largest_difference(points, theirs["points"])),
        (f"{YOLO}: px from ultralytics with the ONNX file", _largest_difference(points, theirs_onnx["points"])),
        (f"{YOLO}: score from ultralytics", _largest_difference(found[:, :, 2], theirs["scores"])),
    ]


def _largest_difference(points: NDArray[Any], expected: NDArray[Any]) -> float:
    both = ~(np.isnan(points) | np.isnan(expected))
    return float(np.abs(points - expected)[both].max(initial=0))
