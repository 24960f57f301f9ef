"""Whether the PACS is there: it goes away and comes back, and follows a file of faults that a person edits."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.hospital.faults import Faults, FaultsError

if TYPE_CHECKING:
    from sluice.hospital.pacs import HospitalPacs

LOGGER = logging.getLogger(__name__)
LOOK_EVERY_S = 0.1


class Presence:
    """Opens and closes a PACS's port as its faults say.

    Args:
        pacs: whose port it is.
        faults_file: read again whenever it changes; None follows no file.
    """

    def __init__(self, pacs: HospitalPacs, faults_file: Path | None) -> None:
        self._pacs = pacs
        self._file = faults_file
        self._seen = self._state()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._away: str = ""
        self._back_at: float | None = None

    def start(self) -> None:
        """Look after the port from a thread."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="hospital-presence")
        self.settle()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; again changes nothing."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def settle(self) -> None:
        """Be as the faults say now."""
        with self._lock:
            faults, now = self._pacs.faults, time.monotonic()
            if faults.away != self._away:
                self._away = faults.away
                self._back_at = now + faults.away_s if faults.away and faults.away_s is not None else None
            if self._back_at is not None and now >= self._back_at:
                faults.away = self._away = ""
                self._back_at = None
            if self._away == "closed":
                self._pacs.hang_up()
            elif not self._ended.is_set():
                self._pacs.listen()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._read_again()
            try:
                self.settle()
            except OSError as error:
                LOGGER.warning(
                    "The PACS cannot listen on port %d again (%s); it keeps trying.", self._pacs.port, error.strerror
                )

    def _read_again(self) -> None:
        if self._file is None or (state := self._state()) == self._seen:
            return
        self._seen = state
        try:
            self._pacs.faults = Faults.load(self._file)
            LOGGER.info("The faults of %s were read again.", self._file)
        except FaultsError as error:
            LOGGER.warning("The faults stay as they were. %s", error)

    def _state(self) -> tuple[int, int] | None:
        """What changes when the file does; None without one."""
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size) if found else None
