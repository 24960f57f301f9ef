"""The receiver's certificate, key and authorities, taken up anew when their files change: no restart, no lost sender.

Each serving process looks for itself, at a handshake, so all of them follow within seconds. Associations under way keep
what they agreed upon.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from typing import Self

from sluice.pacs.tls import TlsError, server_tls
from sluice.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
CHECK_EVERY_S = 86_400.0  # files that stay the same grow old, which is said once a day
Stamp = tuple[int, int, int] | None


class RenewedTls:
    """Gives the `SSLContext` for a handshake; safe to ask from many threads.

    Args:
        settings: whose `receiver_tls_*` name the files.
        context: made from them just now.
        stamps: of the files, from before it was made.
        look_every_s: how often the files are looked at, at most.
    """

    def __init__(
        self, settings: Settings, context: ssl.SSLContext, stamps: list[Stamp], look_every_s: float = LOOK_EVERY_S
    ) -> None:
        self._settings = settings
        self._context = context
        self._look_every_s = look_every_s
        self._stamps = stamps
        self._is_newest = True  # whether the context is that of the files as they were when last looked at
        self._looked = self._checked = time.monotonic()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings, look_every_s: float = LOOK_EVERY_S) -> Self | None:
        """What the settings say; None for a receiver that speaks plainly.

        Raises:
            TlsError: a file is missing, unreadable, expired or does not fit to the others.
        """
        stamps = _stamps(settings)
        context = server_tls(settings)
        return None if context is None else cls(settings, context, stamps, look_every_s)

    def __call__(self) -> ssl.SSLContext:
        """The context of the newest files that can be used."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= self._look_every_s:
                self._looked = now
                self._look(now)
            return self._context

    def _look(self, now: float) -> None:
        stamps = _stamps(self._settings)
        is_new = stamps != self._stamps
        if not is_new and now - self._checked < CHECK_EVERY_S:
            return
        self._stamps, self._checked = stamps, now
        self._is_newest = self._is_newest and not is_new
        try:
            context = server_tls(self._settings)
        except (TlsError, OSError) as error:  # an OSError: it went away between two looks
            log.error("The certificate that was read before stays in use, for the files of now cannot be: %s", error)
            return
        if context is not None and not self._is_newest:
            self._context, self._is_newest = context, True
            log.info("The receiver's TLS files have changed: their certificate is used from now on.")


def _stamps(config: Settings) -> list[Stamp]:
    """What tells whether a file was replaced, written or made readable; taken before they are read, so that no change
    is missed."""
    stamps: list[Stamp] = []
    for path in (config.receiver_tls_certificate, config.receiver_tls_key, config.receiver_tls_ca):
        try:
            found = path.stat() if path is not None else None
        except OSError:
            found = None
        stamps.append((found.st_ctime_ns, found.st_size, found.st_ino) if found is not None else None)
    return stamps
