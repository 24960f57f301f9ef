"""A ledger of one small hospital day as the page meets it: some of everything, gaps included. Seeded, no randomness."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

from models.preprocess import RECIPE
from sluice.canonical.index import Geometry, MadePicture, NoPicture, keep
from sluice.canonical.shards import ShardWriter
from tests.ledger_rows import DX_IMAGE, LedgerRows

SCANNERS = [
    ("CT1", "CT", 0.72, 21, 4.0, "none"),
    ("CT2", "CT", 0.41, 12, -38.0, "none"),
    ("MR1", "MR", 0.88, 14, 3612.4, "dst"),
    ("MR2", "MR", 0.63, 11, None, "none"),
    ("DX1", "DX", 0.35, 44, 12.5, "none"),
    ("DX2", "DX", 0.29, 37, -0.4, "none"),
    ("CR1", "CR", 0.12, 9, -7200.9, "timezone"),
    ("US1", "US", 1.08, 25, 151.0, "none"),
]
LABELS = [
    ("adult_chest", "CHEST", "CHEST"),
    ("abdominal", "ABDOMEN", "ABDOMEN"),
    ("spine", "LSPINE", "CHEST"),
    ("others", "HAND", None),
    ("pediatric_chest", "CHEST", "CHEST"),
    ("others", "KNEE", "KNEE"),
]


def picture(rows: int, columns: int, seed: int) -> Any:
    """A canonical image, uint8 `(512, 512)`: an ellipse on black, so that a tile shows something."""
    import numpy as np

    row, column = np.mgrid[0:512, 0:512]
    y, x = (row - 256) / (rows / 2.2), (column - 256) / (columns / (2.4 + seed % 3))
    distance = x * x + y * y
    rib = np.where(row // (36 + 4 * (seed % 5)) % 2, 40, 0)
    return np.where(distance < 1, 60 + 120 * (1 - np.minimum(1, distance)) + rib, 8).astype(np.uint8)


def write_day(rows: LedgerRows, canonical: Path, radiographs: int = 30) -> list[str]:
    """Fill a ledger; the SOP Instance UIDs of its radiographs come back."""
    key = rows.window.key
    midnight = datetime.combine(rows.window.starts_on, time(0, 0))
    for index, (station, modality, *_rest) in enumerate(SCANNERS):
        for exam in range(5):
            study = rows.study(1000 + 10 * index + exam)
            series = rows.series(study, modality=modality, station_name=station)
            for image in range(1, 5):
                begun = midnight + timedelta(hours=7 + 2 * exam, minutes=11 * index + 3 * image)
                rows.instance(series, image, acquired_at=begun)
    for number in range(3):
        study = rows.study(2000 + number)
        series = rows.series(study, station_name="CT1")
        rows.instance(series, 1)
        for image in range(2, 6):
            uid = rows.expected(series, image)
            reason = "failed-suboperation" if number else "reported-not-arrived"
            rows.put("gap", {"sop_instance_uid": uid, "step": "received", "reason_code": reason})
    broken = rows.received(rows.series(rows.study(2100)), 7)
    rows.put("gap", {"sop_instance_uid": broken, "step": "indexed", "reason_code": "truncated"})
    images = _radiographs(rows, canonical, radiographs)
    for station, modality, share, exams, offset, suspected in SCANNERS:
        rows.put(
            "scanner_utilization",
            {
                "window_key": key,
                "scanner": station,
                "modality": modality,
                "exams": exams,
                "patients": exams,
                "busy_minutes": 720 * share,
                "open_minutes": 720,
                "utilization": share,
            },
        )
        rows.put(
            "clock_offset",
            {
                "window_key": key,
                "scanner": station,
                "modality": modality,
                "samples": 2 if offset is None else 40,
                "offset_s": offset,
                "spread_s": None if offset is None else 1.7,
                "drift_s_per_day": None if offset is None else 0.4,
                "reference": "none" if offset is None else "pacs",
                "suspected": suspected,
            },
        )
    _releases(rows, images)
    return images


def _radiographs(rows: LedgerRows, canonical: Path, count: int) -> list[str]:
    for task in ("body_part", "ivc_filter"):
        rows.put(
            "model",
            {
                "model_id": f"{task}-small-0123456789ab",
                "task": task,
                "architecture": "small",
                "weights_sha256": "0" * 64,
                "card": {},
            },
        )
    images: list[str] = []
    made: list[MadePicture | NoPicture] = []
    for number in range(count):
        label, examined, header = LABELS[number % len(LABELS)]
        series = rows.series(
            rows.study(3000 + number), region=header, body_part_examined=header, modality="DX", station_name="DX1"
        )
        uid = rows.instance(series, 1, sop_class_uid=DX_IMAGE)
        images.append(uid)
        if number % 10 == 9:
            rows.put("gap", {"sop_instance_uid": uid, "step": "predicted", "reason_code": "pixels-unreadable"})
            continue
        size = (512, 384 + 32 * (number % 5))
        shown = Geometry(2048, 2000, 0, 0, 2048, 2000)
        made.append(MadePicture(uid, picture(*size, number), shown, "percentile"))
        rows.put(
            "prediction",
            {
                "sop_instance_uid": uid,
                "model_id": "body_part-small-0123456789ab",
                "task": "body_part",
                "label": label,
                "score": 0.99 - number / 100,
                "detail": {"examined": examined, "visible": [examined], "confident": number % 11 != 3},
            },
        )
        filtered = label == "abdominal"
        rows.put(
            "prediction",
            {
                "sop_instance_uid": uid,
                "model_id": "ivc_filter-small-0123456789ab",
                "task": "ivc_filter",
                "label": "present" if filtered else "absent",
                "score": 0.93 if filtered else 0.02,
                "detail": {"boxes": [{"box": [42, 60, 58, 88], "score": 0.93}] if filtered else []},
            },
        )
    with ShardWriter(rows.database, canonical) as writer:
        keep(rows.database, writer, RECIPE, made)
    return images


def _releases(rows: LedgerRows, images: list[str]) -> None:
    for version, published in ((1, True), (2, False)):
        rows.put(
            "release",
            {
                "project": "lung",
                "version": version,
                "window_key": rows.window.key,
                "profile": {"name": "basic"},
                "member_digest": f"{version}" * 64,
                "bucket": "research",
                "prefix": f"lung/v{version}/",
                "manifest_sha256": "ab" * 32 if published else None,
                "published_at": datetime(2026, 10, 27, 4, 12) if published else None,
            },
        )
        for number, uid in enumerate(images[: 12 if published else 4]):
            rows.put("release_member", {"release_id": version, "sop_instance_uid": uid})
            rows.put(
                "released_object",
                {
                    "release_id": version,
                    "sop_instance_uid": uid,
                    "object_key": f"lung/v{version}/PSN-{number:04}/{number}.dcm",
                    "bytes": 531_000 + number,
                    "sha256": f"{number:064x}",
                    "verified_at": datetime(2026, 10, 27, 4, 11),
                    "uploaded_at": datetime(2026, 10, 27, 4, 10),
                },
            )
    rows.put("gap", {"sop_instance_uid": images[-1], "step": "released", "reason_code": "held-residual"})
