"""Compressed pixel data without its comments: segments that no decoder needs and that can hold a name.

JPEG and JPEG-LS (ITU-T T.81 B.2, T.87): COM and APPn, but the Adobe segment that tells the colour transform and
the JFIF header without thumbnail. JPEG 2000 and HTJ2K (ITU-T T.800 A.9): COM of the main header, and the boxes
around a codestream. Bytes behind the end of the image go. Everything a decoder reads stays byte for byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

SOI, EOI, SOS, COM, ADOBE, JFIF = 0xD8, 0xD9, 0xDA, 0xFE, 0xEE, 0xE0
J2K_SOC, J2K_SIZ, J2K_SOT, J2K_COM, J2K_EOC = b"\xff\x4f", 0x51, 0x90, 0x64, b"\xff\xd9"
JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in ("50", "51", "57", "70", "80", "81"))
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in ("90", "91", "201", "202", "203"))
RLE = "1.2.840.10008.1.2.5"
# T.81 B.1.1.5, T.87 A.1: behind FF, entropy-coded data has 00 (JPEG) or a bit 7 of zero (JPEG-LS), or a restart.
MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


class UnknownBitstreamError(ValueError):
    """The compressed frames cannot be read, so nobody can say what they hold."""


def clean_fragments(parts: list[bytes], frames: int, transfer_syntax: str) -> list[bytes]:
    """One cleaned fragment a frame.

    Raises:
        UnknownBitstreamError: a syntax without rule, fragments that cannot be told apart, or a damaged frame.
    """
    clean = _cleaner(transfer_syntax)
    if len(parts) == frames:
        return [clean(part) for part in parts]
    if frames == 1 and parts:
        return [clean(b"".join(parts))]
    start = b"\xff\xd8" if transfer_syntax in JPEG else J2K_SOC
    joined: list[bytes] = []
    for part in parts:
        if part.startswith(start) or not joined:
            joined.append(part)
        else:
            joined[-1] += part
    if transfer_syntax == RLE or len(joined) != frames:
        raise UnknownBitstreamError("the fragments cannot be told apart into frames")
    return [clean(frame) for frame in joined]


def _cleaner(transfer_syntax: str) -> Callable[[bytes], bytes]:
    if transfer_syntax in JPEG:
        return clean_jpeg
    if transfer_syntax in JPEG_2000:
        return clean_jpeg_2000
    if transfer_syntax == RLE:
        return clean_rle
    raise UnknownBitstreamError("no rule for this compression")


def clean_jpeg(frame: bytes) -> bytes:
    """A JPEG or JPEG-LS image without comments and application data."""
    if frame[:2] != b"\xff\xd8":
        raise UnknownBitstreamError("a frame does not start as JPEG")
    kept, position, end = [frame[:2]], 2, len(frame)
    while True:
        while frame[position : position + 2] == b"\xff\xff":
            position += 1  # fill bytes, T.81 B.1.1.2
        if position + 2 > end or frame[position] != 0xFF:
            raise UnknownBitstreamError("a frame ends before its image does")
        marker = frame[position + 1]
        if marker == EOI:
            kept.append(frame[position : position + 2])
            return b"".join(kept)
        if position + 4 > end:
            raise UnknownBitstreamError("a frame ends within a segment")
        stop = position + 2 + int(struct.unpack_from(">H", frame, position + 2)[0])
        segment = frame[position:stop]
        if len(segment) < stop - position:
            raise UnknownBitstreamError("a frame ends within a segment")
        if marker == SOS:
            stop = _scan_end(frame, stop)
            segment = frame[position:stop]
        elif (marker == COM or JFIF <= marker <= 0xEF) and not _needed(marker, segment):
            segment = b""
        kept.append(segment)
        position = stop


def _needed(marker: int, segment: bytes) -> bool:
    if marker == ADOBE:
        return segment[4:9] == b"Adobe" and len(segment) == 16
    return marker == JFIF and segment[4:9] == b"JFIF\0" and len(segment) == 18


def _scan_end(frame: bytes, position: int) -> int:
    """Position of the marker behind a scan's entropy-coded data: no stuffing, no restart."""
    found = MARKER.search(frame, position)
    if found is None:
        raise UnknownBitstreamError("a scan has no end")
    return found.start()


def clean_jpeg_2000(frame: bytes) -> bytes:
    """A JPEG 2000 codestream without boxes around it and without comments in its main header."""
    start = frame.find(J2K_SOC + b"\xff\x51")
    if start < 0 or (start and frame[4:8] != b"jP  "):
        raise UnknownBitstreamError("a frame does not start as JPEG 2000")
    kept, position = [J2K_SOC], start + 2
    while True:
        if position + 4 > len(frame) or frame[position] != 0xFF:
            raise UnknownBitstreamError("a frame ends within its main header")
        marker = frame[position + 1]
        if marker == J2K_SOT:
            break
        stop = position + 2 + int(struct.unpack_from(">H", frame, position + 2)[0])
        if marker != J2K_COM:
            kept.append(frame[position:stop])
        position = stop
    return b"".join([*kept, *_tile_parts(frame, position)])


def _tile_parts(frame: bytes, position: int) -> list[bytes]:
    kept: list[bytes] = []
    while frame[position : position + 2] == b"\xff\x90":
        if position + 12 > len(frame):
            raise UnknownBitstreamError("a frame ends within a tile")
        length = int(struct.unpack_from(">L", frame, position + 6)[0])
        # zero: the last tile-part runs to the end of the codestream, A.4.2
        stop = position + length if length else frame.rfind(J2K_EOC)
        if not position < stop <= len(frame):
            raise UnknownBitstreamError("a frame ends within a tile")
        _refuse_tile_comment(frame, position + 12, stop)
        kept.append(frame[position:stop])
        position = stop
    return [*kept, J2K_EOC]


def _refuse_tile_comment(frame: bytes, position: int, stop: int) -> None:
    while position + 4 <= stop and frame[position : position + 2] != b"\xff\x93":
        if frame[position] != 0xFF or frame[position + 1] == J2K_COM:
            raise UnknownBitstreamError("a tile carries a comment")
        position += 2 + int(struct.unpack_from(">H", frame, position + 2)[0])


def clean_rle(frame: bytes) -> bytes:
    """An RLE frame as it is; its header (PS3.5 G.5) must be one, and its unused offsets zero."""
    if len(frame) < 64:
        raise UnknownBitstreamError("an RLE frame is shorter than its header")
    header = struct.unpack_from("<16L", frame)
    if not 1 <= header[0] <= 15 or header[1] != 64 or any(header[1 + header[0] :]):
        raise UnknownBitstreamError("an RLE header is damaged")
    return frame
