"""What MMPose 1.3.2 and rtmlib 0.0.16 compute themselves before and after a network, on random boxes and outputs.

`models_parity` runs this file with the Python of an environment of its own, so it imports nothing of phoenix_ray.

    python mmpose_functions.py REQUEST RESULT

REQUEST is a JSON file with `samples`, how many boxes and outputs, and `crops`, the files with phoenix_ray's crops.
RESULT is a JSON file; the numbers are in RESULT.npz. MMPose needs compiled packages that no longer exist for current
releases of torch; its own functions are plain numpy and OpenCV, so the packages around them are replaced by empty ones.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Input sizes of RTMPose and RTMW, and sigmas of their SimCC, which only visibility needs.
NETWORKS = {"rtmpose": ((192, 256), (4.9, 5.66)), "rtmw": ((288, 384), (6.0, 6.93))}
POINTS = 133
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Codecs of heat maps: name → MMPose's class, its arguments, the input's size.
MAP_SIZE, MAP_INPUT = (48, 64), (192, 256)
CODECS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "quarter": ("msra_heatmap", "MSRAHeatmap", {"sigma": 2.0}),
    "dark": ("msra_heatmap", "MSRAHeatmap", {"sigma": 2.0, "unbiased": True}),
    "udp": ("udp_heatmap", "UDPHeatmap", {"sigma": 2.0}),
}


def picture() -> NDArray[np.uint8]:
    """Return the picture that every box is cut from, RGB, noise at several scales: uint8 (260, 210, 3)."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 200, (26, 21, 3)).repeat(10, axis=0).repeat(10, axis=1)
    return np.asarray(coarse + random.integers(0, 56, coarse.shape), dtype=np.uint8)


def boxes(samples: int) -> NDArray[np.float32]:
    """Return boxes within and beyond the picture, float32 (samples, 4)."""
    random = np.random.default_rng(2)
    corner, extent = random.uniform(-60, 180, (samples, 2)), random.uniform(4, 320, (samples, 2))
    found = np.concatenate([corner, corner + extent], axis=1)
    # Some have whole numbers, as those of whole pictures.
    found[::5] = found[::5].round()
    found[0] = 0, 0, 210, 260
    return found.astype(np.float32)


def simcc(sample: int, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a network's outputs with equal maxima, and maxima below 0: float32 (1, points, 2 * side) for x and y."""
    random = np.random.default_rng((3, sample))
    shift = random.integers(-40, 60, (1, POINTS, 1))
    x, y = ((random.integers(0, 64, (1, POINTS, 2 * side)) / 64 + shift / 32).astype(np.float32) for side in size)
    return x, y


def heatmaps(sample: int) -> NDArray[np.float32]:
    """Return a network's heat maps: bumps anywhere, also at the edges, with noise: float32 (17, height, width)."""
    random = np.random.default_rng((4, sample))
    width, height = MAP_SIZE
    x, y = np.arange(width), np.arange(height)[:, np.newaxis]
    maps = []
    for _ in range(17):
        at, sigma, high = random.uniform((0, 0), MAP_SIZE), random.uniform(1.5, 3), random.uniform(0.2, 1)
        bump = high * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
        maps.append(bump + random.normal(0, 0.005, bump.shape))
    return np.stack(maps).astype(np.float32)


class EmptyModule(types.ModuleType):
    """A package that is not installed: every name in it is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class EmptyRegistry:
    """Takes classes, as MMPose's registries do, and returns them unchanged."""

    def register_module(self, *_: Any, **__: Any) -> Any:
        """Return a decorator that does nothing."""
        return lambda cls: cls


def import_mmpose() -> dict[str, Any]:
    """Return the modules of MMPose that hold its functions, by their last name."""
    spec = importlib.util.find_spec("mmpose")
    folder = Path(str(spec and spec.origin)).parent
    for name in ("mmcv", "mmcv.transforms", "mmcv.image", "mmengine", "mmengine.dist", "mmengine.utils"):
        sys.modules[name] = EmptyModule(name)
    vars(sys.modules["mmengine"])["is_seq_of"] = lambda values, kind: all(isinstance(value, kind) for value in values)
    vars(sys.modules["mmengine.utils"])["is_method_overridden"] = lambda *_: True
    registry = EmptyModule("mmpose.registry")
    vars(registry).update(TRANSFORMS=EmptyRegistry(), KEYPOINT_CODECS=EmptyRegistry())
    for name in ("mmpose", "mmpose.structures", "mmpose.codecs", "mmpose.codecs.utils", "mmpose.datasets"):
        package = EmptyModule(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    transforms = EmptyModule("mmpose.datasets.transforms")
    transforms.__path__ = [str(folder / "datasets" / "transforms")]
    sys.modules |= {"mmpose.registry": registry, "mmpose.datasets.transforms": transforms}
    utils = sys.modules["mmpose.codecs.utils"]
    for name in ("post_processing", "refinement", "gaussian_heatmap"):
        module = importlib.import_module(f"mmpose.codecs.utils.{name}")
        vars(utils).update({key: value for key, value in vars(module).items() if not key.startswith("_")})
    modules = {
        name: importlib.import_module(f"mmpose.codecs.{name}")
        for name in ("simcc_label", "msra_heatmap", "udp_heatmap")
    }
    modules["topdown"] = importlib.import_module("mmpose.datasets.transforms.topdown_transforms")
    modules["bbox"] = importlib.import_module("mmpose.structures.bbox")
    return modules


def mmpose_crop(modules: dict[str, Any], box: NDArray[np.float32], size: tuple[int, int], udp: bool) -> dict[str, Any]:
    """Return what GetBBoxCenterScale and TopdownAffine give: `img`, `input_center`, `input_scale`."""
    center, scale = modules["bbox"].bbox_xyxy2cs(box[np.newaxis], padding=1.25)
    results = {"img": picture(), "bbox_center": center, "bbox_scale": scale}
    transform = modules["topdown"].TopdownAffine(input_size=size, use_udp=udp)
    found: dict[str, Any] = transform.transform(results)
    return found


def to_picture(keypoints: Any, crop: dict[str, Any], size: tuple[int, int]) -> Any:
    """Return points of the input in the picture, as TopdownPoseEstimator.add_pred_to_datasample."""
    return keypoints / size * crop["input_scale"] + crop["input_center"] - 0.5 * crop["input_scale"]


def compare_networks(
    modules: dict[str, Any], samples: int, crops: dict[str, str], found: dict[str, Any]
) -> dict[str, Any]:
    """Put points and scores into `found`; return how many crops and pixels differ from phoenix_ray's, by network."""
    from rtmlib.tools.pose_estimation.rtmpose import RTMPose

    counts: dict[str, Any] = {}
    for network, (size, sigma) in NETWORKS.items():
        ours = np.load(crops[network], mmap_mode="r")
        codec = modules["simcc_label"].SimCCLabel(size, sigma=sigma, normalize=False, use_dark=False)
        rtmpose = RTMPose.__new__(RTMPose)
        rtmpose.model_input_size, rtmpose.mean, rtmpose.std = size, None, None
        rows: dict[str, list[Any]] = {"mmpose": [], "mmpose_scores": [], "rtmlib": [], "rtmlib_scores": []}
        different, largest, pixels = 0, 0, 0
        for sample, box in enumerate(boxes(samples)):
            outputs = simcc(sample, size)
            crop = mmpose_crop(modules, box, size, udp=False)
            different += not np.array_equal(crop["img"], ours[sample])
            keypoints, scores = codec.decode(*outputs)
            rows["mmpose"].append(to_picture(keypoints, crop, size)[0])
            rows["mmpose_scores"].append(scores[0])
            image, center, scale = rtmpose.preprocess(picture(), box)
            levels = np.abs(image.astype(int) - ours[sample])
            largest, pixels = max(largest, int(levels.max())), pixels + int((levels > 0).sum())
            keypoints, scores = rtmpose.postprocess(outputs, center, scale)
            rows["rtmlib"].append(keypoints[0])
            rows["rtmlib_scores"].append(scores[0])
        found |= {f"{network}_{name}": np.stack(values) for name, values in rows.items()}
        counts[network] = {
            "crops that differ from MMPose's": different,
            "share of values that differ from rtmlib's": pixels / ours.size,
            "largest difference from rtmlib's, grey levels": largest,
        }
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    import torch

    # BaseDataPreprocessor of mmengine.
    values = (torch.from_numpy(ramp).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    found["normalised"] = values.numpy()[0]
    rtmpose.mean, rtmpose.std = MEAN, STD
    found["normalised_rtmlib"] = ((ramp - np.array(MEAN)) / np.array(STD)).astype(np.float32)[0]
    return counts


def decode_maps(modules: dict[str, Any], samples: int, found: dict[str, Any]) -> None:
    """Put the points of heat maps in the picture, and their scores, into `found`, by codec."""
    for name, (module, codec_class, options) in CODECS.items():
        codec = getattr(modules[module], codec_class)(MAP_INPUT, MAP_SIZE, **options)
        keypoints, scores = [], []
        for sample, box in enumerate(boxes(samples)):
            crop = mmpose_crop(modules, box, MAP_INPUT, udp=name == "udp")
            decoded, score = codec.decode(heatmaps(sample))
            keypoints.append(to_picture(decoded, crop, MAP_INPUT)[0])
            scores.append(score[0])
        found |= {f"maps_{name}": np.stack(keypoints), f"maps_{name}_scores": np.stack(scores)}
    matrices = [
        modules["bbox"].get_udp_warp_matrix(crop["input_center"], crop["input_scale"], 0.0, MAP_INPUT)
        for crop in (mmpose_crop(modules, box, MAP_INPUT, udp=True) for box in boxes(samples))
    ]
    found["udp_matrices"] = np.stack(matrices)


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    modules = import_mmpose()
    counts = compare_networks(modules, request["samples"], request["crops"], found)
    decode_maps(modules, request["samples"], found)
    np.savez(result_file + ".npz", **found)
    packages = ("mmpose", "rtmlib", "numpy", "opencv-python-headless", "torch")
    versions = {name: importlib.metadata.version(name) for name in packages}
    Path(result_file).write_text(json.dumps({"counts": counts, "versions": versions}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
