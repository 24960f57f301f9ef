"""Canonical and detail images for tasks: out of the shards, else decoded from the archive and kept.

The decoders know no database and the database knows no pixels; here a picture goes from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from models.preprocess import Canonical
    from sluice.batches import Batch
    from sluice.canonical.details import MadeDetail
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
        details: detail images made and kept.
        unreadable: noted with a reason.
        skipped: no pictures for models: localizers, presentation states and the like, noted with a reason.
    """

    pending: int = 0
    decoded: int = 0
    details: int = 0
    unreadable: int = 0
    skipped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def keep_batch(
    database: Database, archive: Path, batch: Batch, root: Path, workers: int | None = None, detail: bool = False
) -> dict[str, Any]:
    """Decode what a batch holds of radiographs, once, into the shards. Again: decodes nothing.

    Args:
        detail: make detail images, too, of films that may show an IVC filter as far as is known of them.

    Raises:
        ShardError: the shards cannot be written.
    """
    from models.preprocess import RECIPE
    from sluice.predictions import pending_pictures

    images = pending_pictures(database, batch, RECIPE)
    summary = PicturesSummary(pending=len(images))
    with Pictures(database, archive, root, summary, workers) as pictures:
        for _ in pictures.of(images, wants_detail if detail else no_detail):
            pass
    return summary.as_dict()


def wants_detail(image: PendingImage) -> bool:
    """Whether a film's detail image is worth making with its canonical one: by what was read of it, else its header."""
    from sluice.ivc_filters.gate import by_header, by_reading

    if image.body_part is None:
        return by_header(image.header_region, image.age_years)
    return by_reading(image.body_part, image.visible)


def no_detail(_: PendingImage) -> bool:
    """Of no film is a detail image wanted."""
    return False


class Pictures:
    """Where tasks get canonical and detail images from; a context manager, of one thread.

    Args:
        archive: root of the DICOM files.
        root: folder of the canonical images.
        summary: counts what is decoded, unreadable and skipped.
        workers: processes that decode.
    """

    def __init__(self, database: Database, archive: Path, root: Path, summary: Any, workers: int | None = None) -> None:
        from sluice.canonical.shards import DETAIL_SIDE, ShardReader, ShardWriter

        self._database = database
        self._archive = archive
        self._summary = summary
        self._workers = workers
        self._writer = ShardWriter(database, root)
        self._reader = ShardReader(root)
        self._detail_writer = ShardWriter(database, root, side=DETAIL_SIDE)
        self._detail_reader = ShardReader(root, DETAIL_SIDE)
        self._keeper = ThreadPoolExecutor(1, "keep")
        self._kept: Future[None] | None = None
        self._group: list[MadePicture | NoPicture | MadeDetail] = []

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
            self._detail_writer.close()

    def of(
        self, images: Iterable[PendingImage], detail: Callable[[PendingImage], bool] = no_detail
    ) -> Iterator[tuple[PendingImage, Pixels]]:
        """The images that there are of these instances, uint8 `(512, 512)`: first the kept ones, then those decoded.

        The others are noted with a reason. What is decoded is kept on the way, while the next ones are.

        Args:
            detail: of which of those that are decoded the detail image is made and kept, too.
        """
        missing: list[PendingImage] = []
        yield from self._from_shards(self._films(images), missing)
        for image, made in self._from_archive(missing, detail):
            yield image, made.image

    def details_of(self, images: Iterable[PendingImage]) -> Iterator[tuple[PendingImage, Pixels]]:
        """As `of`, uint8 `(1024, 1024)` where a film has so many pixels, else its canonical image.

        What is neither known to be there nor not to be is decoded once more. Where that fails, the canonical image
        stands in, if there is one.
        """
        unknown: list[PendingImage] = []
        coarse: list[PendingImage] = []
        films = list(self._films(images))
        yield from self._details_from_shards([image for image in films if image.detail is not None], unknown)
        for image in films:
            if image.detail is None:
                (coarse if image.detail_known else unknown).append(image)
        yield from self._from_shards(coarse, unknown)
        left: list[PendingImage] = []
        for image, made in self._from_archive(unknown, lambda _: True, left):
            yield image, made.image if made.detail is None else made.detail
        yield from self._from_shards(left, [])

    def flush(self) -> None:
        """Wait until everything that was decoded is kept.

        Raises:
            ShardError: it cannot be.
        """
        self._hand_over()
        if self._kept is not None:
            self._kept.result()
            self._kept = None

    def _films(self, images: Iterable[PendingImage]) -> Iterator[PendingImage]:
        """Those that may be films; the others are noted."""
        from sluice.predictions import NO_RADIOGRAPH

        for image in images:
            if image.why_not is None:
                yield image
            else:
                self._note(image, NO_RADIOGRAPH, image.why_not)
                self._summary.skipped += 1

    def _from_shards(
        self, images: Iterable[PendingImage], missing: list[PendingImage]
    ) -> Iterator[tuple[PendingImage, Pixels]]:
        from sluice.canonical.index import lost

        gone = []
        placed = []
        for image in images:
            (missing if image.place is None else placed).append(image)
        for image in sorted(placed, key=lambda one: (one.place.shard_id, one.place.offset)):  # type: ignore[union-attr]
            assert image.place is not None
            pixels = self._reader.picture(image.place)
            if pixels is None:
                gone.append((image.sop_instance_uid, image.place))
                missing.append(replace(image, place=None))
            else:
                yield image, pixels
        if gone:
            lost(self._database, gone)

    def _details_from_shards(
        self, images: list[PendingImage], missing: list[PendingImage]
    ) -> Iterator[tuple[PendingImage, Pixels]]:
        from sluice.canonical.index import lost
        from sluice.canonical.shards import DETAIL_SIDE

        gone = []
        for image in sorted(images, key=lambda one: (one.detail.shard_id, one.detail.offset)):  # type: ignore[union-attr]
            assert image.detail is not None
            pixels = self._detail_reader.picture(image.detail)
            if pixels is None:
                gone.append((image.sop_instance_uid, image.detail))
                missing.append(image)
            else:
                yield image, pixels
        if gone:
            lost(self._database, gone, DETAIL_SIDE)

    def _from_archive(
        self,
        images: list[PendingImage],
        detail: Callable[[PendingImage], bool],
        left: list[PendingImage] | None = None,
    ) -> Iterator[tuple[PendingImage, Canonical]]:
        """Decoded and kept on the way; what cannot be is noted, or `left` where its canonical image is there."""
        from models.decode_workers import DecodeWorkers
        from models.framing import NotReadable
        from sluice.canonical.details import MadeDetail

        if not images:
            return
        given, wanted = self._workers, [detail(image) for image in images]
        with nullcontext(given) if isinstance(given, DecodeWorkers) else DecodeWorkers(given) as workers:
            decoded = workers.canonical((self._archive / image.path for image in images), wanted)
            for image, made, finer in zip(images, decoded, wanted, strict=True):
                if isinstance(made, NotReadable):
                    if left is not None and image.place is not None:
                        left.append(image)
                    else:
                        self._note(image, made.reason_code, made.detail)
                        self._summary.unreadable += 1
                    continue
                if image.place is None:
                    self._keep(_made(image.sop_instance_uid, made))
                if finer:
                    self._keep(MadeDetail(image.sop_instance_uid, made.detail))
                yield image, made

    def _note(self, image: PendingImage, reason_code: str, detail: str) -> None:
        from sluice.canonical.index import NoPicture

        self._keep(NoPicture(image.sop_instance_uid, reason_code, detail))

    def _keep(self, one: MadePicture | NoPicture | MadeDetail) -> None:
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

    def _store(self, group: list[MadePicture | NoPicture | MadeDetail]) -> None:
        from models.preprocess import RECIPE
        from sluice.canonical.details import MadeDetail, keep_details
        from sluice.canonical.index import MadePicture, NoPicture, keep
        from sluice.predictions import UnreadableImage, note_unreadable

        details = [one for one in group if isinstance(one, MadeDetail)]
        pictures = [one for one in group if not isinstance(one, MadeDetail)]
        keep(self._database, self._writer, RECIPE, pictures)
        if details:
            keep_details(self._database, self._detail_writer, RECIPE, details)
        self._summary.decoded += sum(isinstance(one, MadePicture) for one in pictures)
        self._summary.details += sum(one.pixels is not None for one in details)
        note_unreadable(
            self._database,
            [
                UnreadableImage(one.sop_instance_uid, one.detail, one.reason_code)
                for one in pictures
                if isinstance(one, NoPicture)
            ],
        )


def _made(uid: str, made: Canonical) -> MadePicture:
    from sluice.canonical.index import Geometry, MadePicture

    return MadePicture(uid, made.image, Geometry(made.source_rows, made.source_columns, *made.crop), made.windowing)


def in_groups(pictures: Iterator[tuple[PendingImage, Pixels]], buffer: Pixels) -> tuple[list[PendingImage], list[int]]:
    """Fill memory of a fixed shape `(n, side, side)` with the next pictures, smaller ones enlarged.

    Returns:
        Whose they are, fewer than n at the end, and the side that each had, pixels.
    """
    from models.framing import at_side

    group, sides = [], []
    for place, (image, pixels) in enumerate(islice(pictures, len(buffer))):
        buffer[place] = at_side(pixels, buffer.shape[-1])
        group.append(image)
        sides.append(pixels.shape[0])
    return group, sides
