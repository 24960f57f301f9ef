"""A cheap digest of pixels, which names candidates for equal ones; `sluice.headers.whole_pixels` proves them."""

from __future__ import annotations

import hashlib

from sluice.headers.source import File

PIECE = 1 << 10
PIECES = 4
DIGEST_BYTES = 16


def pixel_pieces(file: File, offset: int, length: int) -> bytes:
    """Pieces of a value, spread evenly; all of it where it is short.

    Args:
        offset, length: where the value stands, bytes.
    """
    if length <= PIECE * PIECES:
        return file.at(offset, length)
    step = (length - PIECE) // (PIECES - 1)
    return b"".join([file.at(offset + number * step, PIECE) for number in range(PIECES)])


def pixel_digest(pieces: bytes, length: int, rows: int | None, columns: int | None, bits_stored: int | None) -> bytes:
    """BLAKE2b-128 over what a header's reading sees of pixels.

    Different digests are different pixels (or sizes); equal ones may still differ between the pieces.
    """
    shape = f"{length} {rows} {columns} {bits_stored} ".encode()
    return hashlib.blake2b(shape + pieces, digest_size=DIGEST_BYTES).digest()
