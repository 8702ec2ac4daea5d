"""H.264 streams in which each field is a picture of its own, as camcorders write them and FFmpeg's encoder does not.

Every macroblock is raw samples (I_PCM), so a few lines of the standard's syntax (ITU-T H.264, 7.3) make a valid stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

# Of a field, in macroblocks of 16 x 16.
COLUMNS, ROWS = 3, 2
_SEQUENCE, _PICTURE, _INSTANT, _OTHER, _DELIMITER = 7, 8, 5, 1, b"\0\0\0\1\x09\x10"


class Bits:
    """Bits of a stream, the first one the highest."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, width: int, *values: int) -> Bits:
        self._bits += [f"{value:0{width}b}" for value in values]
        return self

    def exponential(self, *values: int) -> Bits:
        """Write numbers in the code of Exp-Golomb."""
        for value in values:
            digits = f"{value + 1:b}"
            self._bits.append("0" * (len(digits) - 1) + digits)
        return self

    def align(self) -> Bits:
        self._bits.append("0" * (-len("".join(self._bits)) % 8))
        return self

    def unit(self, kind: int) -> bytes:
        """Return them as a unit of the stream, with no start code inside."""
        text = "".join(self.fixed(1, 1).align()._bits)
        payload = int(text, 2).to_bytes(len(text) // 8, "big")
        unit, zeros = bytearray(), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                unit.append(3)
                zeros = 0
            unit.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([3 << 5 | kind]) + bytes(unit)


def write_fields(path: Path, frames: int = 12) -> Path:
    """Write grey frames of 48x64 pixels at 25 a second, each as two fields; into any container by copying packets."""
    raw = path.with_suffix(".h264")
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_bytes(b"".join(_frame(16 + 10 * index % 200) for index in range(frames)))
    if raw != path:
        with av.open(str(raw)) as reading, av.open(str(path), "w") as writing:
            stream = writing.add_stream_from_template(reading.streams.video[0])
            packets = (packet for packet in reading.demux(video=0) if packet.size)
            for number, packet in enumerate(packets):
                packet.time_base, packet.duration = Fraction(1, 50), 1
                packet.pts = packet.dts = number
                packet.stream = stream
                writing.mux(packet)
        raw.unlink()
    return path


def _frame(grey: int) -> bytes:
    sequence = Bits().fixed(8, 77, 0, 30).exponential(0, 0, 0, 4, 1).fixed(1, 0).exponential(COLUMNS - 1, ROWS - 1)
    # Fields are allowed; the stream says how long a field lasts: 1/50 s.
    sequence.fixed(1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1).fixed(32, 1, 50).fixed(1, 1, 0, 0, 0, 0)
    picture = Bits().exponential(0, 0).fixed(1, 0, 0).exponential(0, 0, 0).fixed(1, 0).fixed(2, 0)
    picture.exponential(0, 0, 0).fixed(1, 1, 0, 0)
    headers = sequence.unit(_SEQUENCE) + picture.unit(_PICTURE)
    return _DELIMITER + headers + _field(grey, bottom=0) + _DELIMITER + _field(grey, bottom=1)


def _field(grey: int, bottom: int) -> bytes:
    slice_bits = Bits().exponential(0, 7, 0).fixed(4, 0).fixed(1, 1, bottom)
    if not bottom:
        slice_bits.exponential(0)
    slice_bits.fixed(8, bottom).fixed(1, *((0,) if bottom else (0, 0))).exponential(0, 1)
    samples: Sequence[int] = [grey] * 256 + [128] * 128
    for _ in range(COLUMNS * ROWS):
        slice_bits.exponential(25).align().fixed(8, *samples)
    return slice_bits.unit(_OTHER if bottom else _INSTANT)
