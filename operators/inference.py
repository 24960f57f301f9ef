"""One model over one batch: pictures into memory of a fixed shape, from there to the device, answers by COPY.

Three things go on at once: pictures are read and decoded, the network reads those before, and the answers before
those are stored. Each group is stored when it is done, so that a task that dies loses a minute and not hours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from operators.pictures import Pictures, in_groups

if TYPE_CHECKING:
    from models.decode_workers import DecodeWorkers
    from sluice.anatomy.fast_path import Certainty
    from sluice.batches import Batch
    from sluice.canonical.shards import Pixels
    from sluice.database import Database
    from sluice.predictions import PendingImage, Prediction
    from sluice.registry.registry import RunningModel

log = logging.getLogger(__name__)

BUFFERS = 3  # one being filled, one waiting, one with the network
TOGETHER = 256  # answers that are stored together
LOOK_S = 0.5  # how often a thread that waits looks whether it still has to


@dataclass
class InferenceSummary:
    """What one model read of one batch.

    Attributes:
        model_id: the model.
        device: where it ran.
        precision: in which it multiplied.
        pending: radiographs that it had not read.
        read: answers stored.
        gated_out: not looked at, because their body part cannot show what the model looks for.
        by_header: not looked at, because the header decides their body part with certainty.
        audited: looked at although the header decides, to compare the two.
        skipped: no pictures for models: localizers, presentation states and the like.
        unreadable: noted with a reason.
        decoded: canonical images that were not there yet and were made on the way.
        details: detail images that were not there yet and were made on the way.
        coarse: read in the canonical image by a model that reads detail images: their film has no more, or is gone.
        labels: answers by label.
        shadow_read: answers of shadow models that were stored, which count for nothing.
        shadows_failed: shadow models that could not read; production is not held up by them.
    """

    model_id: str
    device: str = "cpu"
    precision: str = "float32"
    pending: int = 0
    read: int = 0
    gated_out: int = 0
    by_header: int = 0
    audited: int = 0
    skipped: int = 0
    unreadable: int = 0
    decoded: int = 0
    details: int = 0
    coarse: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    shadow_read: int = 0
    shadows_failed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it, each label as a count of its own."""
        values = asdict(self)
        labels = values.pop("labels")
        return values | {f"label_{name}": count for name, count in sorted(labels.items())}


def models_to_run(database: Database, task: str) -> list[RunningModel]:
    """The models that a task reads with: the one in production, then its shadows. The registry decides it."""
    from sluice.registry import registry
    from sluice.registry.weights import folder_of
    from sluice.settings import settings

    return registry.models_to_run(database, task, folder_of(settings()))


def reads_details(database: Database) -> bool:
    """Whether a filter detector in production, or a shadow, reads detail images: whether they are worth making."""
    from models.framing import SIZE
    from models.weights_files import WeightsUnusable, load_weights
    from sluice.registry.weights import RegistryError

    try:
        sides = [load_weights(model.path).settings.get("side", SIZE) for model in models_to_run(database, "ivc_filter")]
    except (RegistryError, WeightsUnusable):  # whoever reads with it says so
        return False
    return max(sides) > SIZE


def read_batch(
    database: Database,
    archive: Path,
    batch: Batch,
    task: str,
    canonical_root: Path,
    device: str = "auto",
    workers: int | DecodeWorkers | None = None,
    certainty: Certainty | None = None,
    precision: str = "auto",
) -> InferenceSummary:
    """Let a task's model read what it has not read of a batch, then its shadows the same. Again: reads nothing.

    Args:
        archive: root of the DICOM files.
        task: `body_part` or `ivc_filter`.
        canonical_root: folder of the canonical images.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that decode what is not there as a canonical image: how many, or such that run already.
        certainty: from when on a header decides the body part in place of the network; None: never.
        precision: `auto`, `float32` or `bfloat16`.

    Returns:
        What the model in production did, with a count of what its shadows did.

    Raises:
        WeightsUnusable: the model's weights are missing or damaged.
        DeviceUnusable: the device is not there, or too small.
        RegistryError: no model of the task is in production.
        ShardError: canonical images cannot be kept.
    """
    from models.device import choose

    chosen = choose(device)

    def read(model: RunningModel) -> InferenceSummary:
        reader, runs = _load(task, model.path, chosen, precision), (task, canonical_root)
        return read_with(reader, database, archive, batch, *runs, model.stage, workers, certainty)

    serving, *shadows = models_to_run(database, task)
    summary = read(serving)
    for shadow in shadows:
        try:
            summary.shadow_read += read(shadow).read
        except Exception as error:  # whatever a shadow does, production has read
            log.warning("The shadow model %s could not read (%s): %s", shadow.model_id, type(error).__name__, error)
            summary.shadows_failed += 1
    return summary


def _load(task: str, weights: Path, device: Any, precision: str) -> Any:
    if task == "body_part":
        from models.body_part import BodyPartReader

        return BodyPartReader.load(weights, device, precision)
    from models.ivc_filter import IvcFilterReader

    return IvcFilterReader.load(weights, device, precision)


def read_with(
    reader: Any,
    database: Database,
    archive: Path,
    batch: Batch,
    task: str,
    root: Path,
    stage: str = "production",
    workers: int | DecodeWorkers | None = None,
    certainty: Certainty | None = None,
) -> InferenceSummary:
    """Let one loaded model read what it has not read of a batch; see `read_batch`."""
    from models.preprocess import RECIPE
    from sluice.anatomy.fast_path import compare
    from sluice.ivc_filters.gate import by_reading
    from sluice.predictions import pending, register_model

    register_model(database, reader.model_id, task, reader.architecture, reader.weights_sha256, reader.card, stage)
    images = pending(database, batch, task, reader.model_id, RECIPE)
    precision = str(reader.precision).removeprefix("torch.")
    summary = InferenceSummary(reader.model_id, str(reader.device), precision, len(images))
    if task == "ivc_filter":
        asked = [image for image in images if by_reading(image.body_part, image.visible)]
        summary.gated_out = len(images) - len(asked)
        images = asked
    elif certainty is not None:
        images = _not_decided_by_header(database, reader.model_id, images, certainty, summary)
    if images:
        _read_images(reader, database, archive, task, root, images, workers, summary)
    if summary.audited:
        compare(database, reader.model_id)
    return summary


def _not_decided_by_header(
    database: Database, model_id: str, images: list[PendingImage], certainty: Certainty, summary: InferenceSummary
) -> list[PendingImage]:
    """The images that the network has to read; some although their header decides."""
    from sluice.anatomy.fast_path import decide

    ages = {image.sop_instance_uid: image.age_years for image in images if image.why_not is None}
    decided = decide(database, model_id, ages, certainty)
    summary.audited = sum(one.audited for one in decided.values())
    summary.by_header = len(decided) - summary.audited
    skipped = {uid for uid, one in decided.items() if not one.audited}
    return [image for image in images if image.sop_instance_uid not in skipped]


def _read_images(
    reader: Any,
    database: Database,
    archive: Path,
    task: str,
    root: Path,
    images: list[PendingImage],
    workers: int | DecodeWorkers | None,
    summary: InferenceSummary,
) -> None:
    with Pictures(database, archive, root, summary, workers) as pictures, ThreadPoolExecutor(1, "store") as storing:
        stored: Future[None] | None = None
        answers: list[Prediction] = []
        features: list[Any] = []

        def keep(answers: list[Prediction], features: list[Any]) -> None:
            _store(database, reader.model_id, task, answers, summary)
            if features:
                _keep_features(database, root, reader.model_id, answers, features)

        with _Feeder(pictures, images, reader) as groups:
            for group, sides, pixels in groups:
                read, seen = _answers(reader, task, group, sides, pixels)
                answers += read
                features += [] if seen is None else [seen]
                summary.coarse += sum(side < pixels.shape[-1] for side in sides)
                if len(answers) >= TOGETHER:
                    if stored is not None:
                        stored.result()
                    stored = storing.submit(keep, answers, features)
                    answers, features = [], []
        if stored is not None:
            stored.result()
        keep(answers, features)


class _Feeder:
    """Fills memory of a fixed shape with pictures in a thread of its own; a context manager, iterated once."""

    def __init__(self, pictures: Pictures, images: list[PendingImage], reader: Any) -> None:
        from models.device import buffer

        self._pictures = pictures
        self._images = images
        self._side = reader.side
        self._free: Queue[Pixels] = Queue()
        size = min(reader.batch, len(images)) if reader.device.type == "cpu" else reader.batch
        for _ in range(BUFFERS):
            self._free.put(buffer(size, self._side, reader.device))
        self._full: Queue[tuple[list[PendingImage], list[int], Pixels]] = Queue()
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, "feed")

    def __enter__(self) -> Iterator[tuple[list[PendingImage], list[int], Pixels]]:
        self._fed = self._thread.submit(self._feed)
        return self._groups()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.shutdown(wait=True)

    def _groups(self) -> Iterator[tuple[list[PendingImage], list[int], Pixels]]:
        while True:
            try:
                group, sides, memory = self._full.get(timeout=LOOK_S)
            except Empty:
                if self._fed.done():
                    self._fed.result()
                    if self._full.empty():
                        return
                continue
            if not group:
                self._fed.result()
                return
            yield group, sides, memory[: len(group)]
            self._free.put(memory)

    def _feed(self) -> None:
        from models.framing import SIZE

        get = self._pictures.of if self._side == SIZE else self._pictures.details_of
        pictures = get(self._images)
        try:
            while not self._over.is_set():
                try:
                    memory = self._free.get(timeout=LOOK_S)
                except Empty:
                    continue
                group, sides = in_groups(pictures, memory)
                self._full.put((group, sides, memory))
                if not group:
                    return
        finally:
            pictures.close()  # type: ignore[attr-defined]


def _answers(
    reader: Any, task: str, group: list[PendingImage], sides: list[int], pixels: Pixels
) -> tuple[list[Prediction], Any | None]:
    """What a model says of pictures; of the body-part network its features, too, float32 `(n, channels)`."""
    from sluice.predictions import Prediction

    features = None
    if task == "body_part":
        read, features = reader.read_with_features(pixels, ages=[image.age_years for image in group])
        answers = [(reading.label, reading.router5_score, reading.detail()) for reading in read]
    else:
        read = reader.read(pixels)
        answers = [
            ("present" if one.present else "absent", _probability(one), one.detail() | {"pixels": side})
            for one, side in zip(read, sides, strict=True)
        ]
    said = [Prediction(image.sop_instance_uid, *answer) for image, answer in zip(group, answers, strict=True)]
    return said, features


def _keep_features(
    database: Database, root: Path, model_id: str, answers: list[Prediction], features: list[Any]
) -> None:
    """Features of the films just answered, by which their neighbours are found."""
    import numpy as np

    from sluice.neighbours.embeddings import keep

    keep(database, root, model_id, [answer.sop_instance_uid for answer in answers], np.concatenate(features))


def _probability(reading: Any) -> float:
    """Probability of the label that is stored, where the detector gives that of a filter."""
    return float(reading.score if reading.present else 1.0 - reading.score)


def _store(database: Database, model_id: str, task: str, answers: list[Prediction], summary: InferenceSummary) -> None:
    from sluice.predictions import store

    summary.read += store(database, model_id, task, answers)
    for answer in answers:
        summary.labels[answer.label] = summary.labels.get(answer.label, 0) + 1
