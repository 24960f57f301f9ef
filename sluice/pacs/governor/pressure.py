"""What a PACS bears, learned from how it answers: pure arithmetic, without a clock or a database of its own.

Signs of too much (out of resources, aborts, timeouts, a rejected association, answers that take far longer than
usual) halve the associations in use and add a pause before each request. Good answers take the pause back and add
one association after another. The most that it bore before it complained is remembered as its ceiling: more is tried
only now and then, ever more rarely while it keeps complaining.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class Tempo:
    """How fast is learned.

    Attributes:
        calm_s: seconds without complaint before one step of recovery.
        good: good answers before one step of recovery.
        probe_s: seconds after a complaint before more than the ceiling is tried; doubles with each vain try.
        longest_probe_s: most of that.
        first_pause_s, longest_pause_s: the added pause, seconds; it doubles with each complaint.
        slower: how many times the usual time an answer must take to be a complaint.
        noticeable_ms: what is quicker than that is never a complaint, milliseconds an answer or instance.
        learn: samples before anything counts as usual.
    """

    calm_s: float = 20.0
    good: int = 5
    probe_s: float = 600.0
    longest_probe_s: float = 14_400.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    slower: float = 4.0
    noticeable_ms: float = 100.0
    learn: int = 30


@dataclass(frozen=True)
class Bearing:
    """What a PACS is believed to bear.

    Attributes:
        concurrency: associations at once; None for as many as policy allows.
        ceiling: the most that it bore before it complained; None while it never did.
        probes: how often more than the ceiling was tried in vain.
        pause_s: added pause before each request, seconds.
        since: when that was noted; None when nothing ever was.
    """

    concurrency: int | None = None
    ceiling: int | None = None
    probes: int = 0
    pause_s: float = 0.0
    since: datetime | None = None

    def within(self, policy: int) -> int:
        """Associations at once that both policy and the PACS allow."""
        return policy if self.concurrency is None else min(policy, self.concurrency)

    @classmethod
    def of(cls, row: dict[str, Any]) -> Bearing:
        """From a row of `pacs_event`."""
        return cls(row["concurrency"], row["ceiling"], row["probes"], float(row["pause_s"]), row["happened_at"])


def slowed(bearing: Bearing, in_use: int, tempo: Tempo) -> Bearing:
    """After a complaint with `in_use` associations: half of them, and a longer pause."""
    at_most = max(1, in_use)
    probed = bearing.ceiling is not None and at_most > bearing.ceiling
    return replace(
        bearing,
        concurrency=max(1, math.ceil(at_most / 2)),
        # with one association there is no smaller number to learn, only a pause
        ceiling=at_most - 1 if at_most > 1 else bearing.ceiling,
        probes=bearing.probes + 1 if probed else bearing.probes,
        pause_s=min(tempo.longest_pause_s, bearing.pause_s * 2 or tempo.first_pause_s),
    )


def recovered(
    bearing: Bearing, in_use: int, good: int, policy: int, now: datetime, tempo: Tempo
) -> tuple[str, str, Bearing] | None:
    """The next step of recovery as (kind, reason, bearing); None while it is too early or nothing is to recover.

    Args:
        good: good answers since the newest event.
        policy: associations at once that policy allows.
    """
    if bearing.since is None or good < tempo.good or now - bearing.since < timedelta(seconds=tempo.calm_s):
        return None
    if bearing.pause_s:
        half = bearing.pause_s / 2
        shorter = half if half >= tempo.first_pause_s else 0.0
        return "recovery", "good answers: shorter pause", replace(bearing, pause_s=shorter)
    if bearing.concurrency is None:
        return None
    level, ceiling = bearing.concurrency, bearing.ceiling
    if ceiling is not None and level > ceiling:  # a try above the ceiling is on
        if in_use < level:
            return None
        return "recovery", "it bears more than before", replace(bearing, ceiling=level, probes=0)
    if level >= policy:
        return ("recovery", "as much as policy allows", replace(bearing, concurrency=None)) if ceiling is None else None
    if ceiling is None or level < ceiling:
        return "recovery", "good answers: one association more", replace(bearing, concurrency=level + 1)
    patience = min(tempo.longest_probe_s, tempo.probe_s * 2**bearing.probes)
    if now - bearing.since < timedelta(seconds=patience):
        return None
    return "probe", "trying one association more", replace(bearing, concurrency=level + 1)


@dataclass(frozen=True)
class Usual:
    """How long one answer or instance takes.

    Attributes:
        usual_ms: learned over hundreds of samples.
        recent_ms: over the last few.
        samples: how many so far.
    """

    usual_ms: float
    recent_ms: float
    samples: int

    def after(self, sample_ms: float, tempo: Tempo) -> Usual:
        """With one more sample. What is usual follows slowly, and hardly at all while answers are far slower."""
        samples = self.samples + 1
        recent = self.recent_ms + (sample_ms - self.recent_ms) / min(samples, 8)
        weight = min(samples, 200)
        capped = min(sample_ms, self.usual_ms * 2) if samples > tempo.learn else sample_ms
        return Usual(self.usual_ms + (capped - self.usual_ms) / weight, recent, samples)

    def is_slow(self, tempo: Tempo) -> bool:
        """Whether answers lately take far longer than usual."""
        return (
            self.samples > tempo.learn
            and self.recent_ms > tempo.noticeable_ms
            and self.recent_ms > tempo.slower * self.usual_ms
        )

    def forgiven(self) -> Usual:
        """After a complaint was noted: only what comes from now on counts as recent."""
        return replace(self, recent_ms=self.usual_ms)


def complaint(service: str, status: str | None, may_be_cap: bool) -> str | None:
    """Why a final status says that the PACS is asked too much; None where it does not.

    A7xx is "out of resources" (PS3.4 tables C.4-1 to C.4-3), FE00 a cancel that we did not ask for. A PACS may cut a
    long list of answers off with the same statuses (`may_be_cap`); that is learned elsewhere
    (`sluice.pacs.find.splitting`).
    """
    if status is None or may_be_cap:
        return None
    if status.startswith("A7"):
        return f"{service} answered {status}: out of resources"
    if status == "FE00":
        return f"{service} answered FE00: cancelled by the PACS"
    if status in ("429", "503"):  # DICOMweb
        return f"{service} answered {status}: too many requests"
    return None
