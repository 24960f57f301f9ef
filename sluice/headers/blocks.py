"""Headers out of their blocks: whole ones, single elements, and the bytes that a scanner wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, query_rows
from sluice.headers.content import unpacked
from sluice.headers.kept import Kept

Json: TypeAlias = dict[str, Any]


class NoHeaderError(RuntimeError):
    """There is no header of an instance; the message says what to do."""


def header_of(where: Database | Connection, sop_instance_uid: str) -> Json:
    """The whole header of an instance as DICOM JSON (PS3.18 Annex F), in the order of its tags.

    Raises:
        NoHeaderError: it was not extracted.
    """
    for _, header in headers_of(where, [sop_instance_uid]):
        return header
    raise _no_header(sop_instance_uid)


def headers_of(where: Database | Connection, sop_instance_uids: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """SOP Instance UID and header of many instances, block by block; those without a header are left out.

    What the instances of a block have alike is one object in all of their headers: copy what is to be changed.
    """
    places = query_rows(where, "header_places", {"uids": list(sop_instance_uids)})
    blocks: dict[int, list[tuple[int, str]]] = {}
    for row in places:
        blocks.setdefault(row["block_id"], []).append((row["block_position"], row["sop_instance_uid"]))
    for block_id, members in blocks.items():
        (block,) = query_rows(where, "header_block", {"block_id": block_id})
        differences = block["differences"] or {}
        tags = sorted([*block["shared"], *differences])
        for position, uid in sorted(members):
            own = {tag: elements[position] for tag, elements in differences.items() if elements[position] is not None}
            header = block["shared"] | own
            yield uid, {tag: header[tag] for tag in tags if tag in header}


def elements_of_series(
    where: Database | Connection, series_instance_uids: Iterable[str], tags: Iterable[str]
) -> dict[str, Json]:
    """Elements of the first instance of the first block of each series, by Series Instance UID and tag.

    Args:
        tags: eight hex digits each, as DICOM JSON writes them. What an instance lacks is left out.
    """
    series = list(series_instance_uids)
    found: dict[str, Json] = {}
    for row in query_rows(where, "series_elements", {"series": series, "tags": list(tags)}):
        found.setdefault(row["series_instance_uid"], {})[row["tag"]] = row["element"]
    return found


def original_bytes(where: Database | Connection, sop_instance_uid: str) -> Kept:
    """The bytes of an instance's file as they came, without pixels and values of more than 64 KiB.

    `.pieces()` are the bytes with their places, `.write(path)` makes a file of them that DICOM programs read,
    and `sluice.headers.reading.read_kept` reads the header again.

    Raises:
        NoHeaderError: it was not extracted.
    """
    for row in query_rows(where, "header_content", {"uid": sop_instance_uid}):
        place: int = row["block_position"]
        return unpacked(bytes(row["content"]), bytes(row["dictionary"] or b""), row["own"])[place]
    raise _no_header(sop_instance_uid)


def _no_header(uid: str) -> NoHeaderError:
    return NoHeaderError(
        f"There is no header of the instance {uid}. `sluice missing --instance {uid}` says whether it came; if it did, "
        "run the DAG extract_headers for its window."
    )
