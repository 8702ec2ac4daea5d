"""Runs torchvision's KeypointRCNN: frames of one size at a time, one person a frame, the same numbers in any batch.

Torchvision pads a batch to its largest picture, and lets the regions of all pictures go through the heads together. So
that nothing depends on a frame's neighbours, frames are grouped by size, a batch is filled up to its full size, and the
heads see the regions of one frame at a time; only the part that sees whole pictures is batched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.layouts import COCO_17
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.torch_engine.device import choose_device, numerics
from phoenix_ray.models.keypoint_rcnn import keypoint_rcnn_batch_size

_PART = COCO_17.parts[0]
Image = NDArray[np.uint8]


class KeypointRcnn:
    """KeypointRCNN with torchvision's weights COCO_V1; a `PoseModel`.

    The person is the detection of the highest score, if that reaches `model.min_detection_confidence`. A point's
    confidence is the value of its map, a logit without bounds: torchvision marks every point as visible.

    Args:
        settings: Device, threads, batch size, least score of a person.
        weights: The file of weights.

    Raises:
        ModelError: Torchvision does not load with this torch, the file is not its weights, or this machine lacks the
            device.
    """

    layout = COCO_17

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        self._device = choose_device(settings.device)
        torch.set_num_threads(settings.threads)
        if self._device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(settings.memory_fraction, self._device)
        self.batch_size = keypoint_rcnn_batch_size(settings)
        self._least_score = settings.min_detection_confidence
        self._network = build_keypoint_rcnn()
        _load(self._network, weights)
        self._network.to(self._device).eval()

    def estimate(self, images: Sequence[Image]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""
        points = np.full((len(images), len(_PART.points), 3), np.nan, np.float32)
        scores = np.zeros(len(images), np.float32)
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            sizes.setdefault(image.shape, []).append(place)
        with torch.inference_mode(), numerics("exact"):
            for places in sizes.values():
                for first in range(0, len(places), self.batch_size):
                    some = places[first : first + self.batch_size]
                    found = self._find([images[place] for place in some])
                    for place, (score, person) in zip(some, found, strict=True):
                        scores[place] = score
                        if person is not None:
                            height, width, _ = images[place].shape
                            points[place] = person / np.array([width, height, 1], np.float32)
        return LandmarkBatch({_PART.name: points}, {_PART.name: scores})

    def close(self) -> None:
        """Free the network and the memory that torch caches for it."""
        del self._network
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _find(self, images: Sequence[Image]) -> list[tuple[float, NDArray[np.float32] | None]]:
        """Return the highest score and the person's points for each of up to `batch_size` images of one size.

        The score is 0 without a detection. Points are float32 (17, 3): pixels and a logit; None where the score is too
        low.
        """
        pixels = np.zeros((self.batch_size, *images[0].shape), np.uint8)
        pixels[: len(images)] = images
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).to(torch.float32) / 255
        network = self._network
        pictures, _ = network.transform(list(batch))
        features: Mapping[str, Any] = network.backbone(pictures.tensors)
        regions, _ = network.rpn(pictures, features)
        size = images[0].shape[:2]
        found = []
        for place in range(len(images)):
            own = {name: maps[place : place + 1] for name, maps in features.items()}
            detected, _ = network.roi_heads(own, [regions[place]], [pictures.image_sizes[place]])
            (person,) = network.transform.postprocess(detected, [pictures.image_sizes[place]], [size])
            found.append(self._first_person(person))
        return found

    def _first_person(self, detected: Mapping[str, Any]) -> tuple[float, NDArray[np.float32] | None]:
        # Detections come in the order of their scores, and there is at most one.
        if not len(detected["scores"]):
            return 0.0, None
        score = float(detected["scores"][0])
        if score < self._least_score:
            return score, None
        places = detected["keypoints"][0, :, :2].cpu().numpy()
        logits = detected["keypoints_scores"][0].cpu().numpy()
        return score, np.column_stack([places, logits]).astype(np.float32)


def build_keypoint_rcnn() -> Any:
    """Return `torchvision.models.detection.keypointrcnn_resnet50_fpn` as its weights COCO_V1 want it, but empty.

    It has frozen batch normalisation, whose epsilon is 0 for these weights (torchvision's `overwrite_eps`), and keeps
    one detection: keypoints are computed person by person, and we want the first.

    Raises:
        ModelError: Torchvision does not load with this torch.
    """
    try:
        from torchvision.models.detection import KeypointRCNN
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.ops import FrozenBatchNorm2d
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelError(
            f"torchvision does not load with torch {torch.__version__} ({error}). Install builds of both for the same "
            "device: torchvision 0.28 goes with torch 2.13."
        ) from None
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    network = KeypointRCNN(backbone, num_classes=2, num_keypoints=len(_PART.points), box_detections_per_img=1)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    return network


def _load(network: Any, weights: Path) -> None:
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:
        # Each damaged file fails in its own way; nothing of it is run.
        # What torch writes after its first sentence proposes to run the file.
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise ModelError(f"{weights} does not hold the weights of KeypointRCNN: {reason}.") from None
