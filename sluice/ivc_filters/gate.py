"""Which radiographs may show an inferior vena cava filter: the detector is shown these alone."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.anatomy.regions import REGIONS
from sluice.anatomy.strategies import PEDIATRIC_BELOW_YEARS

SHOWS_CAVA = frozenset({"abdominal", "spine", "adult_chest", "unknown"})
"""Labels whose pictures may show the inferior vena cava: the infrarenal cava lies beside L2 and L3, the lower edge of
an adult's chest film reaches it often enough that a filter there must not be missed, and an unsure reading may be any
of these."""
BESIDE_CAVA = frozenset({"ABDOMEN", "LSPINE", "SPINE"})
"""Regions beside the cava: seen on a film of another part (of a pelvis or a hip), they let it through."""


def by_reading(label: str | None, visible: Iterable[str] = ()) -> bool:
    """Whether a film may show the cava, by the body part that was read of it; False where none was."""
    return label in SHOWS_CAVA or (label == "others" and not BESIDE_CAVA.isdisjoint(visible))


def by_header(region_key: str | None, age_years: float | None) -> bool:
    """Whether a film may show the cava as far as its header says; a header that says nothing does not exclude it."""
    if region_key is None or region_key not in REGIONS:
        return True
    classes = REGIONS[region_key].router5.split("|")
    if age_years is not None and age_years < PEDIATRIC_BELOW_YEARS and "pediatric_chest" in classes:
        return False
    return not SHOWS_CAVA.isdisjoint(classes)
