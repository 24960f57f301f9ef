"""What `sluice header` and `sluice headers` print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from sluice.database import Database
from sluice.headers.blocks import header_of, original_bytes
from sluice.headers.promotion import fill, promote

VALUE_WIDTH = 100  # of a listing; longer values are cut


def write_header(database: Database, sop_instance_uid: str, out: TextIO, as_listing: bool) -> None:
    """One instance's header as DICOM JSON, or as a listing for people to read."""
    header = header_of(database, sop_instance_uid)
    if as_listing:
        out.writelines(f"{line}\n" for line in listing(header))
    else:
        json.dump(header, out, ensure_ascii=False, indent=1)
        out.write("\n")


def write_bytes(database: Database, sop_instance_uid: str, path: Path) -> str:
    """One instance's file as far as it is kept; what was written, in words."""
    kept = original_bytes(database, sop_instance_uid)
    kept.write(path)
    missing = sum(hole.length for hole in kept.holes)
    words = f"{path}: {kept.size - missing:,} bytes of the header"
    if missing:
        words += f"; {missing:,} bytes of pixels and long values read as zeros"
    return words + ("; its data set was deflated and is inflated here." if kept.is_inflated else ".")


def listing(header: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """A line for each element: tag, VR, keyword, values; items of sequences are indented below theirs."""
    creators: dict[str, str] = {}
    for key, element in header.items():
        tag, vr, values = int(key, 16), element["vr"], element.get("Value", [])
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF and values:
            creators[key[:4] + key[6:]] = str(values[0]).strip()
        place = "  " * depth + f"({key[:4]},{key[4:]})"
        name = _name(tag, creators.get(key[:6], ""))
        if vr == "SQ":
            yield f"{place} SQ {name}: {len(values)} item{'s' * (len(values) != 1)}"
            for number, item in enumerate(values, 1):
                yield "  " * (depth + 1) + f"item {number}"
                yield from listing(item, depth + 2)
        else:
            yield f"{place} {vr} {name}: {_value(element)}".rstrip(" :")


def _name(tag: int, creator: str) -> str:
    from pydicom.datadict import keyword_for_tag, private_dictionary_description

    if tag >> 16 & 1:
        if tag & 0xFFFF <= 0xFF:
            return "PrivateCreator"
        try:
            return f"[{creator}] {private_dictionary_description(tag, creator)}"
        except KeyError:
            return f"[{creator}]"
    return keyword_for_tag(tag) or "Unknown"


def _value(element: Mapping[str, Any]) -> str:
    if "BulkDataURI" in element:
        return f"left out, {element['BulkDataURI'].rpartition('length=')[2]} bytes"
    if "InlineBinary" in element:
        text = f"base64 {element['InlineBinary']}"
    else:
        text = "\\".join(_text(value) for value in element.get("Value", []))
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= VALUE_WIDTH else f"{text[:VALUE_WIDTH]}… ({len(text)} characters)"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)


def write_promotion(database: Database, path: str, name: str, type_name: str, out: TextIO) -> None:
    """Promote an element and fill its column, saying how far it is."""
    column = promote(database, path, name, type_name)
    filled = 0
    for block, changed in fill(database, column):
        filled += changed
        print(f"block {block}: {filled:,} instances filled so far", file=out, flush=True)
    print(f"instance.{name} holds {column.path} as {type_name}: {filled:,} instances filled now.", file=out)


def write_promoted(database: Database, out: TextIO) -> None:
    """The promoted columns, a line each."""
    rows = database.rows("promoted_columns")
    for row in rows:
        state = "" if row["filled_at"] else "  not filled to the end: run its promote again"
        out.write(f"{row['name']}  {row['type']}  {row['path']}{state}\n")
    if not rows:
        out.write("No element was promoted.\n")
