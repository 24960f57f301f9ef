"""Decode compressed pixels in a process of their own.

The C libraries behind the compressed transfer syntaxes can abort the whole process on damaged bytes (GDCM does on
a foreign bit stream), or loop. One long-lived child a process does their work; when it dies or takes too long, that
file is unreadable, the child is started anew, and the rest of the batch is unharmed.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

TIME_LIMIT_S = 120.0
"""A frame that takes longer is given up."""
_HEADER = struct.Struct("<?q")


class DecodeFailed(RuntimeError):  # noqa: N818
    """The frame cannot be decoded; says how it failed, nothing of the file."""


class DecoderProcess:
    """The child and the pipes to it; safe to use from several threads."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.time_limit_s = time_limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def first_frame(self, path: Path) -> NDArray[np.generic]:
        """Stored values of the first frame of a file.

        Raises:
            DecodeFailed: the decoders refused it, died on it, or took longer than the time limit.
        """
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            deadline = time.monotonic() + self.time_limit_s
            try:
                child.stdin.write(os.fsencode(path.absolute()) + b"\0")
                child.stdin.flush()
                good, size = _HEADER.unpack(self._read(child.stdout, _HEADER.size, deadline))
                answer = self._read(child.stdout, size, deadline)
            except TimeoutError:
                self.close()
                raise DecodeFailed(f"not decoded within {self.time_limit_s:.0f} s") from None
            except (OSError, EOFError):
                self.close()
                raise DecodeFailed("the decoder crashed on it") from None
        if not good:
            raise DecodeFailed(answer.decode())
        frame: NDArray[np.generic] = np.load(io.BytesIO(answer), allow_pickle=False)
        return frame

    def close(self) -> None:
        """End the child, if this process has one."""
        child, self._child = self._child, None
        if child is not None and self._owner == os.getpid():
            child.kill()
            child.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        # After a fork the pipes belong to the parent's conversation.
        if self._child is None or self._child.poll() is not None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "models.decode_apart"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=Path(__file__).resolve().parents[1],
            )
        return self._child

    @staticmethod
    def _read(stream: BinaryIO | io.BufferedReader, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes, read around the buffer so that `select` tells the truth."""
        parts = bytearray()
        descriptor = stream.fileno()
        while len(parts) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            part = os.read(descriptor, min(size - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


DECODER = DecoderProcess()
atexit.register(DECODER.close)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The child: paths ended by a zero byte in; success flag, length and an `.npy` array (or words) out."""
    from pydicom.pixels import pixel_array

    warnings.simplefilter("ignore")
    pending = b""
    while chunk := os.read(requests.fileno(), 65536):
        pending += chunk
        while b"\0" in pending:
            name, pending = pending.split(b"\0", 1)
            try:
                buffer = io.BytesIO()
                np.save(buffer, pixel_array(os.fsdecode(name), index=0, raw=True))
                good, answer = True, buffer.getvalue()
            except Exception as error:
                # Plugins raise whatever their libraries make of damaged bytes.
                good, answer = False, type(error).__name__.encode()
            answers.write(_HEADER.pack(good, len(answer)) + answer)
            answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
