"""Which files are videos and which are frames, by the endings of their names."""

from __future__ import annotations

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (
    # MP4 and its relatives, Matroska, and what Windows and the web used.
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".ogv", ".ogm", ".avi", ".divx"),
    *(".wmv", ".asf", ".flv", ".rm", ".rmvb", ".gif"),
    # Broadcast, discs and camcorders: transport and program streams, MXF, DV.
    *(".mts", ".m2ts", ".m2t", ".ts", ".tod", ".mpg", ".mpeg", ".mpe", ".vob", ".mod", ".mxf", ".dv"),
    # Streams without a container.
    *(".h264", ".264", ".h265", ".265", ".hevc", ".m1v", ".m2v", ".mjpeg", ".mjpg", ".ivf", ".y4m"),
)
_FRAME_SUFFIXES = frozenset(FRAME_SUFFIXES)
_VIDEO_SUFFIXES = frozenset(VIDEO_SUFFIXES)


def is_frame_name(name: str) -> bool:
    """Return whether a file of this name is a frame. Hidden files are not: macOS puts `._name.png` beside pictures."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in _FRAME_SUFFIXES


def is_video_name(name: str) -> bool:
    """Return whether a file of this name is a video. Hidden files are not: macOS leaves `._name.mp4` beside videos."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in _VIDEO_SUFFIXES
