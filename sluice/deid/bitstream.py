"""Compressed pixel data without its comments: segments that no decoder needs and that can hold a name.

JPEG and JPEG-LS (ITU-T T.81 B.2, T.87): COM and APPn, but the Adobe segment that tells the colour transform and
the JFIF header without thumbnail. JPEG 2000 and HTJ2K (ITU-T T.800 A.9): COM of the main header, and the boxes
around a codestream. Bytes behind the end of the image go. Everything a decoder reads stays byte for byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial

SOI, EOI, SOS, COM, ADOBE, JFIF = 0xD8, 0xD9, 0xDA, 0xFE, 0xEE, 0xE0
J2K_SOC, J2K_SIZ, J2K_SOT, J2K_COM, J2K_EOC = b"\xff\x4f", 0x51, 0x90, 0x64, b"\xff\xd9"
JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in ("50", "51", "57", "70", "80", "81"))
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in ("90", "91", "201", "202", "203"))
RLE = "1.2.840.10008.1.2.5"
# T.81 B.1.1.5, T.87 A.1: behind FF, entropy-coded data has 00 (JPEG) or a bit 7 of zero (JPEG-LS), or a restart.
# Segments that a decoder reads: SOFn with DHT and DAC, DQT, DNL, DRI, SOF55 and LSE of JPEG-LS. Others are refused.
DECODED = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xF7, 0xF8}) - {0xC8}
# T.800 A.2, T.814: CAP, SIZ, COD, COC, TLM, PRF, PLM, CPF, QCD, QCC, RGN, POC, PPM, CRG.
J2K_DECODED = frozenset([0x50, 0x51, 0x52, 0x53, 0x55, 0x56, 0x57, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x63])
MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


class UnknownBitstreamError(ValueError):
    """The compressed frames cannot be read, so nobody can say what they hold."""


def clean_fragments(parts: list[bytes], frames: int, transfer_syntax: str, pixels: int | None = None) -> list[bytes]:
    """One cleaned fragment a frame.

    Args:
        pixels: of a frame; RLE segments are cut where they are complete.

    Raises:
        UnknownBitstreamError: a syntax without rule, fragments that cannot be told apart, or a damaged frame.
    """
    clean = _cleaner(transfer_syntax, pixels)
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


def _cleaner(transfer_syntax: str, pixels: int | None) -> Callable[[bytes], bytes]:
    if transfer_syntax in JPEG:
        return clean_jpeg
    if transfer_syntax in JPEG_2000:
        return clean_jpeg_2000
    if transfer_syntax == RLE:
        return partial(clean_rle, pixels=pixels)
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
        elif marker == COM or JFIF <= marker <= 0xEF:
            segment = segment if _needed(marker, segment) else b""
        elif marker not in DECODED:
            raise UnknownBitstreamError("a frame has a segment that no decoder needs")
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
        if marker != J2K_COM and marker not in J2K_DECODED:
            raise UnknownBitstreamError("a main header has a segment that no decoder needs")
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


def clean_rle(frame: bytes, pixels: int | None = None) -> bytes:
    """An RLE frame (PS3.5 annex G) without what stands behind the last byte that its segments need.

    Args:
        pixels: of the frame, each one byte of every segment; where None the segments are not cut.
    """
    if len(frame) < 64:
        raise UnknownBitstreamError("an RLE frame is shorter than its header")
    count, *offsets = struct.unpack_from("<16L", frame)
    if not 1 <= count <= 15 or offsets[0] != 64 or any(offsets[count:]):
        raise UnknownBitstreamError("an RLE header is damaged")
    ends = [*offsets[1:count], len(frame)]
    if sorted(offsets[:count]) != offsets[:count] or offsets[count - 1] > len(frame):
        raise UnknownBitstreamError("an RLE header is damaged")
    if pixels is None:
        return frame
    spans = [
        (start, _segment_end(frame, start, end, pixels), end) for start, end in zip(offsets[:count], ends, strict=True)
    ]
    if all(end - needed <= 1 and not any(frame[needed:end]) for _, needed, end in spans):
        return frame  # nothing but the padding to an even length
    segments = [frame[start:needed] for start, needed, _ in spans]
    padded = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, padded[:number])) for number in range(count)]
    return struct.pack("<16L", count, *starts, *[0] * (15 - count)) + b"".join(padded)


def _segment_end(frame: bytes, position: int, end: int, needed: int) -> int:
    """Where a segment has given all its bytes (PS3.5 G.3.1)."""
    produced = 0
    while produced < needed:
        if position >= end:
            raise UnknownBitstreamError("an RLE segment is too short")
        control = frame[position]
        if control < 128:
            produced += control + 1
            position += control + 2
        elif control > 128:
            produced += 257 - control
            position += 2
        else:
            position += 1
    if position > end:
        raise UnknownBitstreamError("an RLE segment is too short")
    return position
