"""`holistic.pipeline.HolisticPipeline` in kernels: the same stages with the same bits, in a few launches each.

Between the networks a batch takes about twenty launches: a crop kernel for each network, a kernel that makes regions of
ROIs, and one that reads what a network returned, straight into the rows of the result. No value is read back and no
shape depends on one, so a batch can be recorded as a CUDA graph.
"""

from __future__ import annotations

import torch

from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    Networks,
    NetworkSpec,
    PoseOutput,
)
from phoenix_ray.models.holistic.torch_engine.kernels.attention import refine_face
from phoenix_ray.models.holistic.torch_engine.kernels.crops import cut_crops
from phoenix_ray.models.holistic.torch_engine.kernels.detections import body_rois, face_rois
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on
from phoenix_ray.models.holistic.torch_engine.kernels.faces import face_rois_of_pose, read_faces
from phoenix_ray.models.holistic.torch_engine.kernels.hands import hand_rois, hand_rois_of_pose, read_hands
from phoenix_ray.models.holistic.torch_engine.kernels.pose import PoseColumns, read_body, read_pose
from phoenix_ray.models.holistic.torch_engine.kernels.regions import Regions, regions_at, whole_frames
from phoenix_ray.models.holistic.torch_engine.kernels.tracked_pose import filter_bodies
from phoenix_ray.models.holistic.torch_engine.kernels.tracked_regions import (
    remember,
    tracked_body_rois,
    tracked_face_rois,
    tracked_hand_rois,
)
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames


class KernelPipeline:
    """The pipeline in kernels, with networks that take float crops (M, 3, size, size).

    Its methods stand beside those of `HolisticPipeline`: `_body_rois` beside `_body_roi`, `_look_for_poses` with what
    reads its output beside `_body`, `_hand_rois` and `_read_hands` beside `_hand_rois` and `_hands`, `_face_rois` and
    `_read_faces` beside `_face_roi` and `_face`. What `_look` does there is `regions_at` and `_crops` here.

    Args:
        networks: Networks on the device.
        device: Where all computes, with its index.
        heatmap_kernel: Cells per side of the window in which a pose point is refined.
        min_detection_confidence: A detected person counts from this score.
        min_tracking_confidence: A pose counts above this score.
        dtype: float32, or float16 for networks in half precision: what crops are made of.
    """

    def __init__(
        self,
        networks: Networks,
        device: torch.device,
        *,
        heatmap_kernel: int,
        min_detection_confidence: float,
        min_tracking_confidence: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.networks = networks
        self.columns = RowColumns.of_face(networks.face_points)
        self._heatmap_kernel = heatmap_kernel
        self._min_detection_confidence = min_detection_confidence
        self._min_tracking_confidence = min_tracking_confidence
        self._dtype = dtype
        self._pose_anchors = torch.from_numpy(POSE_ANCHORS).to(device)
        self._face_anchors = torch.from_numpy(FACE_ANCHORS).to(device)
        # Made now: while a CUDA graph is recorded, nothing may come from the host.
        powers_on(device)

    def estimate(self, frames: DeviceFrames) -> torch.Tensor:
        """Return the landmarks of N frames, float32 (N, columns), in the order of `RowColumns`; NaN where missing."""
        rows = torch.empty((frames.table.shape[1], self.columns.count), dtype=torch.float32, device=frames.table.device)
        regions, output = self._look_for_poses(frames, self._body_rois(frames, whole_frames(frames, POSE_DETECTION)))
        kernel, minimum = self._heatmap_kernel, self._min_tracking_confidence
        read_pose(frames, regions, output, rows, self._pose_columns, kernel, minimum)
        if self.networks.face_points:
            self._read_hands(frames, self._hand_rois(frames, rows), rows)
            self._read_faces(frames, self._face_rois(frames, rows), rows)
        return rows

    def track(self, frames: DeviceFrames, states: torch.Tensor, *, smooth: bool, detect: bool = True) -> torch.Tensor:
        """Return the landmarks of the next frame of N videos and the states after it, float32 (N, columns + state).

        A video that has not begun, and a slot of the batch without a video, have a state of NaN.

        Args:
            frames: The frames.
            states: float32 (N, `Memory.numbers`): rows of `Memory`, of the frames before.
            smooth: Whether to smooth the pose.
            detect: Whether any video has no body ROI; without such videos the detector need not run.
        """
        count, state_size = states.shape
        rows = torch.empty((count, self.columns.count + state_size), dtype=torch.float32, device=states.device)
        found = self._body_rois(frames, whole_frames(frames, POSE_DETECTION)) if detect else None
        regions, output = self._look_for_poses(frames, tracked_body_rois(states, found))
        body = read_body(frames, regions, output, self._heatmap_kernel, self._min_tracking_confidence)
        filter_bodies(frames, body, states, rows, self._pose_columns, smooth=smooth)
        face_points = self.networks.face_points
        if face_points:
            self._read_hands(frames, tracked_hand_rois(frames, states, self._hand_rois(frames, rows)), rows)
            found = self._face_rois(frames, rows)
            self._read_faces(frames, tracked_face_rois(frames, states, found, face_points), rows)
            remember(rows, self.columns.points["left_hand"], state_size, face_points)
        return rows

    @property
    def _pose_columns(self) -> PoseColumns:
        points, score = self.columns.points, self.columns.score
        return PoseColumns(points["pose"], points["pose_world"], score["pose"])

    def _crops(self, frames: DeviceFrames, regions: Regions, spec: NetworkSpec) -> torch.Tensor:
        return cut_crops(frames, regions, spec, self._dtype)

    def _body_rois(self, frames: DeviceFrames, regions: Regions) -> torch.Tensor:
        """Return the ROI of the most prominent person in each region of the pose detector."""
        boxes = self.networks.pose_detection(self._crops(frames, regions, POSE_DETECTION))
        return body_rois(frames, regions, boxes, self._pose_anchors, self._min_detection_confidence)

    def _look_for_poses(self, frames: DeviceFrames, rois: torch.Tensor) -> tuple[Regions, PoseOutput]:
        """Return the regions of the pose network, and what it finds there."""
        regions = regions_at(frames, rois, POSE_LANDMARK)
        return regions, self.networks.pose_landmark(self._crops(frames, regions, POSE_LANDMARK))

    def _hand_rois(self, frames: DeviceFrames, rows: torch.Tensor) -> torch.Tensor:
        """Return the ROIs that the recrop network finds by the poses in the rows."""
        rois = hand_rois_of_pose(frames, rows, self.columns.points["pose"])
        regions = regions_at(frames, rois, HAND_RECROP)
        return hand_rois(frames, regions, self.networks.hand_recrop(self._crops(frames, regions, HAND_RECROP)))

    def _read_hands(self, frames: DeviceFrames, rois: torch.Tensor, rows: torch.Tensor) -> None:
        """Write the hands within the ROIs into the rows."""
        regions = regions_at(frames, rois, HAND_LANDMARK)
        output = self.networks.hand_landmark(self._crops(frames, regions, HAND_LANDMARK))
        points, score = self.columns.points, self.columns.score
        step = points["right_hand"] - points["left_hand"]
        read_hands(regions, output, rows, points["left_hand"], score["left_hand"], step)

    def _face_rois(self, frames: DeviceFrames, rows: torch.Tensor) -> torch.Tensor:
        """Return the ROIs of the faces that the detector finds around those of the poses in the rows."""
        regions = regions_at(frames, face_rois_of_pose(frames, rows, self.columns.points["pose"]), FACE_DETECTION)
        boxes = self.networks.face_detection(self._crops(frames, regions, FACE_DETECTION))
        return face_rois(frames, regions, boxes, self._face_anchors)

    def _read_faces(self, frames: DeviceFrames, rois: torch.Tensor, rows: torch.Tensor) -> None:
        """Write the faces within the ROIs into the rows."""
        spec = FACE_LANDMARK[self.networks.face_points]
        regions = regions_at(frames, rois, spec)
        output = self.networks.face_landmark(self._crops(frames, regions, spec))
        points, unit = output.mesh, float(spec.size)
        if output.refinements:
            points, unit = refine_face(points, output.refinements, unit), 1.0
        read_faces(regions, points, output.logit, unit, rows, self.columns.points["face"], self.columns.score["face"])
