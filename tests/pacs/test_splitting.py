"""A sweep behind any cap finds exactly what the PACS holds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sluice.pacs.find.splitting import Asked, Facts, Piece, Splitter

DAY = date(2026, 10, 26)


class RefusedError(RuntimeError):
    pass


class CappedPacs:
    """C-FIND at STUDY level over a list, in random order, cut off at `cap`."""

    def __init__(self, studies: list[Study], cap: int | None, status: str = "0000", seed: int = 1) -> None:
        self.studies = studies
        self.cap = cap
        self.status = status
        self.random = random.Random(seed)
        self.queries = 0

    def ask(self, piece: Piece, parent: int | None) -> Asked:
        self.queries += 1
        assert self.queries < 20_000, "splitting does not end"
        keys = piece.keys()
        found = [s for s in self.studies if self.matches(keys, s)]
        self.random.shuffle(found)
        cut = self.cap is not None and len(found) > self.cap
        given = found[: self.cap] if cut else found
        answers = {s.StudyInstanceUID: s.answer for s in given}
        return Asked(answers, len(given), self.status if cut else "0000", self.queries)

    def matches(self, keys: dict[str, str], study: Study) -> bool:
        for keyword, wanted in keys.items():
            held = getattr(study, keyword)
            if "-" in wanted and keyword in ("StudyDate", "StudyTime"):
                first, last = wanted.split("-")
                if not held or held < first or (last and held > last):
                    return False
            elif wanted.endswith("*"):
                if not held.startswith(wanted[:-1]):
                    return False
            elif wanted.startswith("*"):
                if not held.endswith(wanted[1:]):
                    return False
            elif held != wanted:
                return False
        return True


@dataclass
class Study:
    StudyInstanceUID: str
    StudyDate: str
    StudyTime: str
    ModalitiesInStudy: str
    PatientID: str
    AccessionNumber: str

    @cached_property
    def answer(self) -> Dataset:
        answer = Dataset()
        for keyword, value in vars(self).items():
            setattr(answer, keyword, value)
        return answer


def study(number: int, time: str = "", modality: str = "CT", patient: str = "P1", day: date = DAY) -> Study:
    return Study(f"1.2.3.{number}", f"{day:%Y%m%d}", time, modality, patient, f"A{number:06d}")


def cover(pacs: CappedPacs, days: int = 1, facts: Facts | None = None) -> tuple[set[str], Splitter]:
    found: set[str] = set()
    splitter = Splitter(pacs.ask, facts or Facts(), RefusedError, lambda answers, leaf: found.update(answers))
    splitter.cover(Piece(DAY, DAY + timedelta(days=days - 1)))
    return found, splitter


times = st.one_of(
    st.just(""),
    st.just("120000"),
    st.builds("{:02d}{:02d}{:02d}".format, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
    st.builds("{:02d}{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    st.builds("{:02d}{:02d}{:02d}.{}".format, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59),
              st.integers(0, 999_999)),
)  # fmt: skip
studies = st.lists(
    st.tuples(times, st.sampled_from(["CT", "MR", "CR", "US"]), st.from_regex(r"[A-Z]?[0-9]{1,5}", fullmatch=True),
              st.integers(0, 3)),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(studies, st.integers(2, 30), st.sampled_from(["0000", "B001", "A700"]), st.integers(0, 1000))
def test_the_union_is_exactly_what_the_pacs_holds(
    rows: list[tuple[str, str, str, int]], cap: int, status: str, seed: int
) -> None:
    held = [study(n, time, mod, patient, DAY + timedelta(days=d)) for n, (time, mod, patient, d) in enumerate(rows)]
    found, splitter = cover(CappedPacs(held, cap, status, seed), days=4)
    assert found == {s.StudyInstanceUID for s in held}
    assert splitter.uncertain == 0


def test_without_a_cap_nothing_but_a_probe_is_asked() -> None:
    held = [study(n, f"{n % 24:02d}0000") for n in range(40)]
    pacs = CappedPacs(held, None)
    found, splitter = cover(pacs)
    assert len(found) == 40
    assert pacs.queries <= 3
    again = CappedPacs(held[:30], None)
    cover(again, facts=splitter.facts)
    assert again.queries == 1


def test_a_silent_cap_is_learned_and_then_known() -> None:
    held = [study(n, f"{n % 24:02d}{n % 60:02d}00", "CT") for n in range(200)]
    found, splitter = cover(CappedPacs(held, 37))
    assert len(found) == 200
    assert splitter.facts.cap == 37
    assert splitter.facts.timeless is False


def test_queries_stay_near_the_lower_bound_once_the_pacs_is_known() -> None:
    def clock(second: float) -> str:
        return f"{int(second) // 3600:02d}{int(second) // 60 % 60:02d}{int(second) % 60:02d}"

    rng = random.Random(7)
    facts = Facts()
    queries = lower = 0
    for number in range(4):
        day = DAY + timedelta(days=number)
        held = [study(n, clock(rng.triangular(0, 86_399, 43_000)), "CT", f"P{n:04d}", day) for n in range(1000)]
        pacs = CappedPacs(held, 200)
        found: set[str] = set()
        splitter = Splitter(pacs.ask, facts, RefusedError, lambda answers, leaf, into=found: into.update(answers))
        splitter.cover(Piece(day, day))
        assert len(found) == 1000
        if number:  # the first day learns
            queries += pacs.queries
            lower += -(-1000 // 200)
    assert queries / lower < 4


def test_studies_without_a_time_that_the_whole_never_showed_are_found() -> None:
    held = [study(n, f"{n % 24:02d}0000", "CT", f"P{n}") for n in range(100)]
    held.append(study(1000, "", "CT", "Q1"))

    class Hidden(CappedPacs):
        def ask(self, piece: Piece, parent: int | None) -> Asked:
            self.studies.sort(key=lambda s: s.StudyTime, reverse=True)  # those without a time come last
            return super().ask(piece, parent)

    pacs = Hidden(held, 20)
    pacs.random.shuffle = lambda found: None  # type: ignore[method-assign,assignment]
    found, splitter = cover(pacs)
    assert "1.2.3.1000" in found
    assert splitter.facts.timeless is True
    assert len(found) == 101


def test_a_pacs_that_ignores_the_time_key_is_split_by_modality() -> None:
    held = [study(n, "101500", ["CT", "MR", "CR", "US", "XX"][n % 5], f"P{n}") for n in range(90)]

    class IgnoresTime(CappedPacs):
        def matches(self, keys: dict[str, str], study: Study) -> bool:
            return super().matches({k: v for k, v in keys.items() if k != "StudyTime"}, study)

    pacs = IgnoresTime(held, 40)
    found, splitter = cover(pacs)
    assert len(found) == 90
    assert "time" in splitter.facts.ignored
    assert pacs.queries < 1000


def test_more_at_one_place_than_the_cap_is_said_to_be_uncertain() -> None:
    held = [study(n, "101500", "CT", "SAME") for n in range(30)]
    for s in held:
        s.AccessionNumber = ""
    _, splitter = cover(CappedPacs(held, 10, "B001"))
    assert splitter.uncertain > 0


class InOrder(random.Random):
    """The PACS answers in one order, the same every time, as most do."""

    def shuffle(self, x: object) -> None:
        pass


@pytest.mark.parametrize("accession", ["", "ACC2026000017"])
@pytest.mark.parametrize(("shuffles", "most"), [(False, 300), (True, 700)])
def test_a_point_is_told_without_taking_every_way_to_its_end(accession: str, shuffles: bool, most: int) -> None:
    held = [study(n, "101500", "CT", "PAT0012345") for n in range(30)]
    for one in held:
        one.AccessionNumber = accession
    pacs = CappedPacs(held, 10, "B001")
    if not shuffles:
        pacs.random = InOrder()
    _, splitter = cover(pacs)
    assert splitter.uncertain > 0
    assert pacs.queries < most, "1,634 to 3,603 queries by all ways"


@pytest.mark.parametrize("status", ["0000", "B001"])
def test_a_point_hides_nobody_who_differs_from_it(status: str) -> None:
    point = [study(n, "101500", "CT", "PAT0012345") for n in range(30)]
    for one in point:
        one.AccessionNumber = ""
    same_second = [study(100 + n, "101500", "CT", f"PAT00{n:03d}{n % 10}9") for n in range(25)]
    same_end = [study(200 + n, "101500", "CT", f"XY{n:03d}{n % 4}5") for n in range(15)]
    timeless = [study(300 + n, "", "MR", f"Z{n:04d}") for n in range(15)]
    rest = [study(400 + n, f"{8 + n // 20:02d}{n % 60:02d}00", "US", f"{n * 7919 % 10**6:07d}") for n in range(150)]
    pacs = CappedPacs([*point, *same_second, *same_end, *timeless, *rest], 20, status)
    pacs.random = InOrder()
    found, splitter = cover(pacs)
    assert splitter.uncertain > 0
    assert {s.StudyInstanceUID for s in [*same_second, *same_end, *timeless, *rest]} <= found
    assert pacs.queries < 1200
    again = pacs.queries
    found, splitter = cover(pacs, facts=splitter.facts)
    assert splitter.uncertain > 0
    assert {s.StudyInstanceUID for s in [*same_second, *same_end, *timeless, *rest]} <= found
    assert pacs.queries - again < 400, "the PACS is known by now"


@pytest.mark.parametrize("status", ["A900", "0122"])
def test_a_failure_that_splitting_cannot_help_is_raised_at_once(status: str) -> None:
    pacs = CappedPacs([], None)
    pacs.ask = lambda piece, parent: Asked({}, 0, status)  # type: ignore[method-assign]
    with pytest.raises(RefusedError):
        cover(pacs)


def test_a_pacs_that_always_fails_is_given_up_after_a_few_queries() -> None:
    asked: list[Piece] = []

    def ask(piece: Piece, parent: int | None) -> Asked:
        asked.append(piece)
        return Asked({}, 0, "A700")

    with pytest.raises(RefusedError):
        Splitter(ask, Facts(), RefusedError, lambda answers, leaf: None).cover(Piece(DAY, DAY + timedelta(days=30)))
    assert len(asked) < 40
