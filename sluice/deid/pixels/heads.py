"""Whether a volume may show a face: one that is drawn from head CT, MR or PET is recognised (Schwarz, NEJM 2019).

A volume that names a region which holds no part of a face, and nothing else, shows none. One that names a head or neck
anywhere in its header, or no region at all, may. A picture that is too small for a face shows none either.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sluice.anatomy import REGIONS, SOURCE_TAGS, read_anatomy
from sluice.deid import gate, text
from sluice.deid.elements import DataSet, Element, File

VOLUMES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.2", "4.3", "4.4", "128", "128.1", "130")
)
# A neck or a spine is pictured with the jaw and often the nose in it.
WITH_FACE = frozenset(key for key, region in REGIONS.items() if region.group == "HEADNECK") | {"CSPINE", "SPINE"}
SMALLEST = 80.0  # mm: a field of view below it in both directions holds no face (an adult's is some 120 wide)
CHARACTER_SET, SPACING, ROWS, COLUMNS = 0x00080005, 0x00280030, 0x00280010, 0x00280011
DESCRIPTIONS = (0x00180015, 0x00204000, 0x0008103E, 0x00181030, 0x00400254, 0x00081030, 0x00181400, 0x00321060)


def may_show_face(file: File, region_key: str | None = None) -> str | None:
    """Why an object may show a face, without a value of its header; None where it shows none.

    Args:
        region_key: what the anatomy room says of its series, which knows words that people taught; None: nothing.
    """
    elements = file.elements
    if gate.text(elements.get(gate.SOP_CLASS)) not in VOLUMES or _is_small(elements):
        return None
    if region_key in WITH_FACE:
        return "its series is of the head, the neck or the whole spine"
    named, elsewhere = _read(json.dumps(_source_elements(elements), sort_keys=True))
    if named & WITH_FACE:
        return "its header names the head, the neck or the whole spine"
    if not named and region_key is None:
        return "its header names no region" if not elsewhere else "its header names more than one region of the body"
    return None


@lru_cache(maxsize=4096)
def _read(elements: str) -> tuple[frozenset[str], bool]:
    """Every region that a header names, each description read by itself; whether it names a part that is no region."""
    values = {int(tag, 16): element for tag, element in json.loads(elements).items()}
    readings = [read_anatomy(values)]
    readings += [read_anatomy({tag: values[tag]}) for tag in DESCRIPTIONS if tag in values]
    named: set[str] = set()
    for reading in readings:
        named.update(reading.members or filter(None, [reading.region_key]))
    return frozenset(named), any(reading.sct_code for reading in readings)


def _source_elements(elements: DataSet) -> dict[str, Any]:
    """What the anatomy room reads, as DICOM JSON by tag (PS3.18 Annex F)."""
    character_sets = gate.text(elements.get(CHARACTER_SET))
    return {f"{tag:08X}": _json(elements[tag], character_sets) for tag in SOURCE_TAGS if tag in elements}


def _json(element: Element, character_sets: str) -> dict[str, Any]:
    if isinstance(element.value, list):
        items = [{f"{tag:08X}": _json(inner, character_sets) for tag, inner in item.items()} for item in element.value]
        return {"vr": "SQ", "Value": items}
    if not isinstance(element.value, bytes):
        return {"vr": element.vr}
    said = text.decode(element.value, character_sets) or element.value.decode("latin-1")
    return {"vr": element.vr, "Value": [part.strip(" \0") for part in said.split("\\")]}


def _is_small(elements: DataSet) -> bool:
    """Whether the picture is known to be smaller than a face; pixel spacing in mm, row then column."""
    parts = gate.text(elements.get(SPACING)).split("\\")
    rows, columns = gate.number(elements.get(ROWS), 0), gate.number(elements.get(COLUMNS), 0)
    try:
        height, width = rows * float(parts[0]), columns * float(parts[1])
    except (ValueError, IndexError):
        return False
    return 0 < height < SMALLEST and 0 < width < SMALLEST
