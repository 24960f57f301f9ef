"""What is wrong with a filter, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        place: where in the expression, e.g. `all[2].age.between`; empty for the whole.
        message: what is wrong and what to write instead.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ExpressionError(RuntimeError):
    """A filter does not type-check; the message names each place."""

    permanent = True

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        more = len(faults) - FAULTS_SHOWN
        shown = [str(fault) for fault in faults[:FAULTS_SHOWN]] + ([f"and {more} more"] if more > 0 else [])
        text = "; ".join(shown)
        super().__init__(text if text.endswith("?") else f"{text}.")


class CohortError(RuntimeError):
    """A cohort cannot be previewed or frozen; the message says what to do."""


def meant(word: object, known: Iterable[str]) -> str:
    """`. Did you mean …?` where a known word looks like this one, else nothing."""
    names = {name.casefold(): name for name in known}
    close = get_close_matches(str(word).casefold(), list(names), n=1, cutoff=0.6)
    return f". Did you mean {names[close[0]]}?" if close else ""
