"""A canonical image as a PNG, for pages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.canonical.shards import Pixels


def as_png(pixels: Pixels) -> bytes:
    """An 8-bit grey PNG of uint8 `(rows, columns)`."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG", compress_level=3)
    return written.getvalue()
