"""How long the answer to a request is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

from sluice.pacs.interruption import LOOK_S, Interruption


class Patience:
    """How long a request may stay without a sign of life, and how long one that we interrupted may still take.

    Args:
        limit_s: so long without a response, or a change of `progress`.
        progress: may ask the ledger, so it is looked at only ten times within the limit.
    """

    def __init__(
        self,
        limit_s: float,
        progress: Callable[[], object] | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.interruption = interruption or Interruption()
        self._limit_s = limit_s
        self._progress = progress
        self._step_s = max(0.05, limit_s / 10) if progress else limit_s
        self._seen: object = None
        self.sign_of_life()

    def sign_of_life(self) -> None:
        """Something came: the limit begins anew."""
        self._last_sign = time.monotonic()
        self._next_look = self._last_sign + self._step_s

    def wait_s(self) -> float:
        """How long to wait before the next look.

        Raises:
            TimeoutError: it has been long enough.
        """
        now = time.monotonic()
        left = self.interruption.left_s if self.interruption.begun else self._last_sign + self._limit_s - now
        if left <= 0:
            raise TimeoutError
        step = min(self._next_look - now, LOOK_S) if self.interruption.is_possible else self._next_look - now
        return max(0.001, min(step, left))

    def look(self) -> None:
        """Nothing came: see whether there is progress."""
        now = time.monotonic()
        if now < min(self._next_look, self._last_sign + self._limit_s):
            return
        self._next_look = now + self._step_s
        if self._progress is None:
            return
        try:
            seen = self._progress()
        except Exception:  # the ledger may be away for a moment; that says nothing of the PACS
            return
        if seen != self._seen:
            self._seen = seen
            self.sign_of_life()
