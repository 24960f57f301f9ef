"""Body region, laterality and view from what a header says in words and codes."""

from sluice.anatomy.reading import SOURCE_TAGS, AnatomyReading, read_anatomy
from sluice.anatomy.regions import REGIONS, Region

__all__ = ["REGIONS", "SOURCE_TAGS", "AnatomyReading", "Region", "read_anatomy"]
