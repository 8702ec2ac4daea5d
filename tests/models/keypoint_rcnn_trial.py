"""Runs KeypointRCNN with random weights in a small build, in a process of its own; prints what it found as JSON.

Torchvision's operators do not load with every build of torch (with torch 2.13.0+cpu they do not). Here `nms` is then
defined in Python before torchvision is imported, and RoIAlign is torchvision's own in Python. That is for this process
alone: it would hide the fault from everything else.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import keypoint_rcnn_network
from phoenix_ray.models.base import LandmarkBatch

Network = Any


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Torchvision's operator: indices of the boxes that stay, by falling score."""
    order = scores.argsort(descending=True, stable=True).tolist()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for index in order:
        if not alive[index]:
            continue
        kept.append(index)
        low = torch.maximum(boxes[index, :2], boxes[:, :2])
        high = torch.minimum(boxes[index, 2:], boxes[:, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        alive &= shared / (areas + areas[index] - shared) <= iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


def load_torchvision() -> bool:
    """Import torchvision; return whether its operators are there."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", nms, "CPU")
        # Torchvision only declares how it behaves in a compiler.
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision.ops import boxes

        boxes._assert_has_ops = lambda: None
        globals()["kept_alive"] = library
        return False
    return True


def small_network() -> Network:
    """The same network with a smaller backbone, smaller pictures and fewer regions."""
    from torchvision.models.detection import KeypointRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=0)
    sizes: dict[str, Any] = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_test": 8, "rpn_pre_nms_top_n_test": 16}
    return KeypointRCNN(backbone, num_classes=2, num_keypoints=17, box_detections_per_img=1, **sizes)


def reference(network: Network, image: np.ndarray[Any, Any]) -> Any:
    """What torchvision's own forward finds in a single picture."""
    with torch.inference_mode():
        return network([torch.from_numpy(image).permute(2, 0, 1).to(torch.float32) / 255])[0]


def describe(batch: LandmarkBatch) -> dict[str, Any]:
    return {
        "points": np.nan_to_num(batch.points["pose"], nan=-1).tolist(),
        "scores": batch.scores["pose"].tolist(),
        "bits": batch.points["pose"].tobytes().hex(),
    }


def main(folder: Path) -> None:
    operators = load_torchvision()
    torch.manual_seed(3)
    keypoint_rcnn_network.build_keypoint_rcnn = small_network
    weights = folder / "weights.pth"
    own = small_network()
    torch.save(own.state_dict(), weights)
    random = np.random.default_rng(5)
    wide = [random.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(3)]
    tall = random.integers(0, 256, (60, 44, 3), dtype=np.uint8)

    def model(batch: int, least: float = 0.0) -> keypoint_rcnn_network.KeypointRcnn:
        settings = ModelSettings(name="keypointrcnn", device="cpu", batch_size=batch, min_detection_confidence=least)
        return keypoint_rcnn_network.KeypointRcnn(settings, weights)

    started = time.perf_counter()
    single, triple = model(1), model(3)
    own.eval()
    theirs = [reference(own, image) for image in (*wide, tall)]
    found = {
        "operators": operators,
        "single": describe(single.estimate([*wide, tall])),
        "mixed": describe(triple.estimate([wide[0], tall, wide[1], wide[2]])),
        "alone": describe(triple.estimate([wide[1]])),
        "least": describe(model(1, least=1.0).estimate([wide[0]])),
        "reference": [
            {name: person[name][:1].tolist() for name in ("keypoints", "keypoints_scores", "scores")}
            for person in theirs
        ],
        "sizes": [[image.shape[1], image.shape[0]] for image in (*wide, tall)],
    }
    try:
        keypoint_rcnn_network._load(own, folder / "damaged.pth")
    except Exception as error:
        found["damaged"] = f"{type(error).__name__}: {error}"
    found["seconds"] = time.perf_counter() - started
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
