"""Header elements that are no column, from the blocks that headers are stored in (migration 0012)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.headers.paths import ElementPath, patterns

Element = dict[str, Any]  # DICOM JSON (PS3.18 F): vr, Value


class Elements:
    """The asked elements of some blocks.

    Args:
        paths: what is asked of each instance.
    """

    def __init__(self, connection: Connection, blocks: Iterable[int], paths: Iterable[ElementPath]) -> None:
        self._shared: dict[int, dict[str, Element]] = {}
        self._different: dict[int, dict[str, list[Element | None]]] = {}
        asked = {"blocks": sorted(set(blocks)), "tags": patterns(paths)}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                select b.block_id, jsonb_object_agg(e.key, e.value)
                  from header_block b
                  cross join lateral jsonb_each(b.shared) e
                 where b.block_id = any(%(blocks)s) and e.key like any(%(tags)s)
                 group by b.block_id
                """,
                asked,
            )
            self._shared.update(cursor.fetchall())
            cursor.execute(
                "select block_id, tag, elements from header_difference "
                "where block_id = any(%(blocks)s) and tag like any(%(tags)s)",
                asked,
            )
            for block, tag, elements in cursor:
                self._different.setdefault(block, {})[tag] = elements

    def of(self, block: int, position: int) -> dict[str, Element]:
        """What is asked of an instance, as DICOM JSON."""
        own = {
            tag: element
            for tag, elements in self._different.get(block, {}).items()
            if position < len(elements) and (element := elements[position]) is not None
        }
        return self._shared.get(block, {}) | own


def values(elements: Mapping[str, Element], path: ElementPath) -> list[Any] | None:
    """The values behind a path; None where the element is absent, empty where it has no value."""
    element = path.found_in(elements)
    if element is None:
        return None
    found = element.get("Value")
    return found if isinstance(found, list) else []


def numbers(values: Sequence[Any] | None, count: int) -> tuple[float, ...] | None:
    """So many values as numbers; None where there are others."""
    if values is None or len(values) != count:
        return None
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None


def as_column(values: Sequence[Any] | None, kind: str) -> Any:
    """What a tag's column holds (`sluice.quality.suites.Tag`)."""
    if kind == "present":
        return values is not None
    if kind == "count":
        return None if values is None else float(len(values))
    first = values[0] if values else None
    if first is None or isinstance(first, dict):
        return None
    if kind == "text":
        return str(first).strip() or None
    found = numbers([first], 1)
    return found[0] if found else None
