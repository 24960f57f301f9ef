"""Films that a model in production has read, with pictures, for tests of annotation."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg2

from sluice.database import Database
from sluice.predictions import Prediction, register_model, store
from tests.ledger_rows import DX_IMAGE, LedgerRows

MODEL = "body_part-x-000000000000"
SHADOW = "body_part-y-111111111111"


class Films:
    """One film a study."""

    def __init__(self, database: Database) -> None:
        self.database, self.rows, self.count = database, LedgerRows(database), 0
        register_model(database, MODEL, "body_part", "x", "0" * 64, {})
        register_model(database, SHADOW, "body_part", "y", "1" * 64, {}, stage="shadow")
        self.rows.put("canonical_shard", {"sealed_at": None})
        self.shard = self.execute("select max(shard_id) from canonical_shard")

    def execute(self, statement: str) -> Any:
        with self.rows.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]  # type: ignore[index]

    def film(
        self,
        label: str = "others",
        examined: str = "HAND",
        sure: float = 0.99,
        header: str | None = None,
        shadow: str | None = None,
        station: str = "DX1",
        day: date | None = None,
        has_picture: bool = True,
    ) -> str:
        """A film and what the models said; its UID."""
        self.count += 1
        study = self.rows.study(self.count, **({} if day is None else {"study_date": day}))
        series = self.rows.series(study, region=header or examined, modality="DX", station_name=station)
        uid = self.rows.instance(series, 1, sop_class_uid=DX_IMAGE)
        rest = (1 - sure) / 4
        classes = dict.fromkeys(("abdominal", "adult_chest", "pediatric_chest", "spine", "others"), rest)
        detail = {
            "examined": examined,
            "visible": [examined],
            "probabilities": {"router5": classes | {label if label in classes else "others": sure}},
        }
        store(self.database, MODEL, "body_part", [Prediction(uid, label, sure, detail)])
        if shadow is not None:
            store(self.database, SHADOW, "body_part", [Prediction(uid, shadow, 0.9, detail)])
        if has_picture:
            self.picture(uid)
        return uid

    def picture(self, uid: str) -> None:
        size = {"source_rows": 512, "source_columns": 512, "crop_row": 0, "crop_column": 0}
        place = {"shard_id": self.shard, "offset_bytes": self.count * 4096, "length_bytes": 10}
        more = {"recipe": 1, "digest": psycopg2.Binary(b"0" * 32), "crop_rows": 512, "crop_columns": 512}
        self.rows.put("canonical_image", {"sop_instance_uid": uid} | size | place | more)

    def opt_out(self, uid: str) -> None:
        said = {"kind": "instance", "sop_instance_uid": uid}
        self.rows.put("opt_out", said | {"reason": "withdrawn", "why": "x", "said_by": "ada"})
