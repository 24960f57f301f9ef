"""Rules for devices, as data: which rectangles of their pictures show text, which pictures leave, which are held.

`devices.csv` ships; a hospital writes its own in the same form into the folder that the setting `device_rules` names.
The hospital's rules are asked first, files by name, lines in their order; the first that fits decides. No rule decides
nothing: what shows text by habit is then held (`sluice.deid.pixels.deciding`).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from sluice.deid import gate
from sluice.deid.elements import DataSet, File
from sluice.deid.pixels.rectangle import Rectangle, outside

SHIPPED = Path(__file__).resolve().with_name("devices.csv")
TEXTS = {
    "sop_class": gate.SOP_CLASS,
    "modality": gate.MODALITY,
    "manufacturer": 0x00080070,
    "model": 0x00081090,
    "software": 0x00181020,
    "image_type": gate.IMAGE_TYPE,
}
NUMBERS = {"rows": 0x00280010, "columns": 0x00280011}
COLUMNS = (
    "rule", "sop_class", "modality", "manufacturer", "model", "software", "rows", "columns", "image_type", "action",
    "rectangles", "source", "licence", "reviewed", "why",
)  # fmt: skip
ACTIONS = ("release", "mask", "regions", "hold")
REGIONS, EDGES = 0x00186011, (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)  # left, top, right, bottom: inclusive


class DeviceRuleError(RuntimeError):
    """A rule cannot be used; the message names file, line and what to write."""


@dataclass(frozen=True)
class DeviceRule:
    """One line of a table of rules.

    Attributes:
        rule: its name.
        fits: column and pattern, upper case, `*` and `?` as in file names; what is `*` alone is left out.
        action: `release` as it is, `mask` its rectangles, `regions` (mask what lies outside the ultrasound regions),
            `hold`.
        why: for people, when it holds.
    """

    rule: str
    fits: tuple[tuple[str, str], ...]
    action: str
    rectangles: tuple[Rectangle, ...]
    why: str

    def matches(self, elements: DataSet) -> bool:
        """Whether it speaks of this object."""
        return all(fnmatchcase(_said(elements, column), pattern) for column, pattern in self.fits)


def _said(elements: DataSet, column: str) -> str:
    if column in NUMBERS:
        return str(gate.number(elements.get(NUMBERS[column]), 0))
    return gate.text(elements.get(TEXTS[column])).upper()


def rule_for(file: File, rules: Iterable[DeviceRule]) -> DeviceRule | None:
    """The first rule that fits; None where none does."""
    return next((rule for rule in rules if rule.matches(file.elements)), None)


def masks_of(rule: DeviceRule, file: File) -> tuple[Rectangle, ...] | None:
    """What the rule blanks in this object; None where it says `regions` and the object has none that can be used."""
    if rule.action != "regions":
        return rule.rectangles if rule.action == "mask" else ()
    rows, columns = (gate.number(file.elements.get(tag), 0) for tag in NUMBERS.values())
    regions = ultrasound_regions(file.elements)
    if not regions or any(one.right > columns + 1 or one.bottom > rows + 1 for one in regions):
        return None  # one more than there is: devices are seen that give the first pixel behind it
    return outside(regions, rows, columns)


def ultrasound_regions(elements: DataSet) -> list[Rectangle]:
    """Sequence of Ultrasound Regions (0018,6011), PS3.3 C.8.5.5; empty where one of them has no area."""
    sequence = elements.get(REGIONS)
    if sequence is None or not isinstance(sequence.value, list):
        return []
    found = []
    for item in sequence.value:
        edges = [item.get(tag) for tag in EDGES]
        if any(edge is None or not isinstance(edge.value, bytes) or len(edge.value) != 4 for edge in edges):
            return []
        left, top, right, bottom = (
            int.from_bytes(edge.value, "little") for edge in edges if edge and isinstance(edge.value, bytes)
        )
        if right <= left or bottom <= top:
            return []
        found.append(Rectangle(left, top, right - left + 1, bottom - top + 1))
    return found


def load_rules(folder: Path | None = None) -> tuple[DeviceRule, ...]:
    """The hospital's rules, then those that ship.

    Args:
        folder: of the hospital's CSV files; None where it has none.

    Raises:
        DeviceRuleError: a file or a line cannot be used.
    """
    return tuple(rule for path in tables_of(folder) for rule in _of_text(path.name, path.read_bytes()))


def rules_digest(folder: Path | None = None) -> str:
    """SHA-256 of all tables of rules: they decide what a release holds."""
    digest = hashlib.sha256()
    for path in tables_of(folder):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def tables_of(folder: Path | None) -> list[Path]:
    """The hospital's tables in the order in which they are asked, then the one that ships.

    Raises:
        DeviceRuleError: there is no such folder.
    """
    if folder is None:
        return [SHIPPED]
    if not folder.is_dir():
        raise DeviceRuleError(f"The folder of device rules {folder} does not exist. Create it, or unset the setting.")
    return [*sorted(folder.glob("*.csv")), SHIPPED]


@lru_cache(maxsize=64)
def _of_text(name: str, content: bytes) -> tuple[DeviceRule, ...]:
    rules: list[DeviceRule] = []
    for _, read in lines_of(name, content):
        if isinstance(read, DeviceRuleError):
            raise read
        rules.append(read)
    return tuple(rules)


def lines_of(name: str, content: bytes) -> Iterator[tuple[str, DeviceRule | DeviceRuleError]]:
    """The rules of a table with their place, `us.csv, line 3`; in the place of one that cannot be used, why."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        yield name, DeviceRuleError(f"{name} is no UTF-8 text. Save it as CSV in UTF-8.")
        return
    reader = csv.DictReader(lines, strict=True)
    names: set[str] = set()
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            yield name, DeviceRuleError(f"The first line of {name} must be: {','.join(COLUMNS)}")
            return
        for row in reader:
            place = f"{name}, line {reader.line_num}"
            try:
                rule = _rule(row, place)
            except DeviceRuleError as error:
                yield place, error
                continue
            if rule.rule in names:
                yield place, DeviceRuleError(f"{place}: the rule {rule.rule!r} is there twice. Give each its own name.")
            names.add(rule.rule)
            yield place, rule
    except csv.Error as error:
        place = f"{name}, line {reader.line_num}"
        yield place, DeviceRuleError(f"{place}, is no CSV: {error}")


def _rule(row: Mapping[str, str | None], place: str) -> DeviceRule:
    given = {column: (row.get(column) or "").strip() for column in COLUMNS}
    if None in row or any(row.get(column) is None for column in COLUMNS):
        raise DeviceRuleError(f"{place}: it needs {len(COLUMNS)} cells. Write * where anything fits.")
    for column in ("rule", "source", "licence", "reviewed", "why", *TEXTS, *NUMBERS):
        if not given[column]:
            raise DeviceRuleError(f"{place}: {column} is empty. {_advice(column)}")
    _check_date(given["reviewed"], place)
    if given["action"] not in ACTIONS:
        raise DeviceRuleError(f"{place}: there is no action {given['action']!r}. Use one of: {', '.join(ACTIONS)}.")
    rectangles = _rectangles(given["rectangles"], place)
    if bool(rectangles) != (given["action"] == "mask"):
        raise DeviceRuleError(f"{place}: rectangles belong to the action mask, and mask needs at least one.")
    fits = tuple((column, given[column].upper()) for column in (*TEXTS, *NUMBERS) if given[column] != "*")
    _check_lie_within(rectangles, given, place)
    if given["action"] in ("release", "mask"):
        _check_is_narrow(dict(fits), given["action"], place)
    return DeviceRule(given["rule"], fits, given["action"], rectangles, given["why"])


def _check_is_narrow(fits: Mapping[str, str], action: str, place: str) -> None:
    """What lets pixels leave speaks of one kind of device: coordinates mean nothing for another one."""
    needed = ["sop_class", "manufacturer", "model", *(("rows", "columns") if action == "mask" else ())]
    for column in needed:
        if column not in fits or set(fits[column]) <= set("*?"):
            raise DeviceRuleError(f"{place}: a rule that says {action} must name {', '.join(needed)}.")


def _check_lie_within(rectangles: Iterable[Rectangle], given: Mapping[str, str], place: str) -> None:
    """A rectangle beside the picture would blank nothing, and nobody would notice."""
    for column, edge in (("columns", "right"), ("rows", "bottom")):
        if given[column].isdecimal():
            for rectangle in rectangles:
                if getattr(rectangle, edge) > int(given[column]):
                    raise DeviceRuleError(
                        f"{place}: a rectangle ends at {edge} {getattr(rectangle, edge)}, and the picture has "
                        f"{given[column]} {column}. Write left, top, width and height of what is blanked."
                    )


def _advice(column: str) -> str:
    match column:
        case "source" | "licence" | "reviewed":
            return "Say where the rule comes from, under which licence, and on which day a person looked at it."
        case "rule" | "why":
            return "People read it when something is held."
        case _:
            return "Write * where anything fits."


def _check_date(text: str, place: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise DeviceRuleError(f"{place}: reviewed is no date. Write it like 2026-11-26.") from None


def _rectangles(text: str, place: str) -> tuple[Rectangle, ...]:
    """`left top width height; …`, in pixels."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        numbers: Sequence[str] = part.split()
        if len(numbers) != 4 or not all(number.isdecimal() and len(number) < 6 for number in numbers):
            raise DeviceRuleError(f"{place}: a rectangle is written: left top width height, in whole pixels.")
        left, top, width, height = map(int, numbers)
        if not width or not height:
            raise DeviceRuleError(f"{place}: a rectangle has no area.")
        found.append(Rectangle(left, top, width, height))
    return tuple(found)
