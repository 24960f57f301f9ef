"""What a quality rule found."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.quality.suites import Rule


@dataclass(frozen=True)
class Finding:
    """One object that breaks one rule."""

    rule: Rule
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None
    observed: str
