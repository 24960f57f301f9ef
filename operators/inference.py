"""One model over one batch: the glue between the database, the decoder and the network.

The models know no database and the database knows no pixels; here an image goes from one to the other. Work is
done in pieces, and each piece is stored when it is done, so that a task that dies loses a minute and not hours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluice.batches import Batch
    from sluice.database import Database
    from sluice.predictions import PendingImage

log = logging.getLogger(__name__)

PIECE = 64  # images decoded, read and stored together
DECODERS = 2  # threads; the decoders release the GIL
SHOWS_CAVA = frozenset({"abdominal", "spine", "adult_chest", "unknown"})
"""Labels whose pictures may show the inferior vena cava: the infrarenal cava lies beside L2 and L3, the lower edge of
an adult's chest film reaches it often enough that a filter there must not be missed, and an unsure reading may be any
of these."""


@dataclass
class InferenceSummary:
    """What one model read of one batch.

    Attributes:
        model_id: the model.
        pending: radiographs that it had not read.
        read: answers stored.
        gated_out: not looked at, because their body part cannot show what the model looks for.
        unreadable: noted with a reason.
        decoded: canonical images made on the way.
        labels: answers by label.
        shadow_read: answers of shadow models that were stored, which count for nothing.
        shadows_failed: shadow models that could not read; production is not held up by them.
    """

    model_id: str
    pending: int = 0
    read: int = 0
    gated_out: int = 0
    unreadable: int = 0
    decoded: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    shadow_read: int = 0
    shadows_failed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it, each label as a count of its own."""
        values = asdict(self)
        labels = values.pop("labels")
        return values | {f"label_{name}": count for name, count in sorted(labels.items())}


def read_batch(database: Database, archive: Path, batch: Batch, task: str, canonical_root: Path) -> InferenceSummary:
    """Let a task's model read what it has not read of a batch, then its shadows the same. Again: reads nothing.

    Args:
        archive: root of the DICOM files.
        task: `body_part` or `ivc_filter`.
        canonical_root: root of the canonical images.

    Raises:
        WeightsUnusable: the model's weights are missing or damaged.
        RegistryError: no model of the task is in production.
    """
    serving, *shadows = _load(database, task)
    summary = _read_with(database, archive, batch, task, canonical_root, serving())
    for shadow in shadows:
        try:
            summary.shadow_read += _read_with(database, archive, batch, task, canonical_root, shadow()).read
        except Exception as error:  # whatever a shadow does, production has read
            log.warning("A shadow model of %s could not read (%s): %s", task, type(error).__name__, error)
            summary.shadows_failed += 1
    return summary


def _read_with(
    database: Database, archive: Path, batch: Batch, task: str, canonical_root: Path, reader: Any
) -> InferenceSummary:
    """One model over a batch."""
    from sluice.predictions import pending

    images = pending(database, batch, task, reader.model_id)
    summary = InferenceSummary(reader.model_id, pending=len(images))
    if task == "ivc_filter":
        asked = [image for image in images if image.body_part in SHOWS_CAVA]
        summary.gated_out = len(images) - len(asked)
        images = asked
    decoder = _Decoder(database, archive, canonical_root, summary)
    for start in range(0, len(images), PIECE):
        _read_piece(database, reader, task, decoder, images[start : start + PIECE], summary)
    return summary


def _load(database: Database, task: str) -> list[Callable[[], Any]]:
    """What loads the model of a task that is in production, then what loads each of its shadows."""
    from sluice.registry.registry import models_to_run
    from sluice.registry.weights import folder_of
    from sluice.settings import settings

    running = models_to_run(database, task, folder_of(settings()))
    return [partial(_reader, task, model.path) for model in running]


def _reader(task: str, weights: Path) -> Any:
    if task == "body_part":
        from models.body_part import BodyPartReader

        return BodyPartReader.load(weights)
    from models.ivc_filter import IvcFilterReader

    return IvcFilterReader.load(weights)


def _read_piece(
    database: Database, reader: Any, task: str, decoder: _Decoder, images: list[PendingImage], summary: InferenceSummary
) -> None:
    from sluice.predictions import Prediction, store

    decoded = decoder.decode(images)
    if not decoded:
        return
    pixels = [one.pixels for one in decoded]
    if task == "body_part":
        ages = decoder.ages([one.sop_instance_uid for one in decoded])
        answers = [
            (reading.label, reading.router5_score, reading.detail()) for reading in reader.read(pixels, ages=ages)
        ]
    else:
        answers = [
            ("present" if reading.present else "absent", _probability(reading), reading.detail())
            for reading in reader.read(pixels)
        ]
    summary.read += store(
        database,
        reader.model_id,
        task,
        [
            Prediction(one.sop_instance_uid, label, score, detail)
            for one, (label, score, detail) in zip(decoded, answers, strict=True)
        ],
    )
    for label, _, _ in answers:
        summary.labels[label] = summary.labels.get(label, 0) + 1


def _probability(reading: Any) -> float:
    """Probability of the label that is stored, where the detector gives that of a filter."""
    return reading.score if reading.present else 1.0 - reading.score


@dataclass(frozen=True)
class _Decoded:
    sop_instance_uid: str
    pixels: NDArray[np.uint8]


class _Decoder:
    """Canonical images from the archive: made once, kept as PNG, read from there ever after."""

    def __init__(self, database: Database, archive: Path, root: Path, summary: InferenceSummary) -> None:
        self.database = database
        self.archive = archive
        self.root = root
        self.summary = summary

    def decode(self, images: list[PendingImage]) -> list[_Decoded]:
        """The images that can be decoded, in order; the others are noted as unreadable with a reason."""
        from sluice.predictions import CanonicalImage, UnreadableImage, note_unreadable, store_canonical

        with ThreadPoolExecutor(DECODERS) as pool:
            results = list(pool.map(self._one, images))
        made = [result for result in results if isinstance(result, CanonicalImage)]
        unreadable = [result for result in results if isinstance(result, UnreadableImage)]
        self.summary.decoded += store_canonical(self.database, made)
        note_unreadable(self.database, unreadable)
        self.summary.unreadable += len(unreadable)
        paths = {
            image.sop_instance_uid: result.path if isinstance(result, CanonicalImage) else result
            for image, result in zip(images, results, strict=True)
            if not isinstance(result, UnreadableImage)
        }
        return [_Decoded(uid, _read_png(self.root / path)) for uid, path in paths.items()]

    def ages(self, uids: list[str]) -> list[float | None]:
        """Patients' ages in years by the headers, in order."""
        from sluice.database import select

        with self.database.transaction() as connection:
            rows = select(
                connection,
                "select sop_instance_uid, patient_age_years from instance where sop_instance_uid = any(%s)",
                (uids,),
            )
        known = {row["sop_instance_uid"]: row["patient_age_years"] for row in rows}
        return [known.get(uid) for uid in uids]

    def _one(self, image: PendingImage) -> Any:
        """Path of the kept image, the image just made, or why there is none."""
        from models.framing import NotReadable
        from models.preprocess import canonical
        from sluice.predictions import CanonicalImage, UnreadableImage

        if image.canonical_path is not None and (self.root / image.canonical_path).is_file():
            return image.canonical_path
        try:
            made = canonical(self.archive / image.path)
        except NotReadable as reason:
            return UnreadableImage(image.sop_instance_uid, reason.detail, reason.reason_code)
        path = _canonical_path(image.sop_instance_uid)
        _write_png(self.root / path, made.image)
        return CanonicalImage(image.sop_instance_uid, path, made.source_rows, made.source_columns)


def _canonical_path(uid: str) -> str:
    """By a digest of the UID: spread over folders, and no identifier in a file's name."""
    import hashlib

    digest = hashlib.sha256(uid.encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{digest[:32]}.png"


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Whole or not at all, however many tasks write it at once."""
    import tempfile

    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as temporary:
        try:
            Image.fromarray(pixels).save(temporary, "PNG", compress_level=3)
            temporary.close()
            os.chmod(temporary.name, 0o640)
            os.replace(temporary.name, path)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


def _read_png(path: Path) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)
