"""Graphic annotations of presentation states: the Clean Graphics Option (PS3.15 E.3.3).

Lines, points and shapes stay as they are: coordinates tell nobody's name. Text beside them stays as far as the
profile cleaned it by Clean Descriptors; without that option, or with no word left, the text object goes. Names of
graphic layers are written by people and are numbered anew. Overlays (60xx) are bitmaps in which text is pixels:
they are removed under every profile, see docs/decisions/0016-profile-engine.md.
"""

from __future__ import annotations

from sluice.deid.elements import DataSet, Element, Items, walk

TEXT_OBJECTS, GRAPHIC_OBJECTS, COMPOUND, TEXT_VALUE = 0x00700008, 0x00700009, 0x00700209, 0x00700006
LAYER = 0x00700002
REMOVED = b"REMOVED"


def without_empty_text(items: Items) -> Items:
    """Annotations whose cleaned text still says something, or that draw something."""
    kept: Items = []
    for item in items:
        texts = item.get(TEXT_OBJECTS)
        if texts is not None and isinstance(texts.value, list):
            told = [one for one in texts.value if TEXT_VALUE in one and one[TEXT_VALUE].value not in (b"", REMOVED)]
            if told:
                item[TEXT_OBJECTS] = Element(TEXT_OBJECTS, "SQ", told)
            else:
                del item[TEXT_OBJECTS]
        if TEXT_OBJECTS in item or GRAPHIC_OBJECTS in item or COMPOUND in item:
            kept.append(item)
    return kept


def number_layers(elements: DataSet) -> None:
    """Call the graphic layers of an object LAYER1, LAYER2, … in the order of their first appearance."""
    names: dict[bytes, bytes] = {}
    for _, element in walk(elements):
        if element.tag == LAYER and isinstance(element.value, bytes):
            name = element.value.strip(b" \0")
            element.value = names.setdefault(name, b"LAYER%d" % (len(names) + 1))
