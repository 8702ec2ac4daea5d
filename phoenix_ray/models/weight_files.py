"""Which files the networks are in, and which settings need them.

They are data that MediaPipe publishes under the Apache License 2.0. Most are in its wheel. The pose networks of
complexity 0 and 2 are not: MediaPipe downloads them on first use from an address of its own, and its npm package for
browsers holds the same bytes. `weights` keeps the files in a folder, `weight_sources` brings them.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.model_settings import ModelSettings

MEDIAPIPE_VERSION = "0.10.21"

# The number names one state of the file, as in MediaPipe's third_party/external_files.bzl. Without it the address gives
# what was put there last: for lite, since April 2023, another network, which is made for MediaPipe Tasks.
_ASSETS = "https://storage.googleapis.com/mediapipe-assets/{}.tflite?generation={}"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The file of one network.

    Attributes:
        name: The network's name; its file is `<name>.tflite`.
        sha256: The file's sha256, in hexadecimal digits.
        size: The file's size, in bytes.
        member: Path inside the wheel, and beside MediaPipe's package where it is installed.
        model: Value of `model.name` that needs the network, None if all do.
        complexity: Value of `model.complexity` that needs it, None if all do.
        face_points: Value of `model.face_points` that needs it, None if all do.
        url: Address of a file that the wheel lacks, else empty.
    """

    name: str
    sha256: str
    size: int
    member: str
    model: str | None = None
    complexity: int | None = None
    face_points: int | None = None
    url: str = ""

    @property
    def file_name(self) -> str:
        """Name of the file in the weights folder."""
        return f"{self.name}.tflite"

    def is_needed(self, settings: ModelSettings) -> bool:
        """Return whether a model of MediaPipe's with these settings runs the network."""
        return (
            self.model in (None, settings.name)
            and self.complexity in (None, settings.complexity)
            and self.face_points in (None, settings.face_points)
        )


WEIGHTS: tuple[WeightFile, ...] = (
    WeightFile(
        "pose_detection",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        2_959_046,
        "mediapipe/modules/pose_detection/pose_detection.tflite",
    ),
    WeightFile(
        "pose_landmark_lite",
        "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
        2_819_824,
        "mediapipe/modules/pose_landmark/pose_landmark_lite.tflite",
        complexity=0,
        url=_ASSETS.format("pose_landmark_lite", 1661875901231143),
    ),
    WeightFile(
        "pose_landmark_full",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        6_440_512,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        complexity=1,
    ),
    WeightFile(
        "pose_landmark_heavy",
        "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
        27_709_200,
        "mediapipe/modules/pose_landmark/pose_landmark_heavy.tflite",
        complexity=2,
        url=_ASSETS.format("pose_landmark_heavy", 1661875897944151),
    ),
    WeightFile(
        "hand_recrop",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
        123_792,
        "mediapipe/modules/holistic_landmark/hand_recrop.tflite",
        model="holistic",
    ),
    WeightFile(
        "hand_landmark_full",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        5_478_917,
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        model="holistic",
    ),
    WeightFile(
        "face_detection_short_range",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        229_714,
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        model="holistic",
    ),
    WeightFile(
        "face_landmark",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        1_242_398,
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        model="holistic",
        face_points=468,
    ),
    WeightFile(
        "face_landmark_with_attention",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        2_495_106,
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        model="holistic",
        face_points=478,
    ),
)
