"""Whether a canary's tokens are seen: in the bytes, in every encoding they may have been written in."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

ENCODINGS = ("utf_8", "latin_1", "iso2022_jp", "shift_jis", "euc_jp", "gb18030", "utf_16_le", "utf_16_be")
SHORTEST_BYTES = 6
MARKER, MARKER_LETTERS = "ZQ", 8  # what begins each ASCII token of a canary, and how much of it tells it apart


class Watch:
    """Looks for tokens of some canaries.

    Args:
        tokens: of all of them.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        # What begins most tokens stands for them all, and is found as fast as memory is read.
        markers = {token[:MARKER_LETTERS] for token in tokens if token.startswith(MARKER)}
        tokens = [*sorted(markers), *(token for token in tokens if not token.startswith(MARKER))]
        # A date's eight digits turn up in somebody's UIDs by chance; in the few files of a canary they hardly do.
        sure = [token for token in tokens if not (token.isdecimal() and len(token) <= 8)]
        self._sure, self._all = _pattern(sure), _pattern(tokens)
        self._sure_texts = [token.casefold() for token in sure]
        self._texts = [token.casefold() for token in tokens]
        self._markers = [marker.encode() for marker in sorted(markers)]

    def anywhere(self, data: bytes) -> bool:
        """Whether a token is in bytes; for tables and logs."""
        if self._sure is None:
            return False
        lowered = data.lower()
        return self._sure.search(data) is not None or any(marker.lower() in lowered for marker in self._markers)

    def marked(self, data: bytes) -> bool:
        """Whether the beginning of a token is in bytes; for large ones."""
        return any(marker in data for marker in self._markers)

    def in_text(self, text: str) -> bool:
        """Whether a token is in a text."""
        folded = text.casefold()
        return any(token in folded for token in self._sure_texts)

    def places(self, produced: bytes, described: Iterable[Any] = ()) -> list[str]:
        """Where tokens are seen in a produced file or in what is said of it; tags, never values."""
        found = ["what is written of it in the database"] if any(self.in_text(_said(one)) for one in described) else []
        if self.anywhere(produced) or (self._all is not None and self._all.search(produced)):
            found += self._tags(produced) or ["its bytes"]
        return found

    def _tags(self, produced: bytes) -> list[str]:
        import pydicom

        found = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings print values
            try:
                for element in pydicom.dcmread(io.BytesIO(produced), force=True).iterall():
                    said = _said(element.value).casefold() if element.VR != "SQ" else ""
                    if any(token in said for token in self._texts):
                        found.add(f"({element.tag.group:04X},{element.tag.element:04X})")
            except Exception:
                return []
        return sorted(found)


def _pattern(tokens: Sequence[str]) -> re.Pattern[bytes] | None:
    needles = {form for token in tokens for form in _forms(token)}
    return re.compile(b"|".join(map(re.escape, sorted(needles)))) if needles else None


def _said(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _forms(token: str) -> set[bytes]:
    forms = set()
    for encoding in ENCODINGS:
        try:
            form = token.encode(encoding)
        except UnicodeEncodeError:
            continue
        # shift sequences stand around a text, and other letters may stand inside of them with it
        form = form.removeprefix(b"\x1b$B").removesuffix(b"\x1b(B")
        if len(form) >= SHORTEST_BYTES:
            forms.add(form)
    return forms
