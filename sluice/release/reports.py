"""Reports as rows of a table: what the content tree of a de-identified file says, section by section.

The tree is read by the reader of the checks (`sluice.deid.reread`), so what stands in the table are the values that the
leak check judged and that the page Review pooled, and nothing else: no original is opened here.

A section is a container of the tree (PS3.3 C.17.3), or the text items of one name below it: what people write under
`Findings`. Sections come in the order of the tree. Left out are people, dates and UIDs, and what items say of the
patient's person (sex, age, size, weight), which the table `headers` says, as coarsely as the project wants it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extras import Json, execute_values

from sluice.database import Database
from sluice.deid.names import GAP
from sluice.deid.profile import CONTENT, sop_classes
from sluice.deid.reread import Reread, reread
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.contents import stream

READER = 1  # raise it when the same file gives other rows
MOST_CHARACTERS, MOST_SECTIONS, MOST_ITEMS = 1_000_000, 2_000, 20_000  # of one report; the file has all of it
AT_ONCE = 4  # downloads
CHUNK = 64  # reports in memory
DUMMY = "REMOVED"  # of a text of which nothing was left, `sluice.deid.structured`
DUMMIES = ("", "19000101")  # of a date that its object needs

CHILDREN, VALUE_TYPE, CONCEPT, TEXT, CODE = 0x0040A730, 0x0040A040, 0x0040A043, 0x0040A160, 0x0040A168
MEASURED, NUMERIC, UNITS, REFERENCED, INSTANCE = 0x0040A300, 0x0040A30A, 0x004008EA, 0x00081199, 0x00081155
CODE_VALUE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
TEMPLATE = (0x0040A504, 0x0040DB00)
FLAGS = {
    "completion_flag": 0x0040A491,
    "verification_flag": 0x0040A493,
    "preliminary_flag": 0x0040A496,
    "content_date": 0x00080023,
}
LANGUAGE = ("DCM", "121049")
# What items say of who the patient is: TID 1007, and observations of LOINC in PS3.16 TID 300x.
OF_THE_PERSON = frozenset(
    {("DCM", code) for code in ("121029", "121030", "121031", "121032", "121033", "121034", "121035", "121036")}
    | {("LN", code) for code in ("8302-2", "29463-7", "3141-9", "39156-5", "8277-6", "21112-8", "46098-0")}
    | {("SCT", code) for code in ("397669002", "424144002", "263495000", "248153007", "27113001", "50373000",
                                  "60621009", "301898006", "397483006", "703118005")}
)  # fmt: skip


def report_classes() -> list[str]:
    """SOP classes whose objects are content trees."""
    return sorted(uid for uid, row in sop_classes().items() if row["disposition"] == CONTENT)


@dataclass
class _Section:
    headings: tuple[str, ...]
    concept: tuple[str, str, str]
    language: str | None
    text: list[str] = field(default_factory=list)
    coded: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    @property
    def says(self) -> bool:
        return bool(self.text or self.coded or self.references)


@dataclass
class _Item:
    """A content item; `said` are its own elements by their path within it, with the number of each item on the way."""

    said: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = field(default_factory=dict)

    def value(self, *path: int) -> str:
        """The value at a path, of the first item of each sequence."""
        return self.said.get((path, (0,) * (len(path) - 1)), "")

    def code(self, *path: int) -> tuple[str, str, str]:
        """Scheme, value and meaning of the first code in a sequence."""
        scheme, value, meaning = (self.value(*path, tag) for tag in (SCHEME, CODE_VALUE, MEANING))
        return scheme, value, meaning or value

    def all(self, *path: int) -> list[str]:
        """The values at a path, of all items."""
        return [value for (where, _), value in self.said.items() if where == path and value]


def sections_of(file: Reread) -> list[dict[str, Any]]:
    """Rows of the table `reports` of one de-identified file, without the columns that all its tables have alike.

    The first row is the document itself, be it that only its sections say something. What is above the limits of a
    report in the table is left out, and `is_cut` says so.
    """
    items = _items(file)
    root = items.pop((), _Item())
    title = root.code(CONCEPT)
    shared = {name: value if (value := root.value(tag)) not in DUMMIES else None for name, tag in FLAGS.items()}
    shared |= {"title": title[2] or None, "title_code": title[1] or None, "title_scheme": title[0] or None}
    shared |= {"template": root.value(*TEMPLATE) or None}
    sections = _sections(root, items)
    rows: list[dict[str, Any]] = []
    left, is_cut = MOST_CHARACTERS, len(items) > MOST_ITEMS or len(sections) > MOST_SECTIONS
    for section in sections[:MOST_SECTIONS]:
        text, coded, references = "\n".join(section.text), section.coded, section.references
        if len(text) > left:
            text, is_cut = text[:left], True
        left -= len(text)
        rows.append(
            shared
            | {
                "section": len(rows) + 1,
                "section_path": " > ".join(section.headings) or None,
                "concept": section.concept[2] or None,
                "concept_code": section.concept[1] or None,
                "concept_scheme": section.concept[0] or None,
                "text": text or None,
                "coded": coded or None,
                "referenced_instances": references or None,
                "gaps": text.count(GAP) + sum(line == DUMMY for line in section.text),
                "language": section.language,
            }
        )
    return [row | {"is_cut": is_cut} for row in rows]


def read_reports(database: Database, store: ObjectStore, release_id: int, part: tuple[int, int] | None = None) -> int:
    """Read the reports of a version from its bucket as far as nobody did yet; how many. Again: nothing.

    Args:
        part: first and last receipt id of the version's own members; everything that it contains when None.

    Raises:
        ObjectStoreError: the bucket cannot be used, or does not hold what was put there.
    """
    first, last = part or (None, None)
    asked = {"release_id": release_id, "classes": report_classes(), "reader": READER, "first": first, "last": last}
    wanted = database.rows("release_unread_reports", asked)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            read = pool.map(lambda row: _read(store, row["object_key"], row["sha256"]), chunk)
            rows = [
                (row["object_key"], row["sha256"], READER, Json(sections))
                for row, sections in zip(chunk, read, strict=True)
            ]
            with database.transaction() as connection, connection.cursor() as cursor:
                execute_values(
                    cursor,
                    "insert into report_reading (object_key, sha256, reader, sections) values %s "
                    "on conflict (object_key) do update set sha256 = excluded.sha256, reader = excluded.reader, "
                    "sections = excluded.sections",
                    rows,
                )
    return len(wanted)


def reports(database: Database, release_id: int) -> Iterator[dict[str, Any]]:
    """Rows of the table, with `columns` of the object that each is of."""
    with database.transaction() as connection:
        asked = {"release_id": release_id, "classes": report_classes()}
        for row in stream(connection, "release_reports", asked):
            for section in row["sections"]:
                yield {"columns": row["columns"], "key": row["key"]} | section


def _read(store: ObjectStore, key: str, sha256: str) -> list[dict[str, Any]]:
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ObjectStoreError(f"{key} in bucket {store.bucket!r} is not what was put there. Run verify again.")
    return sections_of(reread(data))


def _items(file: Reread) -> dict[tuple[int, ...], _Item]:
    """Content items by their place: the numbers of the items on the way to them; the document is at `()`."""
    items: dict[tuple[int, ...], _Item] = {}
    for one in file.elements:
        depth = 0
        while depth < len(one.path) - 1 and one.path[depth] == CHILDREN:
            depth += 1
        item = items.setdefault(one.item[:depth], _Item())
        if one.vr != "SQ":
            item.said[one.path[depth:], one.item[depth:]] = one.text().replace("\0", "")
    return items


def _sections(root: _Item, items: dict[tuple[int, ...], _Item]) -> list[_Section]:
    title = root.code(CONCEPT)
    document = _Section((), title, None)
    sections = [document]
    of: dict[tuple[int, ...], _Section] = {(): document}
    containers: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}  # place of an item → of the container that it is in
    named: dict[tuple[tuple[int, ...], tuple[str, str, str]], _Section] = {}
    for place in sorted(items)[:MOST_ITEMS]:
        item, above = items[place], place[:-1]
        while above not in of:  # a level of which nothing is left
            above = above[:-1]
        section, container = of[above], containers[above]
        kind, concept = item.value(VALUE_TYPE), item.code(CONCEPT)
        if concept[:2] == LANGUAGE:
            section.language = item.code(CODE)[1] or section.language
        elif concept[:2] in OF_THE_PERSON:
            continue  # and what hangs on it belongs to the section
        elif kind == "CONTAINER":
            section = _Section((*section.headings, concept[2]), concept, section.language)
            sections.append(section)
            container = place
        elif kind == "TEXT" and of[container] is section and concept[1] and concept != section.concept:
            key = (container, concept)
            if key not in named:
                named[key] = _Section((*section.headings, concept[2]), concept, section.language)
                sections.append(named[key])
            section = named[key]
            section.text.append(item.value(TEXT))
        else:
            _add(section, item, kind, concept[2])
        of[place], containers[place] = section, container
    return [section for section in sections if section.says or section is document]


def _add(section: _Section, item: _Item, kind: str, name: str) -> None:
    """What an item adds to its section."""
    match kind:
        case "TEXT":
            section.text.append(item.value(TEXT))
        case "CODE" if item.code(CODE)[1]:
            scheme, value, meaning = item.code(CODE)
            section.coded.append(f"{name} = {meaning} ({scheme} {value})")
        case "NUM" if item.value(MEASURED, NUMERIC):
            unit = item.value(MEASURED, UNITS, CODE_VALUE)
            section.coded.append(f"{name} = {item.value(MEASURED, NUMERIC)} {unit}".rstrip())
        case "IMAGE" | "COMPOSITE" | "WAVEFORM":
            section.references += item.all(REFERENCED, INSTANCE)
