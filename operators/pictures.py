"""Canonical images for tasks: out of the shards, else decoded from the archive and kept.

The decoders know no database and the database knows no pixels; here a picture goes from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from models.preprocess import Canonical
    from sluice.batches import Batch
    from sluice.canonical.index import MadePicture, NoPicture
    from sluice.canonical.shards import Pixels
    from sluice.database import Database
    from sluice.predictions import PendingImage

TOGETHER = 128  # pictures that are written and indexed together: a killed task loses no more


@dataclass
class PicturesSummary:
    """What became of the radiographs of a batch.

    Attributes:
        pending: those of which it was not known yet.
        decoded: canonical images made and kept.
        unreadable: noted with a reason.
        skipped: no pictures for models: localizers, presentation states and the like, noted with a reason.
    """

    pending: int = 0
    decoded: int = 0
    unreadable: int = 0
    skipped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def keep_batch(
    database: Database, archive: Path, batch: Batch, root: Path, workers: int | None = None
) -> dict[str, Any]:
    """Decode what a batch holds of radiographs, once, into the shards. Again: decodes nothing.

    Raises:
        ShardError: the shards cannot be written.
    """
    from models.preprocess import RECIPE
    from sluice.predictions import pending_pictures

    images = pending_pictures(database, batch, RECIPE)
    summary = PicturesSummary(pending=len(images))
    with Pictures(database, archive, root, summary, workers) as pictures:
        for _ in pictures.of(images):
            pass
    return summary.as_dict()


class Pictures:
    """Where tasks get canonical images from; a context manager, of one thread.

    Args:
        archive: root of the DICOM files.
        root: folder of the canonical images.
        summary: counts what is decoded, unreadable and skipped.
        workers: processes that decode.
    """

    def __init__(self, database: Database, archive: Path, root: Path, summary: Any, workers: int | None = None) -> None:
        from sluice.canonical.shards import ShardReader, ShardWriter

        self._database = database
        self._archive = archive
        self._summary = summary
        self._workers = workers
        self._writer = ShardWriter(database, root)
        self._reader = ShardReader(root)
        self._keeper = ThreadPoolExecutor(1, "keep")
        self._kept: Future[None] | None = None
        self._group: list[MadePicture | NoPicture] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._keeper.shutdown(wait=True, cancel_futures=True)
            self._writer.close()

    def of(self, images: Iterable[PendingImage]) -> Iterator[tuple[PendingImage, Pixels]]:
        """The images that there are of these instances, uint8 `(512, 512)`: first the kept ones, then those decoded.

        The others are noted with a reason. What is decoded is kept on the way, while the next ones are.
        """
        missing: list[PendingImage] = []
        yield from self._from_shards(images, missing)
        yield from self._from_archive(missing)

    def flush(self) -> None:
        """Wait until everything that was decoded is kept.

        Raises:
            ShardError: it cannot be.
        """
        self._hand_over()
        if self._kept is not None:
            self._kept.result()
            self._kept = None

    def _from_shards(
        self, images: Iterable[PendingImage], missing: list[PendingImage]
    ) -> Iterator[tuple[PendingImage, Pixels]]:
        from sluice.canonical.index import lost
        from sluice.predictions import NO_RADIOGRAPH

        gone = []
        placed = []
        for image in images:
            if image.why_not is not None:
                self._note(image, NO_RADIOGRAPH, image.why_not)
                self._summary.skipped += 1
            elif image.place is None:
                missing.append(image)
            else:
                placed.append(image)
        for image in sorted(placed, key=lambda one: (one.place.shard_id, one.place.offset)):  # type: ignore[union-attr]
            assert image.place is not None
            pixels = self._reader.picture(image.place)
            if pixels is None:
                gone.append((image.sop_instance_uid, image.place))
                missing.append(image)
            else:
                yield image, pixels
        if gone:
            lost(self._database, gone)

    def _from_archive(self, images: list[PendingImage]) -> Iterator[tuple[PendingImage, Pixels]]:
        from models.decode_workers import DecodeWorkers
        from models.framing import NotReadable

        if not images:
            return
        given = self._workers
        with nullcontext(given) if isinstance(given, DecodeWorkers) else DecodeWorkers(given) as workers:
            decoded = workers.canonical(self._archive / image.path for image in images)
            for image, made in zip(images, decoded, strict=True):
                if isinstance(made, NotReadable):
                    self._note(image, made.reason_code, made.detail)
                    self._summary.unreadable += 1
                else:
                    self._keep(_made(image.sop_instance_uid, made))
                    yield image, made.image

    def _note(self, image: PendingImage, reason_code: str, detail: str) -> None:
        from sluice.canonical.index import NoPicture

        self._keep(NoPicture(image.sop_instance_uid, reason_code, detail))

    def _keep(self, one: MadePicture | NoPicture) -> None:
        self._group.append(one)
        if len(self._group) >= TOGETHER:
            self._hand_over()

    def _hand_over(self) -> None:
        """Have a group kept by the other thread, one at a time: it must not pile up in memory."""
        if not self._group:
            return
        if self._kept is not None:
            self._kept.result()
        group, self._group = self._group, []
        self._kept = self._keeper.submit(self._store, group)

    def _store(self, group: list[MadePicture | NoPicture]) -> None:
        from models.preprocess import RECIPE
        from sluice.canonical.index import MadePicture, NoPicture, keep
        from sluice.predictions import UnreadableImage, note_unreadable

        keep(self._database, self._writer, RECIPE, group)
        self._summary.decoded += sum(isinstance(one, MadePicture) for one in group)
        note_unreadable(
            self._database,
            [
                UnreadableImage(one.sop_instance_uid, one.detail, one.reason_code)
                for one in group
                if isinstance(one, NoPicture)
            ],
        )


def _made(uid: str, made: Canonical) -> MadePicture:
    from sluice.canonical.index import Geometry, MadePicture

    return MadePicture(uid, made.image, Geometry(made.source_rows, made.source_columns, *made.crop), made.windowing)


def in_groups(pictures: Iterator[tuple[PendingImage, Pixels]], buffer: Pixels) -> list[PendingImage]:
    """Fill memory of a fixed shape `(n, 512, 512)` with the next pictures; whose they are, fewer than n at the end."""
    group = []
    for place, (image, pixels) in enumerate(islice(pictures, len(buffer))):
        buffer[place] = pixels
        group.append(image)
    return group
