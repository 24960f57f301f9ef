"""Structured content, item by item: the Clean Structured Content Option (PS3.15 E.3.4 and Table E.3.4-1).

A content item stays where its concept is a code of a known scheme and its value is one that nobody can write
freely: codes, numbers, coordinates, references (their UIDs mapped). Names of people go or become a dummy, dates
follow the profile's dates, text follows Clean Descriptors by the list of words, and what the table does not list is
denied by its value type. The tree stays one: references by position (0040,DB73) are counted anew, and those to
items that went go as well.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from pydicom.sr._snomed_dict import mapping as snomed

from sluice.deid import text
from sluice.deid.elements import DataSet, Element, Items
from sluice.deid.profile import DESCRIPTORS, FULL_DATES, MODIFIED_DATES, UIDS, Action, Place, Profile
from sluice.deid.tables import table

RELATIONSHIP, VALUE_TYPE, CONCEPT, CHILDREN, TARGET = 0x0040A010, 0x0040A040, 0x0040A043, 0x0040A730, 0x0040DB73
CODE, MEASURED, NUMERIC_VALUE = 0x0040A168, 0x0040A300, 0x0040A30A
REFERENCED, REFERENCED_CLASS = 0x00081199, 0x00081150
SUBJECT_NAME, SUBJECT_ID, SUBJECT_AGE = ("DCM", "121029"), ("DCM", "121030"), ("DCM", "121033")
# Value type → tag and VR of the value that the table decides about.
VALUES = {
    "TEXT": (0x0040A160, "UT"),
    "PNAME": (0x0040A123, "PN"),
    "UIDREF": (0x0040A124, "UI"),
    "DATE": (0x0040A121, "DA"),
    "TIME": (0x0040A122, "TM"),
    "DATETIME": (0x0040A120, "DT"),
}
DECIDED = frozenset(tag for tag, _ in VALUES.values())
# Value types whose value other rules clean, and what must be left of it.
BY_RULES = {
    "CONTAINER": None,
    "CODE": CODE,
    "NUM": MEASURED,
    "NUMERIC": NUMERIC_VALUE,  # of acquisition context
    "IMAGE": REFERENCED,
    "COMPOSITE": REFERENCED,
    "WAVEFORM": REFERENCED,
    "SCOORD": 0x00700022,
    "SCOORD3D": 0x00700022,
    "TCOORD": 0x0040A130,
}
_DATE = {"basic": "X", FULL_DATES: "K", MODIFIED_DATES: "C"}
UNLISTED = {
    "TEXT": {"basic": "X", DESCRIPTORS: "C"},
    "PNAME": {"basic": "X"},
    "UIDREF": {"basic": "D", UIDS: "K"},
    "DATE": _DATE,
    "TIME": _DATE,
    "DATETIME": _DATE,
}
DUMMIES = {"UT": b"REMOVED", "PN": b"REMOVED", "DA": b"19000101", "TM": b"000000", "DT": b"19000101000000"}
OLDEST_YEARS = 89


class Cleaner(Protocol):
    """What the content items need of the instance that they are part of."""

    profile: Profile
    patient: str

    def clean(self, elements: DataSet, place: Place, character_sets: str) -> DataSet:
        """Elements that the profile keeps."""

    def claim(self, option: str | None) -> None:
        """Note that an option was used."""

    def shifted(self, value: bytes, vr: str) -> bytes | None:
        """A date or time moved by the patient's shift."""

    def mapped(self, value: bytes) -> bytes:
        """UIDs that stand for the given ones."""

    def kept_text(self, value: bytes, character_sets: str) -> bytes | None:
        """Text in the encoding of the produced object."""

    def encoded(self, words: str) -> bytes:
        """Text in the encoding of the produced object."""


def action_of(concept: tuple[str, str], value_type: str, profile: Profile) -> tuple[Action, str | None]:
    """What happens to a content item, and the option that decides it.

    Args:
        concept: scheme and code value of its name, retired SNOMED codes as they are.
    """
    row = _rows().get((*_current(concept), value_type)) or UNLISTED.get(value_type)
    if row is None:
        return Action.RECURSE, None
    chosen = {option: row[option] for option in profile.options if row.get(option)}
    for option, code in chosen.items():
        if code == "C":
            return (Action.SHIFT if option == MODIFIED_DATES else Action.CLEAN), option
    if chosen:
        return Action.KEEP, next(iter(chosen))
    return (Action.REMOVE if row["basic"] == "X" else Action.DUMMY), None


class ContentTree:
    """The content items below one root, on their way through the rules."""

    def __init__(self, cleaner: Cleaner) -> None:
        self._cleaner = cleaner
        self._origin: dict[int, tuple[int, ...]] = {}

    def cleaned(self, items: Items, place: Place, character_sets: str) -> Items:
        """The items that stay, with their children, and references between them by their new positions."""
        kept = self._items(items, place, character_sets, (1,))
        while self._drop_lost_references(kept, self._positions(kept)):
            pass
        self._count_anew(kept, self._positions(kept))
        return kept

    def _items(self, items: Items, place: Place, character_sets: str, path: tuple[int, ...]) -> Items:
        kept = []
        for number, item in enumerate(items, 1):
            cleaned = self._item(item, place, character_sets, (*path, number))
            if cleaned is not None:
                self._origin[id(cleaned)] = (*path, number)
                kept.append(cleaned)
        return kept

    def _item(self, item: DataSet, place: Place, character_sets: str, path: tuple[int, ...]) -> DataSet | None:
        character_sets = text.character_sets(item) or character_sets
        inner = {tag: element for tag, element in item.items() if tag != CHILDREN and tag not in DECIDED}
        cleaned = self._cleaner.clean(inner, place, character_sets)
        if TARGET in item:
            kept = {tag: cleaned[tag] for tag in (RELATIONSHIP, TARGET) if tag in cleaned}
            return kept if len(kept) == 2 else None
        if CONCEPT in item and CONCEPT not in cleaned:
            return None  # a local name can say anything
        value_type = text.plain(item.get(VALUE_TYPE))
        concept = _concept(item)
        action, option = action_of(concept, value_type, self._cleaner.profile)
        if action is Action.REMOVE or not self._valued(item, cleaned, value_type, concept, action, character_sets):
            return None
        self._cleaner.claim(option)
        children = item.get(CHILDREN)
        if children is not None and isinstance(children.value, list):
            below = self._items(children.value, place.below(CHILDREN), character_sets, path)
            if below:
                cleaned[CHILDREN] = Element(CHILDREN, "SQ", below)
        return cleaned

    def _valued(
        self,
        item: DataSet,
        cleaned: DataSet,
        value_type: str,
        concept: tuple[str, str],
        action: Action,
        character_sets: str,
    ) -> bool:
        """Give the cleaned item its value; False where none is left that its value type needs."""
        if value_type in BY_RULES:
            if concept == SUBJECT_AGE:
                _cap_age(cleaned)
            needed = BY_RULES[value_type]
            return needed is None or (needed in cleaned and _is_whole(cleaned[needed]))
        if value_type not in VALUES:
            return False
        tag, vr = VALUES[value_type]
        given = item.get(tag)
        value = given.value if given is not None and isinstance(given.value, bytes) else b""
        produced = self._value(value, vr, concept, action, character_sets)
        if produced is None:
            return False
        cleaned[tag] = Element(tag, vr, produced)
        return True

    def _value(
        self, value: bytes, vr: str, concept: tuple[str, str], action: Action, character_sets: str
    ) -> bytes | None:
        if concept in (SUBJECT_NAME, SUBJECT_ID) and vr in ("PN", "UT"):
            return self._cleaner.patient.encode()
        if vr == "UI":
            return self._cleaner.mapped(value) or None
        if action is Action.SHIFT:
            return self._cleaner.shifted(value, vr)
        if action is Action.CLEAN:
            decoded = text.decode(value, character_sets)
            cleaned = text.clean_report(decoded) if decoded else ""
            return self._cleaner.encoded(cleaned) or self._dummy(concept, vr)
        if action is Action.DUMMY:
            return DUMMIES[vr]
        return self._cleaner.kept_text(value, character_sets)

    def _dummy(self, concept: tuple[str, str], vr: str) -> bytes | None:
        """The dummy of text of which no word was left: where the table wants a value, else none."""
        row = _rows().get((*_current(concept), "TEXT"))
        return DUMMIES[vr] if row is not None and row["basic"] != "X" else None

    def _positions(self, items: Items) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Position in the original → position now, of every item of the tree."""
        found: dict[tuple[int, ...], tuple[int, ...]] = {(1,): (1,)}
        waiting: list[tuple[Items, tuple[int, ...]]] = [(items, (1,))]
        while waiting:
            level, path = waiting.pop()
            for number, item in enumerate(level, 1):
                here = (*path, number)
                found[self._origin[id(item)]] = here
                waiting.append((_children(item), here))
        return found

    def _drop_lost_references(self, items: Items, positions: dict[tuple[int, ...], tuple[int, ...]]) -> bool:
        staying = [item for item in items if TARGET not in item or _target(item) in positions]
        lost = len(staying) < len(items)
        items[:] = staying
        for item in staying:
            if self._drop_lost_references(_children(item), positions):
                lost = True
            if CHILDREN in item and not _children(item):
                del item[CHILDREN]
        return lost

    def _count_anew(self, items: Items, positions: dict[tuple[int, ...], tuple[int, ...]]) -> None:
        for item in items:
            if TARGET in item:
                value = b"".join(number.to_bytes(4, "little") for number in positions[_target(item)])
                item[TARGET] = Element(TARGET, "UL", value)
            self._count_anew(_children(item), positions)


def _children(item: DataSet) -> Items:
    element = item.get(CHILDREN)
    return element.value if element is not None and isinstance(element.value, list) else []


def _target(item: DataSet) -> tuple[int, ...]:
    value = item[TARGET].value
    assert isinstance(value, bytes)
    return tuple(int.from_bytes(value[start : start + 4], "little") for start in range(0, len(value), 4))


def _concept(item: DataSet) -> tuple[str, str]:
    element = item.get(CONCEPT)
    if element is None or not isinstance(element.value, list) or not element.value:
        return "", ""
    code = element.value[0]
    return text.plain(code.get(text.SCHEME)), text.plain(code.get(text.CODE_VALUE))


def _is_whole(element: Element) -> bool:
    """Whether a value that other rules cleaned still says something: references keep their class and instance."""
    if element.tag == REFERENCED:
        items = element.value
        return isinstance(items, list) and all(REFERENCED_CLASS in item for item in items)
    return True


def _cap_age(item: DataSet) -> None:
    measured = item.get(MEASURED)
    for one in measured.value if measured is not None and isinstance(measured.value, list) else []:
        number = one.get(NUMERIC_VALUE)
        if number is not None and isinstance(number.value, bytes):
            try:
                old = float(number.value) > OLDEST_YEARS
            except ValueError:
                old = True
            if old:
                one[NUMERIC_VALUE] = Element(NUMERIC_VALUE, "DS", b"90")


def _current(concept: tuple[str, str]) -> tuple[str, str]:
    """Scheme and code, of retired SNOMED styles by the table that pydicom ships (PS3.16 annex O)."""
    scheme, code = concept
    if scheme in ("SRT", "SNM3", "99SDM"):
        found = snomed["SRT"].get(code)
        return ("SCT", found) if found else concept
    return concept


@cache
def _rows() -> dict[tuple[str, str, str], dict[str, str]]:
    return {(row["scheme"], row["code"], row["value_type"]): row for row in table("content_items")}
