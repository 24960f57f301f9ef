"""An instance that must not leave, and why."""

from __future__ import annotations


class Held(RuntimeError):  # noqa: N818 - a decision, not a failure
    """The instance is not released.

    Attributes:
        reason_code: a row of the ledger's table `reason`.
        detail: what was seen; never an identifier, never an element's value.
    """

    def __init__(self, reason_code: str, detail: str) -> None:
        super().__init__(f"{reason_code}: {detail}")
        self.reason_code = reason_code
        self.detail = detail
