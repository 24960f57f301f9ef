"""How much memory the whole stack takes: proportional set size, so that shared pages count once."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


class MemoryWatch:
    """Keeps the largest sum that `look` has seen; call it every few seconds."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.processes = 0

    def look(self) -> None:
        """Add up our process and everything below it."""
        total = 0
        ours = psutil.Process(os.getpid())
        family = [ours, *ours.children(recursive=True)]
        for process in family:
            with suppress(psutil.Error, OSError):
                total += process.memory_full_info().pss
        if total > self.peak_bytes:
            self.peak_bytes, self.processes = total, len(family)
