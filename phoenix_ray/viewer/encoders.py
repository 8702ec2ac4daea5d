"""Write pictures as a moving picture: H.264 in an MP4 file, or an animated GIF.

Called by `moving_pictures`. A writer takes one picture at a time, so memory does not grow with their number. The file
appears under its name when it is complete.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_ray.errors import OutputError
from phoenix_ray.viewer.overlay import Image

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph

# No loss of quality is visible at CRF 18. Slower presets than `veryfast` gain a few percent here, and cost twice the
# time: between frames, little but the lines moves.
_X264 = {"crf": "18", "preset": "veryfast"}
# ITU-R BT.709 in FFmpeg's numbers, for matrix, primaries and transfer. Players assume it for a picture of this height.
_BT709 = 1
# A clock that holds every common frame rate exactly, for pictures at uneven intervals.
_CLOCK = Fraction(1, 90_000)
# GIF counts hundredths of a second, and browsers show a picture of fewer than two for ten.
_GIF_CLOCK = Fraction(1, 100)
GIF_FEWEST_TICKS = 2


@dataclass(frozen=True, slots=True)
class TimedPicture:
    """A picture and when it is shown.

    Attributes:
        image: RGB uint8 (height, width, 3); all of a file have one size, both sides even.
        seconds: From the start of the file; pictures come in order.
    """

    image: Image
    seconds: float


@contextmanager
def complete_file(file: Path) -> Iterator[Path]:
    """Give a temporary path next to `file`, which takes its name where the block ends without an error.

    Raises:
        OutputError: It cannot be written.
    """
    from av import FFmpegError

    temporary = file.parent / f".{secrets.token_hex(8)}.partial"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError("it is a folder")
        # Here, not after minutes of drawing, the user learns that the folder cannot be written.
        temporary.touch(exist_ok=False)
        yield temporary
        temporary.replace(file)
    # OverflowError: a time stamp beyond what the file can hold.
    except (OSError, FFmpegError, OverflowError) as error:
        raise OutputError(f"{file} cannot be written: {error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_mp4(path: Path, pictures: Iterable[TimedPicture], rate: Fraction, even: bool) -> float:
    """Write pictures as H.264 (yuv420p, constant quality), with its index in front so that it plays while it loads.

    Args:
        path: The file.
        pictures: At least one.
        rate: Pictures per second, the average where intervals vary.
        even: Whether all intervals are equal; otherwise the file keeps each picture's time.

    Returns:
        How many seconds the file plays.

    Raises:
        OSError, av.FFmpegError: It cannot be written.
    """
    import av

    clock = 1 / rate if even else _CLOCK
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=_X264)
        coder = stream.codec_context
        coder.pix_fmt, coder.time_base = "yuv420p", clock
        coder.colorspace = coder.color_primaries = coder.color_trc = _BT709
        ticks, last = 0, round(1 / rate / clock)
        for ticks, image in _on_clock(pictures, clock, 1):
            if ticks == 0:
                coder.height, coder.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709"
            )
            frame.pts, frame.time_base = ticks, clock
            container.mux(_lasting(coder.encode(frame), last))
        container.mux(_lasting(coder.encode(None), last))
    return float((ticks + last) * clock)


def write_gif(path: Path, pictures: Iterable[TimedPicture], sample: Sequence[Image], rate: Fraction) -> float:
    """Write pictures as an animated GIF that repeats for ever, in 255 colours chosen from a sample of its pictures.

    Delays are rounded so that the whole keeps its length. Pictures closer than `GIF_FEWEST_TICKS` are spread.

    Returns:
        How many seconds the file plays.

    Raises:
        OSError, av.FFmpegError: It cannot be written.
    """
    import av

    height, width = sample[0].shape[:2]
    colouring = _Colouring(sample)
    ticks, last = 0, max(GIF_FEWEST_TICKS, round(1 / rate / _GIF_CLOCK))
    with av.open(str(path), "w", format="gif", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=1 / _GIF_CLOCK)
        coder = stream.codec_context
        coder.width, coder.height, coder.pix_fmt, coder.time_base = width, height, "pal8", _GIF_CLOCK
        for ticks, image in _on_clock(pictures, _GIF_CLOCK, GIF_FEWEST_TICKS):
            for frame in colouring.feed(image, ticks):
                container.mux(_lasting(coder.encode(frame), last))
        for frame in colouring.finish():
            container.mux(_lasting(coder.encode(frame), last))
        container.mux(_lasting(coder.encode(None), last))
    return float((ticks + last) * _GIF_CLOCK)


def _on_clock(pictures: Iterable[TimedPicture], clock: Fraction, fewest: int) -> Iterator[tuple[int, Image]]:
    """Yield (ticks, image), each at least `fewest` ticks after the one before, the first at 0."""
    earliest = 0
    for picture in pictures:
        ticks = max(earliest, round(picture.seconds / clock))
        earliest = ticks + fewest
        yield ticks, picture.image


def _lasting(packets: Iterable[Any], ticks: int) -> list[Any]:
    """Return packets that last a picture's time: how long the last is shown, as none follows it."""
    packets = list(packets)
    for packet in packets:
        packet.duration = ticks
    return packets


class _Colouring:
    """FFmpeg's filters that reduce pictures to a palette: one for the whole file, without dithering.

    Dots of dithering change from picture to picture, flicker and, since GIF stores what changes, cost more bytes than
    they hide of the frame's gradients.
    """

    def __init__(self, sample: Sequence[Image]) -> None:
        import av.filter

        self._graph = av.filter.Graph()
        self._source = _add_source(self._graph, sample[0], "rgb24")
        palette = _find_palette(sample)
        palettes = _add_source(self._graph, palette.to_ndarray(), palette.format.name)
        use = self._graph.add("paletteuse", "dither=none:diff_mode=rectangle")
        self._sink = self._graph.add("buffersink")
        self._source.link_to(use, 0, 0)
        palettes.link_to(use, 0, 1)
        use.link_to(self._sink)
        self._graph.configure()
        palette.pts, palette.time_base = 0, _GIF_CLOCK
        palettes.push(palette)
        palettes.push(None)

    def feed(self, image: Image, ticks: int) -> Iterator[VideoFrame]:
        """Pass in a picture; yield what is ready."""
        self._source.push(_to_frame(image, ticks))
        return _ready(self._sink)

    def finish(self) -> Iterator[VideoFrame]:
        """Yield the rest."""
        self._source.push(None)
        return _ready(self._sink)


def _find_palette(sample: Sequence[Image]) -> VideoFrame:
    import av.filter

    graph = av.filter.Graph()
    source = _add_source(graph, sample[0], "rgb24")
    # The 256th colour is transparent: what did not change since the picture before.
    generate, sink = graph.add("palettegen", "max_colors=255:stats_mode=full"), graph.add("buffersink")
    source.link_to(generate)
    generate.link_to(sink)
    graph.configure()
    for ticks, image in enumerate(sample):
        source.push(_to_frame(image, ticks))
    source.push(None)
    (palette,) = _ready(sink)
    return palette


def _add_source(graph: Graph, image: Image, pixels: str) -> Any:
    height, width = image.shape[:2]
    return graph.add_buffer(width=width, height=height, format=pixels, time_base=_GIF_CLOCK)


def _to_frame(image: Image, ticks: int) -> VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = ticks, _GIF_CLOCK
    return frame


def _ready(sink: Any) -> Iterator[VideoFrame]:
    import av

    while True:
        try:
            frame: VideoFrame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        frame.time_base = _GIF_CLOCK
        yield frame
