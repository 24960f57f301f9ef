"""What a converter gives: files, or a reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any


class NotMade(Exception):  # noqa: N818
    """A source does not become this format.

    Attributes:
        reason_code: as the manifest counts it: `no-volume`, `no-pixels`, `not-16-bit`, `pixels-unreadable`,
            `converter-failed`.
        detail: what was wrong, without anything that identifies a patient.
    """

    def __init__(self, reason_code: str, detail: str) -> None:
        self.reason_code, self.detail = reason_code, detail
        super().__init__(f"{reason_code}: {detail}")


@dataclass(frozen=True)
class Made:
    """One file.

    Attributes:
        path: in the version's folder.
        columns: what the tables say of it.
    """

    path: str
    data: bytes
    content_type: str
    columns: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """Digest of the bytes, hex."""
        return hashlib.sha256(self.data).hexdigest()
