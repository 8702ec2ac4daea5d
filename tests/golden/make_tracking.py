"""Record what MediaPipe 0.10.21 computes inside while it tracks the rendered signer: `signer_tracking.npz`.

Run it in the reference environment, from the root of the repository; it leaves the file as it is where nothing changed:

    make reference
    .venv-reference/bin/python -m tests.golden.make_tracking

`signer.mp4` shows figures of our own making, with a black gap: parts come, go, and come back. With a folder of the full
clips (640 x 480) as an argument, the script makes it again.
"""

from __future__ import annotations

import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.golden import SIGNER, TRACKING, read_signer

# Clip, first frame, end; None is black.
CUTS: tuple[tuple[str | None, int, int], ...] = (
    ("figure_b", 20, 44),
    (None, 0, 5),
    ("figure_b", 44, 60),
    ("figure_c", 0, 12),
)
# The middle of the picture, in the shape of PHOENIX frames.
COLUMNS, WIDTH, HEIGHT = slice(110, 498), 210, 260

_POSE, _HANDS, _FACE = "poselandmarkcpu__", "handlandmarksleftandrightcpu__", "facelandmarksfromposecpu__"
_THRESHOLD = "poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
# Stream of MediaPipe's graph → name in the file.
STREAMS = {
    f"{_POSE}unfiltered_pose_landmarks": "pose_raw",
    f"{_POSE}unfiltered_auxiliary_landmarks": "auxiliary_raw",
    f"{_POSE}unfiltered_world_landmarks": "world_raw",
    f"{_POSE}auxiliary_landmarks": "auxiliary",
    "pose_landmarks": "pose",
    "pose_world_landmarks": "pose_world",
    "pose_landmarks_roi": "body_roi",
    **{
        stream.format(side=side, number=number): name.format(side=side)
        for side, number in (("left", 1), ("right", 2))
        for stream, name in (
            ("{side}_hand_landmarks", "{side}_hand"),
            (_HANDS + "{side}_hand_roi_from_recrop", "{side}_hand_found_roi"),
            (
                _HANDS + "handlandmarksfromposecpu_{number}__handtracking__prev_hand_landmarks_roi",
                "{side}_hand_last_roi",
            ),
            (_HANDS + "{side}_hand_tracking_roi", "{side}_hand_roi"),
        )
    },
    "face_landmarks": "face",
    f"{_FACE}face_roi_from_detection": "face_found_roi",
    f"{_FACE}facetracking__prev_face_landmarks_rect": "face_last_roi",
    f"{_FACE}face_tracking_roi": "face_roi",
}
# Numbers recorded of each point, three where not named here, and points of each part.
_AXES = {"pose_raw": 4, "pose": 4}
_POINTS = {"auxiliary": 2, "world": 33, "pose": 33, "left": 21, "right": 21, "face": 468}


def main() -> None:
    if len(sys.argv) > 1:
        make_clip(Path(sys.argv[1]))
    frames = read_signer()
    arrays: dict[str, Any] = {"frame_crc32": np.array([zlib.crc32(frame.tobytes()) for frame in frames], np.uint32)}
    arrays |= record(frames, smooth=True)
    unsmoothed = record(frames, smooth=False)
    arrays |= {f"{name}_unsmoothed": unsmoothed[name] for name in ("pose", "pose_world", "left_hand", "right_hand")}
    np.savez_compressed(TRACKING, **arrays)
    for name, values in arrays.items():
        found = np.isfinite(values.reshape(len(frames), -1)[:, 0]).sum()
        print(f"{name}: in {found} of {len(frames)} frames")
    print(f"{TRACKING}: {TRACKING.stat().st_size} bytes")


def make_clip(folder: Path) -> None:
    """Write `signer.mp4` from the full clips."""
    with av.open(str(SIGNER), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "20", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for clip, first, last in CUTS:
            for picture in _cut(folder, clip, first, last):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def _cut(folder: Path, clip: str | None, first: int, last: int) -> list[NDArray[np.uint8]]:
    if clip is None:
        return [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * (last - first)
    with av.open(str(folder / f"{clip}.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    cropped = (np.ascontiguousarray(picture[:, COLUMNS]) for picture in pictures[first:last])
    return [
        np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8) for picture in cropped
    ]


def record(frames: list[NDArray[np.uint8]], *, smooth: bool) -> dict[str, NDArray[Any]]:
    """Return each stream as float32 with a row for each frame, NaN where it carries nothing."""
    from mediapipe.python.solution_base import SolutionBase
    from mediapipe.python.solutions import holistic

    graph = SolutionBase(
        binary_graph_path=holistic._BINARYPB_FILE_PATH,
        side_inputs={
            "model_complexity": 1,
            "smooth_landmarks": smooth,
            "enable_segmentation": False,
            "smooth_segmentation": False,
            "refine_face_landmarks": False,
            "use_prev_landmarks": True,
        },
        calculator_params={
            f"{_POSE}posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": 0.5,
            f"{_POSE}{_THRESHOLD}": 0.5,
        },
        outputs=list(STREAMS),
    )
    results = [graph.process({"image": frame}) for frame in frames]
    graph.close()
    return {
        name: np.stack([_numbers(name, getattr(result, stream)) for result in results])
        for stream, name in STREAMS.items()
    }


def _numbers(name: str, packet: Any) -> NDArray[np.float32]:
    if name.endswith("_roi"):
        fields = ("x_center", "y_center", "width", "height", "rotation")
        return np.array([np.nan if packet is None else getattr(packet, field) for field in fields], np.float32)
    axes = ("x", "y", "z", "visibility")[: _AXES.get(name, 3)]
    if packet is None:
        points = next(count for part, count in _POINTS.items() if part in name)
        return np.full((points, len(axes)), np.nan, np.float32)
    return np.array([[getattr(point, axis) for axis in axes] for point in packet.landmark], np.float32)


if __name__ == "__main__":
    main()
