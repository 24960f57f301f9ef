"""Files become blocks, as lines that COPY takes; done by the processes that read, which know no database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sluice.anatomy import NOTHING_TAUGHT, Evidence, Mappings
from sluice.database import copy_line, copy_value
from sluice.headers.columns import instance_columns, text, zone_of
from sluice.headers.content import packed
from sluice.headers.dictionaries import Dictionaries, Dictionary, kind_of
from sluice.headers.header import Header
from sluice.headers.promotion import Promoted
from sluice.headers.reading import HeaderReader, Reading, Received, Refused, SeriesRows, series_rows
from sluice.headers.source import HeaderError
from sluice.headers.templates import MOST_INSTANCES, Apart, Template, Templates

DICTIONARIES, TEMPLATES = Dictionaries(), Templates()  # of this process
PATIENT_ID = 0x00100020
BLOCK_BYTES = 32 << 20  # of headers that wait for their block to be built

# What all instances of a block have alike, besides study, series, SOP class and transfer syntax.
ALIKE = (
    "image_type", "patient_age_years", "view_position", "image_laterality", "rows", "columns", "number_of_frames",
    "bits_stored", "photometric_interpretation", "pixel_spacing", "slice_thickness", "burned_in_annotation",
)  # fmt: skip
BLOCK_COLUMNS = (
    "block_id", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid", *ALIKE,
    "instances", "file_bytes", "elements", "template_id", "lacks", "dictionary_id", "content",
)  # fmt: skip
DIFFERENCE_COLUMNS = ("block_id", "tag", "elements")
INSTANCE_COLUMNS = (
    "block_id", "block_position", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid",
    "transfer_syntax_uid", "pixel_bytes", "pixel_digest",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What readers need to know besides the files.

    Attributes:
        zone: the hospital's time zone, an IANA name.
        promoted: columns of `instance` that people promoted.
        mappings: words about anatomy, sequence and phase that people taught.
    """

    zone: str
    promoted: tuple[Promoted, ...] = ()
    mappings: Mappings = field(default=NOTHING_TAUGHT, compare=False)


@dataclass(frozen=True)
class BlockLines:
    """One block as lines for COPY, each without the block's id, which is their first column.

    Attributes:
        sop_instance_uids: its instances by position.
        block: of `header_block`, columns `BLOCK_COLUMNS`.
        differences: of `header_difference`.
        instances: of `instance`, columns `Built.instance_columns`.
    """

    series_instance_uid: str
    sop_instance_uids: list[str]
    block: str
    differences: list[str]
    instances: list[str]


@dataclass(frozen=True)
class Built:
    """What a list of files gave to the question `asked`.

    Attributes:
        anatomy: columns of `header_anatomy` by evidence; series of one protocol share theirs.
    """

    asked: Asked
    instance_columns: tuple[str, ...]
    blocks: list[BlockLines]
    dictionaries: dict[int, Dictionary]
    templates: dict[int, Template]
    refused: list[Refused]
    series: dict[str, SeriesRows]
    anatomy: dict[Evidence, dict[str, Any]]
    lenient: int


def use(dictionaries: Iterable[Dictionary], templates: Iterable[Template]) -> None:
    """Have this process use what is in the database."""
    DICTIONARIES.remember(dictionaries)
    TEMPLATES.remember(templates)


@lru_cache(maxsize=4)
def _reader(asked: Asked) -> HeaderReader:
    promoted = {column.name: column.column() for column in asked.promoted}
    return HeaderReader(instance_columns(zone_of(asked.zone)) | promoted)


def read_files(archive: Path, asked: Asked, files: Iterable[Received], whole: bool = False) -> Built:
    """Read headers and build their blocks; a file that cannot be read becomes `Refused` and the rest goes on.

    Args:
        whole: no block leaves anything to a template.
    """
    reader = _reader(asked)
    built = Built(asked, (*INSTANCE_COLUMNS, *reader.names), [], {}, {}, [], {}, {}, 0)
    lenient, waiting = 0, 0
    groups: dict[tuple[str, ...], list[Reading]] = {}
    alike = [reader.names.index(name) for name in ALIKE]
    for received in files:
        try:
            reading = reader.read(archive, received)
        except HeaderError as error:
            built.refused.append(Refused(received, error.reason_code, str(error)))
            continue
        except OSError as error:
            detail = f"the file cannot be opened ({error.strerror})"
            built.refused.append(Refused(received, "unreadable", detail))
            continue
        if reading.series_instance_uid not in built.series:
            rows = built.series[reading.series_instance_uid] = series_rows(reading)
            if rows.evidence not in built.anatomy:
                built.anatomy[rows.evidence] = rows.evidence.derived(asked.mappings)
        key = (
            reading.series_instance_uid,
            reading.study_instance_uid,
            reading.sop_class_uid,
            reading.header.transfer_syntax_uid,
            *[reading.cells[place] for place in alike],
        )
        groups.setdefault(key, []).append(reading)
        lenient += reading.header.lenient
        waiting += len(reading.header.kept)
        if waiting > BLOCK_BYTES:
            _build(groups, built, whole)
            groups.clear()
            waiting = 0
    _build(groups, built, whole)
    return replace(built, lenient=lenient)


def _build(groups: Mapping[tuple[str, ...], Sequence[Reading]], built: Built, whole: bool) -> None:
    for key, readings in groups.items():
        one = readings[0]
        kind = kind_of(one.elements, one.header, one.sop_class_uid)
        dictionary = DICTIONARIES.of(kind, one.header)
        if dictionary is not None:
            built.dictionaries[dictionary.dictionary_id] = dictionary
        shared, differing = split([reading.header for reading in readings])
        apart = None
        if len(readings) <= MOST_INSTANCES and not whole:
            apart = TEMPLATES.apart(kind, text(one.elements, PATIENT_ID) or "", shared)
        if apart is not None:
            built.templates[apart.template.template_id] = apart.template
        built.blocks.append(block_of(key, readings, dictionary, shared, differing, apart))


def block_of(
    key: tuple[str, ...],
    readings: Sequence[Reading],
    dictionary: Dictionary | None,
    shared: list[str],
    differing: Mapping[int, str],
    apart: Apart | None,
) -> BlockLines:
    """The block of files that agree in `key`: series, study, SOP class, transfer syntax, then cells of `ALIKE`."""
    identity, cells = key[:4], key[4:]
    written = copy_line(identity)
    file_bytes = sum(reading.received.bytes for reading in readings)
    rest = copy_line((
        len(readings),
        file_bytes,
        "{" + ",".join(apart.elements if apart else shared) + "}",
        apart.template.template_id if apart else None,
        (apart.lacks or None) if apart else None,
    ))  # fmt: skip
    own = json.loads("{" + ",".join(apart.elements) + "}") if apart else None
    content = packed([reading.header for reading in readings], dictionary.content if dictionary else b"", own)
    packing = copy_line((dictionary.dictionary_id if dictionary else None, content))
    return BlockLines(
        identity[0],
        [reading.received.sop_instance_uid for reading in readings],
        "\t".join((written, *cells, rest, packing)),
        [f"{tag:08X}\t{copy_value(elements)}" for tag, elements in differing.items()],
        [
            "\t".join(
                (
                    copy_line((position, reading.received.sop_instance_uid)),
                    written,
                    copy_line((reading.header.pixel_bytes, reading.pixel_digest)),
                    *reading.cells,
                )
            )
            for position, reading in enumerate(readings)
        ],
    )


def split(headers: Sequence[Header]) -> tuple[list[str], dict[int, str]]:
    """What headers have alike, and in what they differ.

    Returns:
        Texts `"GGGGEEEE":{…}` of the elements that all have and have alike; for each other tag a JSON array with an
        element for each header, null where it has none.
    """
    firsts = list({id(header.first): header.first for header in headers}.values())
    tags: dict[int, None] = {}
    unsure: set[int] = set()
    for first in firsts:
        tags.update(dict.fromkeys(first.place))
    for first in firsts[1:]:
        unsure |= firsts[0].place.keys() ^ first.place.keys()
        unsure |= {
            tag
            for tag, place in first.place.items()
            if (other := firsts[0].place.get(tag)) is not None and firsts[0].texts[other] != first.texts[place]
        }
    for header in headers:
        changed = header.first.tags
        unsure.update([changed[place] for place in header.changes])
        unsure.update(header.tail)
        tags.update(dict.fromkeys(header.tail))
    shared: list[str] = []
    differing: dict[int, str] = {}
    for tag in sorted(tags):
        if tag not in unsure:
            shared.append(firsts[0].texts[firsts[0].place[tag]])
            continue
        texts = [header.text(tag) for header in headers]
        one = texts[0]
        if one is not None and texts.count(one) == len(texts):
            shared.append(one)
        else:
            differing[tag] = "[" + ",".join([text[11:] if text else "null" for text in texts]) + "]"
    return shared, differing
