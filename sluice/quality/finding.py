"""What a quality rule found."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from sluice.quality.suites import Rule

# What an observed value may look like to be shown: a code string (PS3.5, VR CS) that is no number of a patient.
CODE_STRING = re.compile(r"(?!.*\d{4})[A-Z0-9_ ]{1,16}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that breaks one rule. `object` is what the rule's level knows it by: a UID, the window, a scanner."""

    rule: Rule
    object: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None
    scanner: str | None
    observed: str


def shown(value: Any) -> str:
    """An observed value as findings show it; text only where it looks like a code."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, str):
        return value if CODE_STRING.fullmatch(value) else "not shown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
