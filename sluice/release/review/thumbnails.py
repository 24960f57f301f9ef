"""Small pictures of a release for the eye of who approves it: a few of each series, of produced objects only."""

from __future__ import annotations

import io
import warnings
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select

SIDE = 256  # pixels: text that was burned in can be told from anatomy
QUALITY = 72
MOST_PIXELS = 64 << 20  # of the frame that is drawn
DARKEST, BRIGHTEST = 0.5, 99.8  # percentiles that become black and white; text is as bright as anything


def sampled(connection: Connection, release_id: int) -> dict[str, int]:
    """The first (1), middle (2) and last (3) member of each series of a release, by SOP Instance UID."""
    rows = select(connection, named_query("review_sampled"), {"release_id": release_id})
    return {row["sop_instance_uid"]: row["position"] for row in rows}


def thumbnail(produced: bytes) -> bytes | None:
    """A JPEG of the middle frame, at most `SIDE` pixels wide and high; None where it cannot be drawn."""
    import numpy as np
    import pydicom
    from PIL import Image
    from pydicom.pixels.utils import pixel_array

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings print values
            dataset = pydicom.dcmread(io.BytesIO(produced))
            if int(dataset.Rows) * int(dataset.Columns) > MOST_PIXELS:
                return None
            frames = int(dataset.get("NumberOfFrames") or 1)
            pixels: Any = pixel_array(dataset, index=frames // 2 if frames > 1 else None)
        if pixels.ndim == 2:
            step = max(1, min(pixels.shape) // 512)
            low, high = np.percentile(pixels[::step, ::step], (DARKEST, BRIGHTEST))
            grey = np.clip((pixels.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
            if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
                grey = 1 - grey
            pixels = (grey * 255).astype(np.uint8)
        picture = Image.fromarray(pixels.astype(np.uint8)).convert("L" if pixels.ndim == 2 else "RGB")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=QUALITY)
    except Exception:  # a picture less on the page; what is wrong with the pixels is others' to say
        return None
    return buffer.getvalue()


def keep_thumbnails(database: Database, release_id: int, rows: list[tuple[str, str, str, int, bytes | None]]) -> None:
    """Store thumbnails: SOP Instance UID, series and pseudonym of the produced object, position, JPEG."""
    if not rows:
        return
    with database.transaction() as connection:
        copy_rows(
            connection,
            "release_thumbnail",
            ("release_id", "sop_instance_uid", "series", "patient", "position", "jpeg"),
            [(release_id, *row) for row in rows],
            "(release_id, sop_instance_uid) do update set series = excluded.series, patient = excluded.patient, "
            "position = excluded.position, jpeg = excluded.jpeg",
        )
