"""The gate before production: a candidate must not be worse than what it replaces, on the same films.

For each measure the difference is taken film by film, so that films that both get right cancel out, and its 95 %
interval comes from resampling patients (B. Efron, Ann. Statist. 7 (1979) 1-26). A candidate passes a measure where the
lower end of that interval is not below minus the margin (non-inferiority; ICH E9, 3.3.2). Films of this site are few
at first, and few films never prove that much: there it passes unless the whole interval is below zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 1_000
SEED = 36


@dataclass(frozen=True)
class Compared:
    """One measure of two models on the same films.

    Attributes:
        measure: its name, e.g. `router5 macro F1`.
        candidate, serving: its value, 0..1.
        difference: candidate minus serving.
        ci95: its interval.
        films: films that count for it.
        passes: whether the lower end is not below minus the margin; of this site's films, whether the upper end is not
            below zero.
    """

    measure: str
    candidate: float
    serving: float
    difference: float
    ci95: tuple[float, float]
    films: int
    passes: bool

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.ci95
        verdict = "passes" if self.passes else "does not pass"
        return (
            f"{self.measure} {self.candidate:.3f} beside {self.serving:.3f}, difference {self.difference:+.3f} "
            f"(95 % {low:+.3f} to {high:+.3f}, {self.films} films): {verdict}"
        )


def compare(candidate: Mapping[str, Any], serving: Mapping[str, Any], margin: float) -> list[Compared]:
    """Measures of two models from the `answers` of their evaluations on one set.

    Args:
        candidate, serving: `{"patients": [number a film], "measures": {name: {"kind", "truth", "said"} or {"kind",
            "right"}}}`, films in the order of the set. `kind` is `macro_f1` (classes as numbers) or `share` (1 right,
            0 wrong, null where the film does not count).
        margin: how much worse it may be, 0..1.

    Raises:
        ValueError: the two are not of the same films and measures.
    """
    import numpy as np

    if candidate["patients"] != serving["patients"] or set(candidate["measures"]) != set(serving["measures"]):
        raise ValueError("The two evaluations do not have the same films and measures.")
    patients = np.unique(np.asarray(candidate["patients"]), return_inverse=True)[1]
    count = int(patients.max()) + 1 if len(patients) else 0
    times = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / max(count, 1)), size=DRAWS)
    once = np.ones((1, count), dtype=np.int64)
    compared = []
    for name, mine in candidate["measures"].items():
        theirs = serving["measures"][name]
        both = [_Tally.of(one, patients, count) for one in (mine, theirs)]
        value, other = (float(tally.values(once)[0]) for tally in both)
        drawn = both[0].values(times) - both[1].values(times)
        low, high = (float(edge) for edge in np.nanpercentile(drawn, (2.5, 97.5)))
        compared.append(
            Compared(name, value, other, value - other, (low, high), both[0].films, bool(low >= -margin - 1e-12))
        )
    return compared


def compare_here(candidate: Mapping[str, Any], serving: Mapping[str, Any]) -> list[Compared]:
    """`compare` on films of this site: a measure fails where the candidate is worse beyond chance.

    Raises:
        ValueError: the two are not of the same films and measures.
    """
    return [replace(one, passes=one.ci95[1] >= -1e-12) for one in compare(candidate, serving, 0.0)]


@dataclass(frozen=True)
class _Tally:
    """Counts by patient, so that a resample is a weighted sum: (patients, classes * classes), or right and counted."""

    kind: str
    by_patient: NDArray[np.float64]
    classes: int
    films: int

    @classmethod
    def of(cls, measure: Mapping[str, Any], patients: NDArray[np.int64], count: int) -> _Tally:
        import numpy as np

        if measure["kind"] == "macro_f1":
            truth, said = np.asarray(measure["truth"]), np.asarray(measure["said"])
            classes = int(max(truth.max(), said.max())) + 1
            counts = np.zeros((count, classes * classes))
            np.add.at(counts, (patients, truth * classes + said), 1)
            return cls("macro_f1", counts, classes, len(truth))
        right = np.array([np.nan if one is None else float(one) for one in measure["right"]])
        known = ~np.isnan(right)
        counts = np.zeros((count, 2))
        np.add.at(counts, (patients[known], 0), right[known])
        np.add.at(counts, (patients[known], 1), 1)
        return cls("share", counts, 0, int(known.sum()))

    def values(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """The measure of each resample `(draws, patients)`; NaN where a resample has no film for it."""
        import numpy as np

        sums = times @ self.by_patient
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.kind == "share":
                return np.asarray(sums[:, 0] / sums[:, 1])
            matrix = sums.reshape(len(times), self.classes, self.classes)
            hits, support, said = np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(2), matrix.sum(1)
            f1 = np.where(support > 0, 2 * hits / (said + support), np.nan)
            return np.asarray(np.nanmean(f1, axis=1))
