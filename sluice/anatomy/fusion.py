"""The likeliest body region by header and model together.

Two readers look at a film: the header's words, and the model. For a region y, with the evidence of both independent
once y is known,

    p(y | header, film)  ∝  p(y) · p(header | y) · p(film | y)

- `p(y)`: the prevalence of regions among the films.
- header: with probability r what it names (H, several regions for a composite) is right:
  `p(header | y)  ∝  r / p(H)` for y in H, else `(1 - r) / (1 - p(H))`. r belongs to where the words stood, to whether
  their reading was unsure, and to the scanner.
- model: its calibrated probabilities P over how often it gives each region anyway, m:
  `p(film | y)  ∝  (1 - e) P(y) / m(y) + e`. The share e keeps it from a veto. A region that it never answers is judged
  by what it answers for the regions that are typically seen beside it.

Prevalence and r are learned without labels by expectation and maximisation, as A. P. Dawid and A. M. Skene do
(Applied Statistics 28 (1979) 20-28). Their method learns every reader's errors, which two readers do not determine:
each can be believed at the other's cost. So the model counts as a known reader, by its calibration, and only the
header's r is learned, held by a prior at the published 15 % of wrong headers. An r is drawn towards that of its source,
and that towards the whole, by as much as `PRIOR_FILMS` films weigh.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from sluice.anatomy.regions import REGIONS
from sluice.anatomy.strategies import COARSE, Part, header_regions
from sluice.database import Database, copy_rows, named_query, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float64]

KEYS = tuple(REGIONS)
RIGHT_BEFORE = 0.85  # of headers, before anything is learned: 15 % are wrong (Gueld et al., Proc. SPIE 4685 (2002) 280)
PRIOR_FILMS = 20  # what an expectation weighs against films
RARE = 0.1  # films that every region is given beforehand
NO_VETO = 0.02  # e
UNSURE_BELOW = 0.65  # of a header reading's confidence
ROUNDS = 50
LEARN_FROM = 20_000  # films at most
CHUNK = 20_000  # films at a time
LEARNING_LOCK = 7_350_019

Source: TypeAlias = tuple[str, bool, str]  # source tag, whether unsure, station; '' for all of them
ALL: Source = ("", False, "")


@dataclass(frozen=True)
class Film:
    """What both readers say of one instance.

    Attributes:
        named: places in `KEYS` of the regions that the header names; empty where it names none.
        source: where they stood.
        probabilities: the model's, by place in `KEYS`; they sum to at most 1.
        examined: place of its single answer.
    """

    sop_instance_uid: str
    named: tuple[int, ...]
    source: Source
    probabilities: dict[int, float]
    examined: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self | None:
        """The film of a row of `fusion_films.sql`; None where the model's answer is no region that we know."""
        if row["examined"] not in REGIONS:
            return None
        examined = KEYS.index(row["examined"])
        named = header_regions(row["region_key"], row["sct_code"])
        if not named and row["sct_code"] in COARSE:
            named = frozenset(Part.of(COARSE[row["sct_code"]]).regions)
        unsure = (row["confidence"] or 0.0) < UNSURE_BELOW
        source = (row["source_tag"] or "", unsure, row["station_name"] or "") if named else ALL
        places = tuple(sorted(KEYS.index(key) for key in named))
        return cls(row["sop_instance_uid"], places, source, _probabilities(row, examined), examined)


def _probabilities(row: Mapping[str, Any], examined: int) -> dict[int, float]:
    """What the model gave by region, without what is no probability; its single answer alone where it gave no more."""
    given = row["probabilities"] if isinstance(row["probabilities"], dict) else {}
    kept = {KEYS.index(key): float(value) for key, value in given.items() if key in REGIONS and _is_share(value)}
    if not kept:
        score = row["examined_score"]
        kept = {examined: float(score) if _is_share(score) else 0.5}
    whole = max(1.0, sum(kept.values()))
    return {place: value / whole for place, value in kept.items()}


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1 and math.isfinite(value)


@dataclass(frozen=True)
class Beliefs:
    """What was learned of a model's films.

    Attributes:
        prevalence: share of each region among the films, in the order of `KEYS`.
        answers: the mean probability that the model gives each region; 0 for one that it never answers.
        reliability: how often the header is right, by source; `ALL` is there always.
    """

    prevalence: tuple[float, ...]
    answers: tuple[float, ...]
    reliability: dict[Source, float]

    def of(self, source: Source) -> float:
        """How often a header from there is right: of the scanner, else of all that write there, else of all."""
        tag, unsure, _ = source
        for known in (source, (tag, unsure, "")):
            if known in self.reliability:
                return self.reliability[known]
        return self.reliability[ALL]

    def as_json(self) -> dict[str, Any]:
        """As `fusion.parameters` keeps it; the reliabilities have a table of their own."""
        return {
            "prevalence": dict(zip(KEYS, self.prevalence, strict=True)),
            "answers": dict(zip(KEYS, self.answers, strict=True)),
            "no_veto": NO_VETO,
        }


def learn(films: Sequence[Film]) -> Beliefs:
    """Prevalence and the headers' reliability, from films without labels; the same films give the same beliefs."""
    import numpy as np

    named, sources = _named(films), [film.source for film in films]
    kinds = sorted(set(sources))
    place_of = {source: place for place, source in enumerate(kinds)}
    which = np.array([place_of[source] for source in sources], dtype=int)
    given, has = _given(films), named.sum(1) > 0
    answered = given.sum(0) > 0
    seen = _whole(given, answered).sum(0)
    often = (seen + RARE * answered) / (len(films) + RARE * max(1, int(answered.sum())))
    before = (named.sum(0) + seen) / 2 + RARE  # as the two readers have it between them
    before /= before.sum()
    sight = _sight(given, often, before)
    places: dict[Source, list[int]] = {}
    for at, source in enumerate(sources):
        if has[at]:
            places.setdefault(source, []).append(at)
    reliability = {ALL: RIGHT_BEFORE}
    beliefs = Beliefs(tuple(map(float, before)), tuple(map(float, often)), reliability)
    for _ in range(ROUNDS):
        right = np.array([beliefs.of(source) for source in kinds])[which] * has
        posterior, share = _posterior(np.asarray(beliefs.prevalence), named, right, sight)
        prevalence = (posterior.sum(0) + PRIOR_FILMS * before) / (len(films) + PRIOR_FILMS)
        beliefs = Beliefs(tuple(map(float, prevalence)), tuple(map(float, often)), _reliability(share, has, places))
    return beliefs


def _reliability(share: Matrix, has: NDArray[np.bool_], places: Mapping[Source, list[int]]) -> dict[Source, float]:
    """Of all, of each source, of each scanner in it: each drawn towards the one before."""

    def drawn(right: float, films: int, towards: float) -> float:
        return (right + PRIOR_FILMS * towards) / (films + PRIOR_FILMS)

    found = {ALL: drawn(float(share[has].sum()), int(has.sum()), RIGHT_BEFORE)}
    of_source: dict[Source, list[int]] = {}
    for (tag, unsure, _), at in places.items():
        of_source.setdefault((tag, unsure, ""), []).extend(at)
    for source, at in of_source.items():
        found[source] = drawn(float(share[at].sum()), len(at), found[ALL])
    for source, at in places.items():
        if source[2]:
            found[source] = drawn(float(share[at].sum()), len(at), found[(*source[:2], "")])
    return found


def _named(films: Sequence[Film]) -> Matrix:
    """1 where a film's header names a region, `(films, 36)`."""
    import numpy as np

    named = np.zeros((len(films), len(KEYS)))
    for at, film in enumerate(films):
        named[at, list(film.named)] = 1
    return named


def _given(films: Sequence[Film]) -> Matrix:
    """The probabilities that the model wrote down, `(films, 36)`."""
    import numpy as np

    given = np.zeros((len(films), len(KEYS)))
    for at, film in enumerate(films):
        for place, value in film.probabilities.items():
            given[at, place] = value
    return given


def _whole(given: Matrix, answered: NDArray[np.bool_]) -> Matrix:
    """What the model gave, and what it did not write down shared among the regions that it answers; rows sum to 1."""
    import numpy as np

    rest = np.clip(1 - given.sum(1, keepdims=True), 0, 1) / max(1, int(answered.sum()))
    whole = given + rest * answered
    return np.asarray(whole / np.maximum(whole.sum(1, keepdims=True), 1e-9))


def _sight(given: Matrix, often: Matrix, prevalence: Matrix) -> Matrix:
    """How much likelier the model's answer is for a region than in general, `(films, 36)`, above `NO_VETO`."""
    import numpy as np

    answered = often > 0
    whole = _whole(given, answered)
    # a region that the model never answered before is as frequent among its answers as it is
    sight = whole / np.maximum(np.where(answered, often, prevalence), 1e-9)
    for place in np.flatnonzero(~answered):
        beside = [KEYS.index(key) for key in REGIONS[KEYS[place]].typically_visible]
        beside = [other for other in beside if answered[other]]
        indirect = whole[:, beside].sum(1) / often[beside].sum() if beside else 1.0
        sight[:, place] = np.where(given[:, place] > 0, sight[:, place], indirect)
    return np.asarray((1 - NO_VETO) * sight + NO_VETO)


def _posterior(prevalence: Matrix, named: Matrix, right: Matrix, sight: Matrix) -> tuple[Matrix, Matrix]:
    """Probability of each region, `(films, 36)`, and that the header is right, `(films,)`."""
    import numpy as np

    among = np.clip(named @ prevalence, 1e-9, 1 - 1e-9)
    weight = prevalence * np.where(named > 0, (right / among)[:, None], ((1 - right) / (1 - among))[:, None]) * sight
    posterior = weight / weight.sum(1, keepdims=True)
    return posterior, (posterior * named).sum(1)


def answers(films: Sequence[Film], beliefs: Beliefs) -> list[tuple[str, float]]:
    """The likeliest region of each film and its probability."""
    import numpy as np

    if not films:
        return []
    named = _named(films)
    right = np.array([beliefs.of(film.source) for film in films]) * (named.sum(1) > 0)
    prevalence = np.asarray(beliefs.prevalence)
    sight = _sight(_given(films), np.asarray(beliefs.answers), prevalence)
    posterior, _ = _posterior(prevalence, named, right, sight)
    best = posterior.argmax(1)
    return [(KEYS[place], min(1.0, float(posterior[at, place]))) for at, place in enumerate(best)]


@dataclass(frozen=True)
class FuseSummary:
    """What `fuse` did.

    Attributes:
        fused: films whose answer is new or was made again.
        learned: models whose beliefs were learned anew on the way.
        learned_from: films of the beliefs that were used.
    """

    fused: int
    learned: int
    learned_from: int

    def as_dict(self) -> dict[str, int]:
        """The summary as XCom carries it."""
        return asdict(self)


def fuse(database: Database, window_key: str | None = None, anew: bool = False) -> FuseSummary:
    """Put together what headers and models say of a window's films, or of all. Again: nothing is left to do.

    Beliefs are learned where a model has none, and again when twice as many films are there to learn from; films of
    other windows keep their answers until `fuse` comes to them.

    Args:
        window_key: None for every film.
        anew: learn first, whatever there is.
    """
    fused = learned = learned_from = 0
    for model_id in _models(database):
        fusion_id, films, is_new = _beliefs_of(database, model_id, anew)
        learned += is_new
        if fusion_id is None:
            continue
        learned_from += films
        beliefs = _stored(database, fusion_id)
        after = ""
        while True:
            with database.transaction() as connection:
                params = {"model_id": model_id, "fusion_id": fusion_id, "window_key": window_key}
                rows = select(connection, named_query("fusion_pending"), {**params, "after": after, "most": CHUNK})
                chunk = _films(rows)
                told = zip(chunk, answers(chunk, beliefs), strict=True)
                fused += copy_rows(
                    connection,
                    "fused_anatomy",
                    ("sop_instance_uid", "model_id", "fusion_id", "region_key", "probability"),
                    ((film.sop_instance_uid, model_id, fusion_id, *answer) for film, answer in told),
                    "(sop_instance_uid, model_id) do update set fusion_id = excluded.fusion_id, fused_at = now(), "
                    "region_key = excluded.region_key, probability = excluded.probability",
                )
            if len(rows) < CHUNK:
                break
            after = rows[-1]["sop_instance_uid"]
    return FuseSummary(fused, learned, learned_from)


def _models(database: Database) -> list[str]:
    with database.transaction() as connection:
        rows = select(
            connection, "select model_id from model where task = 'body_part' and stage = 'production' order by model_id"
        )
    return [row["model_id"] for row in rows]


def _films(rows: Iterable[Mapping[str, Any]]) -> list[Film]:
    return [film for film in map(Film.of, rows) if film is not None]


def _beliefs_of(database: Database, model_id: str, anew: bool) -> tuple[int | None, int, bool]:
    """The fusion to use for a model, films that it was learned from, whether it was learned just now."""
    with database.transaction() as connection:
        with connection.cursor() as cursor:  # two windows at once would learn the same twice
            cursor.execute("select pg_advisory_xact_lock(%s)", (LEARNING_LOCK,))
        newest = select(
            connection,
            "select fusion_id, films from fusion where model_id = %s order by fusion_id desc limit 1",
            (model_id,),
        )
        if newest and not anew and newest[0]["films"] >= LEARN_FROM:
            return newest[0]["fusion_id"], newest[0]["films"], False
        enough = 2 * newest[0]["films"] if newest and not anew else 1
        params = {"model_id": model_id, "most": LEARN_FROM}
        films = _films(select(connection, named_query("fusion_films"), params))
        if len(films) < min(enough, LEARN_FROM):
            return (newest[0]["fusion_id"], newest[0]["films"], False) if newest else (None, 0, False)
        beliefs = learn(films)
        fusion_id = _store(connection, model_id, films, beliefs)
    return fusion_id, len(films), True


def _store(connection: Any, model_id: str, films: Sequence[Film], beliefs: Beliefs) -> int:
    from psycopg2.extras import Json

    rows = select(
        connection,
        "insert into fusion (model_id, films, parameters) values (%s, %s, %s) returning fusion_id",
        (model_id, len(films), Json(beliefs.as_json())),
    )
    fusion_id = int(rows[0]["fusion_id"])
    counts: dict[Source, list[int]] = {}
    for film in films:
        tag, unsure, _ = film.source
        for source in {film.source, (tag, unsure, ""), ALL}:
            count = counts.setdefault(source, [0, 0])
            count[0] += 1
            count[1] += film.examined in film.named
    copy_rows(
        connection,
        "header_reliability",
        ("fusion_id", "source_tag", "doubtful", "station_name", "films", "agreeing", "reliability"),
        (
            (fusion_id, *source, *counts.get(source, (0, 0)), reliability)
            for source, reliability in sorted(beliefs.reliability.items())
        ),
    )
    return fusion_id


def _stored(database: Database, fusion_id: int) -> Beliefs:
    with database.transaction() as connection:
        (fusion,) = select(connection, "select parameters from fusion where fusion_id = %s", (fusion_id,))
        rows = select(
            connection,
            "select source_tag, doubtful, station_name, reliability from header_reliability where fusion_id = %s",
            (fusion_id,),
        )
    values = fusion["parameters"]
    return Beliefs(
        tuple(float(values["prevalence"].get(key, 0)) for key in KEYS),
        tuple(float(values["answers"].get(key, 0)) for key in KEYS),
        {(row["source_tag"], row["doubtful"], row["station_name"]): row["reliability"] for row in rows},
    )
