"""An archive with receipts, as the receiver would have left it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sluice.batches import Batch, plan_batches
from sluice.database import Database, copy_rows
from sluice.windows import Window, remember_window

DAY = date(2026, 10, 26)


def receive(
    database: Database, archive: Path, files: Iterable[tuple[str, bytes | Path]], **changes: Any
) -> list[Batch]:
    """Put files (SOP Instance UID, bytes or a file to copy) into the archive with receipts on `DAY`."""
    remember_window(database, Window.of_day(DAY))
    rows = []
    for uid, content in files:
        path = f"{len(list(archive.iterdir()))}-{uid[-20:]}.dcm"
        if isinstance(content, Path):
            shutil.copyfile(content, archive / path)
        else:
            (archive / path).write_bytes(content)
        data = (archive / path).read_bytes()
        row = {
            "sop_instance_uid": uid,
            "series_instance_uid": f"{uid}.1",
            "study_instance_uid": f"{uid}.2",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "study_date": DAY,
            "source": "move",
            "calling_ae": "PACS",
            "called_ae": "SLUICE",
            "peer": "127.0.0.1",
            "association": "00000000-0000-0000-0000-000000000001",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "path": path,
            "received_at": datetime(2026, 10, 26, 12),
        }
        rows.append(row | changes)
    with database.transaction() as connection:
        if rows:
            copy_rows(connection, "receipt", list(rows[0]), [list(row.values()) for row in rows])
    return plan_batches(database, DAY.isoformat())
