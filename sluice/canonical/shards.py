"""Shards: files of pictures of one side, a byte a pixel, one after the other, appended and never changed.

A writer holds a shard by a lock on its file for as long as it lives, so several write at once, each into its own. Bytes
are on the disk before the index says so: who is killed in between leaves bytes that nothing points to, and whoever
appends next begins at the following whole record. `sluice.canonical.upkeep` gives their room back. A shard is never
truncated: a reader that has it mapped would be killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sluice.database import Database, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

SIDE = 512
"""Of canonical images, pixels."""
DETAIL_SIDE = 1024
"""Of detail images, pixels."""
RECORD = SIDE * SIDE
CAPACITY = 1 << 30
"""Bytes of a shard: 4,096 canonical or 1,024 detail images."""


class ShardError(RuntimeError):
    """Shards cannot be written; the message says what to do."""


@dataclass(frozen=True)
class Place:
    """Where a picture stands.

    Attributes:
        shard_id: of `canonical_shard`.
        offset: bytes before it.
        digest: SHA-256 of its bytes.
    """

    shard_id: int
    offset: int
    digest: bytes


def shard_path(root: Path, shard_id: int) -> Path:
    """The file of a shard below the folder of canonical images."""
    return root / "shards" / f"{shard_id:010d}.u8"


class ShardWriter:
    """Appends pictures; a context manager, of one thread. Holds one shard at a time.

    Args:
        root: folder of the canonical images; made where it is missing.
        capacity: records of a shard; None: as many as it has room for.
        side: of the pictures, pixels.
    """

    def __init__(self, database: Database, root: Path, capacity: int | None = None, side: int = SIDE) -> None:
        self._database = database
        self._root = root
        self._side = side
        self._record = side * side
        self._capacity = capacity or CAPACITY // self._record
        self._shard_id = 0
        self._file = -1
        self._full: list[int] = []  # still held, for what was appended may not be pointed to yet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, pictures: Sequence[Pixels]) -> list[Place]:
        """Write pictures, uint8 `(side, side)`, and wait until the disk has them.

        They may be pointed to from then on, and have to be before this writer appends again or is closed: what nothing
        points to in a shard that nobody holds is given back.

        Raises:
            ShardError: no room on the disk, or the folder cannot be written.
        """
        places: list[Place] = []
        self._let_go_of_full()
        try:
            while len(places) < len(pictures):
                start = self._room()
                left = self._capacity - start // self._record
                written = [memoryview(picture.data).cast("B") for picture in pictures[len(places) : len(places) + left]]
                if any(len(data) != self._record for data in written):
                    raise ValueError(f"a picture of these shards has {self._side} x {self._side} bytes")
                for number, data in enumerate(written):
                    _write(self._file, data, start + number * self._record)
                os.fdatasync(self._file)
                places += [
                    Place(self._shard_id, start + number * self._record, hashlib.sha256(data).digest())
                    for number, data in enumerate(written)
                ]
        except OSError as error:
            raise ShardError(
                f"Canonical images cannot be written below {self._root} ({error.strerror}). Free room or give the "
                "folder to this user, then run the step again: what is written stays, the rest is made then."
            ) from error
        return places

    def close(self) -> None:
        """Let the shard go; the next writer fills it up."""
        self._let_go_of_full()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _let_go_of_full(self) -> None:
        while self._full:
            os.close(self._full.pop())

    def _room(self) -> int:
        """Where the next record begins in a shard that we hold and that has room."""
        while True:
            if self._file < 0:
                self._claim()
            end = os.fstat(self._file).st_size
            start = (end + self._record - 1) // self._record * self._record
            if start // self._record < self._capacity:
                return start
            self._seal(self._shard_id)
            self._full.append(self._file)
            self._file = -1

    def _claim(self) -> None:
        """Hold a shard that nobody else does, else a new one."""
        with self._database.transaction() as connection:
            rows = select(
                connection,
                "select shard_id from canonical_shard where sealed_at is null and side = %s order by shard_id",
                (self._side,),
            )
        for row in rows:
            held = held_file(shard_path(self._root, row["shard_id"]))
            if held is not None:
                self._shard_id, self._file = row["shard_id"], held
                return
        with self._database.transaction() as connection:
            (row,) = select(
                connection, "insert into canonical_shard (side) values (%s) returning shard_id", (self._side,)
            )
            path = shard_path(self._root, row["shard_id"])
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
            fcntl.flock(file, fcntl.LOCK_EX)  # before anybody can know of it
            _sync_folder(path.parent)
        self._shard_id, self._file = row["shard_id"], file

    def _seal(self, shard_id: int) -> None:
        self._database.execute("update canonical_shard set sealed_at = now() where shard_id = %s", (shard_id,))


def held_file(path: Path) -> int | None:
    """A shard's file, opened and locked for us; None where somebody else holds it or it is not there."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink:
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def _write(file: int, data: memoryview, offset: int) -> None:
    rest = data
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ShardReader:
    """Reads pictures out of mapped shards; a context manager.

    Args:
        root: folder of the canonical images.
        side: of the pictures, pixels.
    """

    MOST_MAPPED = 64

    def __init__(self, root: Path, side: int = SIDE) -> None:
        self._root = root
        self._side = side
        self._record = side * side
        self._mapped: dict[int, mmap.mmap] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mapped.clear()  # unmapped with the last view of them

    def picture(self, place: Place) -> Pixels | None:
        """The picture, uint8 `(side, side)`, not copied; None where its bytes are gone or not what was written."""
        import numpy as np

        mapped = self._map(place)
        if mapped is None:
            return None
        record = memoryview(mapped)[place.offset : place.offset + self._record]
        if hashlib.sha256(record).digest() != place.digest:
            return None
        return np.frombuffer(record, np.uint8).reshape(self._side, self._side)

    def batches(self, places: Sequence[Place], size: int) -> Iterator[tuple[list[int], Pixels]]:
        """Pictures in batches of a fixed shape, uint8 `(size, side, side)`, the same memory each time.

        Yields which of `places` are in it, in order; what is behind them in the last batch means nothing. Those whose
        bytes are gone are in none. Read shard by shard, in the order in which they stand there.
        """
        import numpy as np

        batch = np.zeros((size, self._side, self._side), np.uint8)
        inside: list[int] = []
        for number in sorted(range(len(places)), key=lambda n: (places[n].shard_id, places[n].offset)):
            picture = self.picture(places[number])
            if picture is None:
                continue
            batch[len(inside)] = picture
            inside.append(number)
            if len(inside) == size:
                yield inside, batch
                inside = []
        if inside:
            yield inside, batch

    def _map(self, place: Place) -> Any:
        mapped = self._mapped.get(place.shard_id)
        if mapped is None or len(mapped) < place.offset + self._record:
            mapped = None
            try:
                with shard_path(self._root, place.shard_id).open("rb") as file:
                    if os.fstat(file.fileno()).st_size >= place.offset + self._record:
                        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError:
                return None
            if mapped is None:
                return None
            while len(self._mapped) >= self.MOST_MAPPED:
                self._mapped.pop(next(iter(self._mapped)))
            self._mapped[place.shard_id] = mapped
        return mapped
