"""What a header says about body region, side and view, MR sequence and CT phase, and where people teach it."""

from sluice.anatomy.evidence import EVIDENCE_TAGS, Evidence
from sluice.anatomy.mappings import NOTHING_TAUGHT, Mappings
from sluice.anatomy.reading import SOURCE_TAGS, AnatomyReading, read_anatomy
from sluice.anatomy.regions import REGIONS, Region

__all__ = [
    "EVIDENCE_TAGS", "NOTHING_TAUGHT", "REGIONS", "SOURCE_TAGS", "AnatomyReading", "Evidence", "Mappings", "Region",
    "read_anatomy",
]  # fmt: skip
