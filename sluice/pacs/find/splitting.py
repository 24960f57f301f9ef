"""How a sweep gets everything out of a PACS that caps its answers.

A PACS may stop after N answers: with warning B001, with a failure such as A700, by breaking off, or silently with
success. N is learned, never asked of the user:

- a PACS that once gave n answers has a cap of n or more, so **an answer smaller than the largest ever seen is
  complete**; one as large as the largest, suspiciously round, as large as others before it, or far from what the
  density of this weekday lets expect, is probed by splitting it;
- when the pieces together hold more than the whole, the whole was cut and its size is the cap.

Pieces are runs of days, then times of day, then what patient ids end with, modalities, and what patient ids and
accession numbers begin or end with (`sluice.pacs.find.pieces`). A density learned from what was covered before cuts
them so that each stays just below the cap. A way to split proves completeness only if no study escapes its pieces
(a study without a Study Time matches no time range, PS3.4 C.2.2.2.5), so what the whole showed must come again in the
pieces, else the next way is taken on the whole as well. What a proof rests on beyond that is kept in `assumes`.

Studies are handed on leaf by leaf, so a sweep of ten years needs no more memory than one of a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from pydicom.dataset import Dataset

from sluice.pacs.answers import day_of, seconds_of_day, text
from sluice.pacs.find.density import Density
from sluice.pacs.find.pieces import (
    ALPHABET,
    BY_DATE,
    BY_MODALITY,
    BY_NAME,
    BY_PATIENT_END,
    BY_TIME,
    MODALITIES,
    Piece,
    Way,
    belongs,
    by_character,
    by_date,
    by_modality,
    by_time,
    shown,
    stem_of,
    ways,
)
from sluice.pacs.find.points import Points

SMALLEST_CAP = 2  # nobody caps at one answer
RUN_OF_DAYS = 8  # caps that several days may hold together where patient ids cut them, into ten even pieces or more
FILL = 0.84  # of the cap that a piece is meant to hold: a piece above the cap costs more than a small one
UNCAPPED_TARGET = 2_000  # studies in one answer while no cap is known; they stand in memory together
MOST_FAILURES = 12  # in a row without any answer, after which a PACS is given up; a time-out counts for three
BROKEN_OFF = ("aborted", "timed-out")  # stand for a status where none came
MAY_HELP = ("A7", "B", "C", "FE", "0110", *BROKEN_OFF)  # failures that smaller questions may avoid


@dataclass
class Asked:
    """The answer to one piece.

    Attributes:
        answers: answers by Study Instance UID, in the order of the PACS.
        count: pending responses, duplicates and unusable ones included: what a cap counts.
        status: final status, four hex digits, or one of `BROKEN_OFF`.
        leaf_id: its row in `sweep_leaf`.
    """

    answers: dict[str, Dataset]
    count: int
    status: str
    leaf_id: int | None = None

    @property
    def failed(self) -> bool:
        """Whether the PACS answered with a failure and nothing else."""
        return self.count == 0 and self.status != "0000"


@dataclass
class Facts:
    """What has been learned about one PACS; kept in `pacs_fact`.

    Attributes:
        cap: STUDY-level answers after which it silently stops; None while nothing proves one.
        limit: answers after which it stops with a warning or failure, or breaks off.
        largest: the most answers that it ever gave to one query.
        largest_is_over: a cap below it was found, so that it counts no more.
        timeless: whether it holds studies that no time range matches; None until checked.
        ignored: ways to split whose key it does not match by.
            alphabets: by way and place (`patient_id_end:0` is the last character), the characters or modalities for
            which there were studies.
        density: when its studies happen.
        lists: whether it matches lists of UIDs at SERIES and IMAGE level; None until tried.
        level_caps, level_largest: as `cap` and `largest`, for SERIES and IMAGE.
    """

    cap: int | None = None
    limit: int | None = None
    largest: int = 0
    largest_is_over: bool = False
    timeless: bool | None = None
    ignored: set[str] = field(default_factory=set)
    alphabets: dict[str, list[str]] = field(default_factory=dict)
    density: Density = field(default_factory=Density)
    lists: bool | None = None
    level_caps: dict[str, int] = field(default_factory=dict)
    level_largest: dict[str, int] = field(default_factory=dict)

    def doubt(self) -> None:
        """Something escaped that was taken for covered: what proofs rested on is to be learned anew."""
        self.timeless = None
        self.alphabets.clear()


@dataclass
class _Whole:
    """A split answer: which of its studies the pieces have not brought again, and which others they brought."""

    seen: Mapping[str, Dataset]
    one_day: bool
    pending: dict[str, Dataset] = field(init=False)
    known: set[str] = field(init=False)
    found_more: bool = False
    by_date: bool = False

    def __post_init__(self) -> None:
        self.pending, self.known = dict(self.seen), set(self.seen)

    def take(self, uids: Iterable[str]) -> None:
        """Studies that a piece brought. What a whole year brings is not remembered: dates leave nothing out."""
        for uid in uids:
            self.pending.pop(uid, None)
            if uid not in self.known:
                self.found_more = True
                if self.one_day:
                    self.known.add(uid)


@dataclass
class Splitter:
    """Covers a piece completely, asking as often as it takes.

    Args:
        ask: asks one piece; the second argument is the leaf it was split from.
        refuse: makes the error for a status that splitting cannot help.
        take: gets the studies of each leaf that is complete; some studies come twice.
        on_split: told the leaf that was split.
        density: when studies of these pieces happen; that of the PACS, unless every piece is narrowed by a filter.

    Attributes:
        uncertain: answers that look cut off and cannot be split further.
        splits: answers that looked cut off, so that their pieces were asked.
        assumes: what the proof rests on beyond the answers of this sweep: `all-have-a-time`, and for `patient_id_end`
            and the like, that characters which this PACS never showed at that place do not occur.
    """

    ask: Callable[[Piece, int | None], Asked]
    facts: Facts
    refuse: Callable[[str], Exception]
    take: Callable[[Mapping[str, Dataset], int | None], None]
    on_split: Callable[[int | None], None] = lambda leaf: None
    density: Density | None = None
    uncertain: int = 0
    splits: int = 0
    assumes: set[str] = field(default_factory=set)
    _open: list[_Whole] = field(default_factory=list)
    _most: int = 0
    _again: int = 0
    _probing: dict[str, list[str]] = field(default_factory=dict)
    _failures: int = 0
    _lowered: bool = False
    _root: Piece | None = None

    def __post_init__(self) -> None:
        if self.density is None:
            self.density = self.facts.density
        self._points = Points(self._cut_answers)

    def cover(self, piece: Piece) -> None:
        """Hand every study of the piece to `take`.

        Raises:
            Exception: what `refuse` made, when the PACS answers nothing however little is asked.
        """
        self._root = piece
        # More than a day is never asked whole: dates cut a window without a loss (each study of it has one).
        for part in by_date(piece, self._density, self._run_target, split=False):
            self._lowered = False
            self._cover(part, self.ask(part, None))
            if self._lowered:  # pieces before that were as large as the new cap were taken for complete
                self._cover(part, self.ask(part, None))
        self._density.today.clear()

    @property
    def _density(self) -> Density:
        assert self.density is not None
        return self.density

    def _target(self) -> float:
        cap = self.facts.cap or self.facts.limit
        return UNCAPPED_TARGET if cap is None else max(1.0, cap * FILL)

    def _run_target(self) -> float:
        """How many studies several days may hold together."""
        return self._target() * (RUN_OF_DAYS if self._by_patient() else 1)

    def _by_patient(self) -> bool:
        """Whether days have to be cut by patient id, because times would leave studies out."""
        known = f"{BY_PATIENT_END.name}:0" in self.facts.alphabets and BY_PATIENT_END.name not in self.facts.ignored
        return bool(self.facts.timeless) and self.facts.cap is not None and known

    def _cover(self, piece: Piece, asked: Asked) -> None:
        self._note_failure(asked)
        self._note_habits(asked)
        if self._complete(piece, asked):
            self._deliver(asked.answers, asked.leaf_id)
            self._close(piece)
            return
        self.splits += 1
        self.on_split(asked.leaf_id)
        whole = _Whole(asked.answers, piece.starts_on == piece.ends_on)
        self._open.append(whole)
        try:
            proven = self._split(piece, asked, whole)
        finally:
            self._open.pop()
        if whole.pending:
            self._deliver(whole.pending, asked.leaf_id)
        if not proven and self._is_cut(asked):
            self.uncertain += 1
        if not whole.by_date:  # else its days were closed one after the other
            self._close(piece)

    def _split(self, piece: Piece, asked: Asked, whole: _Whole) -> bool:
        """Take one way after the other until what the whole showed has come again; whether that proves it."""
        is_point = self._is_cut(asked) and self._points.is_all_of(piece, asked.answers, asked.leaf_id)
        for way in ways(piece):
            if is_point and way.field:
                return False  # dates and times are taken all the same: they cost little, and bring all that has a time
            untimed = way is BY_TIME and piece.any_time  # it hides studies without a time
            hides = untimed and self.facts.timeless and self._is_cut(asked) and not is_point
            needless = way is BY_PATIENT_END and piece.starts_on < piece.ends_on and not self._by_patient()
            if way.name in self.facts.ignored or hides or needless or not self._worth(way, asked, whole):
                continue
            whole.by_date = way is BY_DATE
            before, whole.found_more = whole.found_more, False
            usable = self._cover_pieces(way, piece, asked, whole)
            found, whole.found_more = whole.found_more, whole.found_more or before
            if whole.found_more and asked.status == "0000":
                self._learn_cap(asked.count)
            if not usable:
                continue
            if whole.seen and len(whole.pending) == len(whole.seen):
                self.facts.ignored.add(way.name)  # it answers nothing to this key
                continue
            self._learn_timeless(way, piece, untimed, whole, found)
            if whole.pending and not self._only_timeless_left(asked, whole):
                continue
            if untimed and self._is_cut(asked):
                if self.facts.timeless is not False:
                    continue
                self.assumes.add("all-have-a-time")
            return True
        return not self._is_cut(asked) and not whole.pending

    def _cut_answers(self, piece: Piece, leaf: int | None) -> Mapping[str, Dataset]:
        asked = self.ask(piece, leaf)
        return asked.answers if self._is_cut(asked) else {}

    def _cover_pieces(self, way: Way, piece: Piece, asked: Asked, whole: _Whole) -> bool:
        """Cover the pieces of one way; False when the PACS does not match by its key."""
        place = f"{way.name}:{len(stem_of(piece, way))}"
        probing = way.field != "" and place not in self.facts.alphabets and self._is_cut(asked)
        if probing:
            self._probing[place] = list(dict.fromkeys(shown(way, len(stem_of(piece, way)), whole.seen.values())))
        for part in self._pieces(way, place, piece, asked, whole):
            answer = self.ask(part, asked.leaf_id)
            refused = answer.failed and not answer.status.startswith(MAY_HELP) and not asked.failed
            if refused or not all(belongs(way, part, study) for study in answer.answers.values()):
                self.facts.ignored.add(way.name)
                self._probing.pop(place, None)
                self._deliver(answer.answers, answer.leaf_id)
                return False
            self._cover(part, answer)
        if probing and place in self._probing:
            self.facts.alphabets[place] = self._probing.pop(place)
        elif place in self.facts.alphabets:
            self.assumes.add(way.name)
        return True

    def _pieces(self, way: Way, place: str, piece: Piece, asked: Asked, whole: _Whole) -> Iterator[Piece]:
        if way is BY_DATE:
            return by_date(piece, self._density, self._target, split=True)
        if way is BY_TIME:
            return by_time(piece, self._density, self._target(), whole.seen, asked.count)
        if way is BY_MODALITY:
            return by_modality(piece, whole.seen, self.facts.alphabets.get(place, MODALITIES))
        return by_character(piece, way, whole.seen, self.facts.alphabets.get(place, ALPHABET))

    def _deliver(self, answers: Mapping[str, Dataset], leaf: int | None) -> None:
        for whole in self._open:
            whole.take(answers)
        self._density.see(
            (uid, day_of(text(answer, "StudyDate")) or date.min, seconds_of_day(text(answer, "StudyTime")))
            for uid, answer in answers.items()
        )
        self.take(answers, leaf)

    def _close(self, piece: Piece) -> None:
        """What a covered piece teaches about when studies happen."""
        if piece.any_time and self._root is not None and piece.values == self._root.values:
            self._density.close(piece.starts_on, piece.ends_on)
            self._again = 0

    def _note_habits(self, asked: Asked) -> None:
        """Studies without a time among others with one, and characters and modalities that were not known yet."""
        times = {seconds_of_day(text(answer, "StudyTime")) is None for answer in asked.answers.values()}
        if times == {True, False}:
            self.facts.timeless = True
        for place, known in [*self.facts.alphabets.items(), *self._probing.items()]:
            name, _, depth = place.partition(":")
            for one in set(shown(BY_NAME[name], int(depth), asked.answers.values())):
                if one not in known:
                    known.append(one)

    def _learn_cap(self, count: int) -> None:
        if self.facts.cap != count:
            self._lowered = self.facts.largest_is_over = count < self.facts.largest
            self.facts.cap = self.facts.largest = count

    def _learn_timeless(self, way: Way, piece: Piece, untimed: bool, whole: _Whole, found: bool) -> None:
        tried = "time" not in self.facts.ignored and self._is_day(piece)
        if untimed and any(not text(answer, "StudyTime") for answer in whole.pending.values()):
            self.facts.timeless = True
        elif way is not BY_TIME and tried and self.facts.timeless is None:
            self.facts.timeless = found or bool(whole.pending)  # what times did not bring, but this way did, has none

    def _only_timeless_left(self, asked: Asked, whole: _Whole) -> bool:
        """Whether all that a mere suspicion leaves open are studies without a time, and the answer does not end with
        them: a cap would then have hidden studies with a time, which the pieces would have shown."""
        if self._is_cut(asked):
            return False
        last = next(reversed(asked.answers.values()))
        without = all(not text(answer, "StudyTime") for answer in whole.pending.values())
        return without and not whole.found_more and bool(text(last, "StudyTime"))

    def _complete(self, piece: Piece, asked: Asked) -> bool:
        if asked.status != "0000":
            # where a PACS says that it cut off is a good size for the next pieces
            self.facts.limit = max(asked.count, self.facts.limit or 0) or None
            return False
        if asked.count < SMALLEST_CAP:
            return True
        if self.facts.cap is not None and asked.count > self.facts.cap:
            self.facts.cap = None  # it was raised since
        # Caps may be lowered. An answer that is smaller than another of this sweep is not cut by today's.
        self._again = self._again + 1 if asked.count == self._most else 0 if asked.count > self._most else self._again
        at_most = asked.count >= self._most and (is_round(asked.count) or (self._again > 0 and asked.count >= 20))
        self._most = max(self._most, asked.count)
        suspicious = (
            asked.count >= self.facts.largest
            or asked.count == self.facts.cap
            or at_most
            or self._far_below(piece, asked.count)
        )
        self.facts.largest = max(self.facts.largest, asked.count)
        return not suspicious

    def _far_below(self, piece: Piece, count: int) -> bool:
        """A day that should be far above the cap and is below it: a holiday, or a cap that was lowered."""
        if self.facts.cap is None or not self._is_day(piece):
            return False
        expected = self._density.of_day(piece.starts_on)
        return expected > 1.5 * self.facts.cap and expected > 2 * count

    def _is_day(self, piece: Piece) -> bool:
        """Whether it is a day with nothing left out of what the sweep is about."""
        same = self._root is not None and piece.values == self._root.values
        return same and piece.any_time and piece.starts_on == piece.ends_on

    def _is_cut(self, asked: Asked) -> bool:
        return asked.status != "0000" or asked.count == self.facts.cap

    def _worth(self, way: Way, asked: Asked, whole: _Whole) -> bool:
        """A mere suspicion is probed by date and time; other ways cost more, and are for what these left open."""
        if way in (BY_DATE, BY_TIME) or self._is_cut(asked):
            return True
        return 0 < len(whole.pending) < len(whole.seen) or "time" in self.facts.ignored

    def _note_failure(self, asked: Asked) -> None:
        if not asked.failed:
            self._failures = 0
            return
        self._failures += 3 if asked.status == "timed-out" else 1
        if not asked.status.startswith(MAY_HELP) or self._failures >= MOST_FAILURES:
            raise self.refuse(asked.status)


def is_round(count: int) -> bool:
    """Whether somebody may have set a cap to this number."""
    return count >= 50 and (count % 50 == 0 or count & (count - 1) == 0)
