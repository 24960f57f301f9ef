"""What all commands share."""

from __future__ import annotations


class WrongUsage(RuntimeError):  # noqa: N818
    """A command was given what it cannot take; the message says what it can. Exit code 2."""
