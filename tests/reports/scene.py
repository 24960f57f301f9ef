"""A study of radiographs that models read, with headers as extraction leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from sluice.database import Database, select
from sluice.headers.extract import extract
from sluice.predictions import Prediction, register_model, store
from tests.deid.planted import encoded, image
from tests.headers.archive import receive

DX = "1.2.840.10008.5.1.4.1.1.1.1"
BODY, FILTER = "body_part-mobilenet_v3_large-81ddf3b1cca2", "ivc_filter-centre_heatmap_fpn-88e8ab8f41ad"


class ReadStudy:
    """Two abdomens of one study, the second with a filter.

    Attributes:
        study: Study Instance UID.
        films: SOP Instance UIDs.
    """

    def __init__(self, database: Database, archive: Path, **changes: Any) -> None:
        self.database, self.archive = database, archive
        archive.mkdir(parents=True, exist_ok=True)

        def edit(dataset: Dataset) -> None:
            for keyword, value in changes.items():
                setattr(dataset, keyword, value)

        images = [image(number, sop_class=DX, modality="DX", edit=edit) for number in (1, 2)]
        self.study, self.films = str(images[0].StudyInstanceUID), [str(one.SOPInstanceUID) for one in images]
        receive(database, archive, [(str(one.SOPInstanceUID), encoded(one)) for one in images])
        for batch in self._batches():
            extract(database, archive, batch)
        for model, task in ((BODY, "body_part"), (FILTER, "ivc_filter")):
            register_model(database, model, task, model.split("-")[1], "0" * 64, {})
        detail = {"examined": "ABDOMEN", "examined_score": 0.93, "visible": ["ABDOMEN", "LSPINE"]}
        store(database, BODY, "body_part", [Prediction(uid, "abdominal", 0.95, detail) for uid in self.films])
        box = {"box": [200.0, 120.0, 240.0, 200.0], "score": 0.88}
        answers = [("absent", 0.99, []), ("present", 0.88, [box])]
        store(
            database,
            FILTER,
            "ivc_filter",
            [
                Prediction(uid, label, score, {"boxes": boxes})
                for uid, (label, score, boxes) in zip(self.films, answers, strict=True)
            ],
        )

    def _batches(self) -> Any:
        from sluice.batches import plan_batches
        from tests.headers.archive import DAY

        return plan_batches(self.database, DAY.isoformat())

    def path(self, uid: str) -> Path:
        """The file of an instance."""
        with self.database.transaction() as connection:
            (row,) = select(connection, "select path from receipt where sop_instance_uid = %s", (uid,))
        return self.archive / str(row["path"])
