"""Ending a request that is under way before its time: C-CANCEL-RQ, and how long its end is waited for.

PS3.7 9.3.3.3 (C-GET) and 9.3.4.3 (C-MOVE): the PACS ends the sub-operations and answers with status FE00 (PS3.4 C.4.2),
or takes no notice. It may also have finished at that moment; then its final response and our C-CANCEL-RQ cross.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sluice.pacs.outcomes import Moved

LOOK_S = 0.5  # between two looks whether a request has to end
GRACE_S = 10.0  # for the PACS to send what it is sending and to answer; after that we abort, lest a pause take minutes


class Interruption:
    """Whether one request has to end before its time.

    Args:
        due: whether it has to; asked about twice a second by the thread that waits for the answer. None: never.
    """

    def __init__(self, due: Callable[[], bool] | None = None) -> None:
        self._due = due
        self._since: float | None = None

    def begins(self) -> bool:
        """Whether the source has to be told to stop now; true once."""
        if self.begun or self._due is None or not self._due():
            return False
        self._since = time.monotonic()
        return True

    @property
    def begun(self) -> bool:
        """Whether the source was told to stop."""
        return self._since is not None

    @property
    def is_possible(self) -> bool:
        """Whether anybody may want it yet."""
        return self._due is not None and not self.begun

    @property
    def left_s(self) -> float:
        """After it has begun: seconds until we wait no longer."""
        return math.inf if self._since is None else self._since + GRACE_S - time.monotonic()

    def settle(self, moved: Moved) -> Moved:
        """Note in the answer that we interrupted the request: how it ended then is no fault of the source."""
        if self.begun:
            moved.interrupted, moved.error = True, None
        return moved
