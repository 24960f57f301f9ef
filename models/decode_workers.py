"""Decode radiographs in processes of their own, several at once.

The C libraries behind the compressed transfer syntaxes can end the whole process on damaged bytes (GDCM does on a
foreign bit stream), or loop. Each worker is a child that takes a path and answers with the canonical image; when it
dies or takes too long, that file is unreadable, the child is started anew, and the others are unharmed. A picture is
small (256 KiB, its detail image 1 MiB), so that little goes through the pipes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from models.framing import DETAIL_SIDE, SIZE, NotReadable

if TYPE_CHECKING:
    from models.preprocess import Canonical

TIME_LIMIT_S = 120.0
"""A frame that takes longer is given up."""
AHEAD = 4  # files a worker is asked for before the first of them is waited for
PIPE = 1 << 19  # bytes: a picture goes through at once
_HEADER = struct.Struct("<?III")  # whether there is a picture; bytes of JSON, of the picture, of the detail image
_DETAIL = b"+"  # before a path: its detail image, too


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class DecodeWorkers:
    """Children that decode; a context manager, to be used from one thread.

    Args:
        count: how many; as many as there are cores by default.
        time_limit_s: for one file.
    """

    def __init__(self, count: int | None = None, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.count = count or processors()
        self._children = [_Child(time_limit_s) for _ in range(self.count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(self.count, "decode")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=True)
        for child in self._children:
            child.close()
        self._threads.shutdown()

    def canonical(
        self, paths: Iterable[Path], detail: Iterable[bool] | None = None
    ) -> Iterator[Canonical | NotReadable]:
        """The canonical image of each file, or why there is none, in order; a few files ahead of who takes them.

        Args:
            detail: of each file, whether its detail image is wanted, too; by default of none.
        """
        waiting: deque[Future[Canonical | NotReadable]] = deque()
        for path, finer in zip(paths, repeat(False) if detail is None else detail, strict=detail is not None):
            waiting.append(self._threads.submit(self._one, path, finer))
            if len(waiting) > AHEAD * self.count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _one(self, path: Path, detail: bool) -> Canonical | NotReadable:
        child = self._idle.get()
        try:
            return child.canonical(path, detail)
        finally:
            self._idle.put(child)


class _Child:
    """One child and the pipes to it."""

    def __init__(self, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def canonical(self, path: Path, detail: bool) -> Canonical | NotReadable:
        from models.preprocess import Canonical

        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self.time_limit_s
        try:
            process.stdin.write((_DETAIL if detail else b"") + os.fsencode(path.absolute()) + b"\0")
            process.stdin.flush()
            good, described, size, finer = _HEADER.unpack(_read(process.stdout, _HEADER.size, deadline))
            words = json.loads(bytes(_read(process.stdout, described, deadline)))
            pixels = _read(process.stdout, size, deadline)
            more = _read(process.stdout, finer, deadline)
        except TimeoutError:
            self.close()
            return NotReadable("pixels-unreadable", f"not decoded within {self.time_limit_s:.0f} s")
        except (OSError, EOFError, ValueError):
            self.close()
            return NotReadable("pixels-unreadable", "the decoder crashed on it")
        if not good:
            return NotReadable(*words)
        rows, columns, crop, age, windowing = words
        image = np.frombuffer(pixels, np.uint8).reshape(SIZE, SIZE)
        details = np.frombuffer(more, np.uint8).reshape(DETAIL_SIDE, DETAIL_SIDE) if more else None
        return Canonical(image, rows, columns, tuple(crop), age, windowing, details)

    def close(self) -> None:
        with self._lock:
            process, self.process = self.process, None
            if process is not None:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        try:
                            pipe.close()
                        except OSError:
                            pass  # what it was told last never reached it

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "models.decode_workers"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd=Path(__file__).resolve().parents[1],
                    env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    pipesize=PIPE,
                )
            return self.process


def _read(stream: BinaryIO | object, size: int, deadline: float) -> bytearray:
    """Exactly `size` bytes, read around the buffer so that `select` tells the truth."""
    descriptor = stream.fileno()  # type: ignore[attr-defined]
    whole = bytearray(size)
    rest = memoryview(whole)
    while rest:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        got = os.readv(descriptor, [rest])
        if not got:
            raise EOFError
        rest = rest[got:]
    return whole


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The child: paths ended by a zero byte in; a header, JSON and a picture out."""
    import cv2

    from models.preprocess import canonical

    cv2.setNumThreads(1)
    pending = b""
    while chunk := os.read(requests.fileno(), 65536):
        pending += chunk
        while b"\0" in pending:
            name, pending = pending.split(b"\0", 1)
            try:
                made = canonical(Path(os.fsdecode(name.removeprefix(_DETAIL))), name.startswith(_DETAIL))
            except NotReadable as reason:
                _answer(answers, False, (reason.reason_code, reason.detail))
            except MemoryError:
                _answer(answers, False, ("pixels-unreadable", "there is not enough memory to decode it"))
            else:
                said = (made.source_rows, made.source_columns, made.crop, made.patient_age_years, made.windowing)
                _answer(
                    answers, True, said, made.image.tobytes(), b"" if made.detail is None else made.detail.tobytes()
                )


def _answer(answers: BinaryIO, good: bool, said: object, pixels: bytes = b"", detail: bytes = b"") -> None:
    words = json.dumps(said).encode()
    answers.write(_HEADER.pack(good, len(words), len(pixels), len(detail)) + words)
    answers.write(pixels)
    answers.write(detail)
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
