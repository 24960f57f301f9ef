"""PACS that cap below STUDY level, answer oddly, or match otherwise than the standard says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import pytest
from pydicom.dataset import Dataset

from sluice.database import Database
from sluice.pacs.answers import as_json, day_of, text
from sluice.pacs.association import identifier_of
from sluice.pacs.find.cohort import CohortRow, RowAnswer, sweep_cohort
from sluice.pacs.find.contents import NUMBER, ContentsReader
from sluice.pacs.find.pieces import BY_PATIENT_END, Piece, Way, by_character
from sluice.pacs.find.splitting import Asked, Facts, Splitter
from sluice.pacs.find.sweep import sweep
from sluice.pacs.outcomes import Found
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows
from tests.pacs.test_splitting import DAY, CappedPacs, RefusedError, Study, cover, study

WINDOW = Window.of_day(date(2026, 10, 26))


# --- below STUDY level, at the level of questions ------------------------------------------------------------------


class Store:
    """Series and instances of studies, asked as C-FIND would; says what it was asked."""

    def __init__(self, studies: Mapping[str, Mapping[str, int]], **habits: Any) -> None:
        self.series_rows, self.images = [], []
        for study_uid, series in studies.items():
            for number, (uid, count) in enumerate(series.items(), 1):
                row = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": uid, "Modality": uid.split("-")[0],
                       "SeriesNumber": str(number), "NumberOfSeriesRelatedInstances": str(count)}  # fmt: skip
                self.series_rows.append(row)
                self.images += [
                    {"StudyInstanceUID": study_uid, "SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{n}",
                     "InstanceNumber": str(n)} for n in range(1, count + 1)
                ]  # fmt: skip
        self.caps: Mapping[str, int] = habits.get("caps", {})
        self.status: str = habits.get("status", "0000")
        self.ignores: set[str] = habits.get("ignores", set())
        self.lists: bool = habits.get("lists", True)
        self.hints: Callable[[int], int] | None = habits.get("hints", lambda count: count)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, level: str, keys: Mapping[str, Any], wanted: tuple[str, ...]) -> Found:
        self.asked.append((level, dict(keys)))
        rows_of = self.series_rows if level == "SERIES" else self.images
        found = [row for row in rows_of if all(self._matches(name, value, row) for name, value in keys.items())]
        random.Random(len(self.asked)).shuffle(found)
        cap = self.caps.get(level, 10**9)
        status = self.status if len(found) > cap else "0000"
        return Found([self._answer(row) for row in found[:cap]], status)

    def _matches(self, name: str, value: Any, row: Mapping[str, str]) -> bool:
        if name in self.ignores:
            return True
        if isinstance(value, list):
            return row[name] in value if self.lists else row[name] == value[0]
        return row[name] == value

    def _answer(self, row: Mapping[str, str]) -> Dataset:
        answer = Dataset()
        for name, value in row.items():
            if name == "NumberOfSeriesRelatedInstances":
                if self.hints is None:
                    continue
                value = str(self.hints(int(value)))
            setattr(answer, name, value)
        return answer


def read(store: Store, facts: Facts | None = None) -> tuple[set[str], ContentsReader]:
    reader = ContentsReader(store.ask, facts or Facts())
    contents = reader.read({row["StudyInstanceUID"]: 0 for row in store.series_rows})
    return {sop for one in contents.values() for sop in one.expected}, reader


MANY = {f"1.{n}": {f"CT-{n}.1": 3, f"CT-{n}.2": 2} for n in range(30)}


def test_lists_of_uids_are_tried_once_and_then_save_most_questions() -> None:
    store, facts = Store(MANY), Facts()
    found, reader = read(store, facts)
    assert found == {image["SOPInstanceUID"] for image in store.images}
    assert facts.lists is True
    assert len(store.asked) < 20 < 30 + 60
    again = Store(MANY)
    read(again, facts)
    assert len(again.asked) <= 6
    assert reader.uncertain == 0


def test_a_pacs_that_takes_the_first_of_a_list_is_asked_one_by_one() -> None:
    store, facts = Store(MANY, lists=False), Facts()
    found, _ = read(store, facts)
    assert found == {image["SOPInstanceUID"] for image in store.images}
    assert facts.lists is False


@pytest.mark.parametrize("status", ["0000", "B001", "A700"])
def test_lists_behind_a_cap_lose_nothing(status: str) -> None:
    store = Store(MANY, caps={"IMAGE": 20, "SERIES": 20}, status=status)
    facts = Facts(lists=True, cap=20)
    found, reader = read(store, facts)
    assert found == {image["SOPInstanceUID"] for image in store.images}
    assert reader.uncertain == 0


@pytest.mark.parametrize("status", ["0000", "B001", "A700"])
@pytest.mark.parametrize("hints", [lambda count: count, None], ids=["with numbers", "without"])
def test_a_long_series_is_completed_by_instance_number(status: str, hints: Callable[[int], int] | None) -> None:
    store = Store({"1.1": {"CT-1": 130, "CT-2": 4}}, caps={"IMAGE": 50}, status=status, hints=hints)
    found, reader = read(store)
    assert found == {image["SOPInstanceUID"] for image in store.images}
    assert reader.uncertain == 0
    if status == "0000":
        assert reader.facts.level_caps == {"IMAGE": 50}


def test_a_study_of_many_series_is_completed_by_modality_and_number() -> None:
    series = {f"{modality}-{n}": 1 for modality in ("CT", "SR", "PR") for n in range(25)}
    store = Store({"1.1": series}, caps={"SERIES": 20}, status="B001")
    found, reader = read(store)
    assert len(found) == 75
    assert reader.uncertain == 0


def test_a_series_that_cannot_be_split_is_said_to_be_uncertain() -> None:
    store = Store({"1.1": {"CT-1": 130}}, caps={"IMAGE": 50}, status="B001", ignores={NUMBER["IMAGE"]})
    found, reader = read(store)
    assert (50 <= len(found) < 130, reader.uncertain) == (True, 1)
    unnumbered = Store({"1.1": {"CT-1": 130}}, caps={"IMAGE": 50}, status="B001")
    for image in unnumbered.images:
        image["InstanceNumber"] = ""
    assert read(unnumbered)[1].uncertain == 1


def test_numbers_of_instances_are_hints_only() -> None:
    too_many = Store(MANY, hints=lambda count: count + 2)
    found, reader = read(too_many)
    assert len(found) == 150
    assert (reader.uncertain, reader.contradicted) == (0, 60)
    too_few = Store(MANY, hints=lambda count: count - 1)
    found, reader = read(too_few)
    assert (len(found), reader.uncertain, reader.contradicted) == (150, 0, 0)


# --- STUDY level, at the level of questions ------------------------------------------------------------------------


class Matching(CappedPacs):
    """Matches with a habit of its own."""

    def __init__(self, studies: list[Study], cap: int, habit: Callable[[str], str]) -> None:
        super().__init__(studies, cap)
        self.habit = habit

    def matches(self, keys: dict[str, str], study: Study) -> bool:
        return super().matches(
            {name: self.habit(value) for name, value in keys.items() if name != "SpecificCharacterSet"},
            Study(**{name: self.habit(str(value)) for name, value in vars(study).items() if name != "answer"}),
        )


def test_case_insensitive_matching_loses_nothing() -> None:
    held = [study(n, "101500", "CT", f"{'aAbB'[n % 4]}{n % 3}x" if n % 2 else f"P{n}Q") for n in range(80)]
    found, splitter = cover(Matching(held, 15, str.casefold))  # type: ignore[arg-type]
    assert len(found) == 80
    assert splitter.uncertain == 0


def test_wildcards_in_patient_ids_are_never_asked_for_and_nothing_is_lost() -> None:
    held = [study(n, "101500", "CT", f"M{'*?'[n % 2]}{n:03d}" if n % 3 else f"{n:03d}*") for n in range(60)]
    asked: list[Piece] = []
    pacs = CappedPacs(held, 12)
    ask = pacs.ask

    def watched(piece: Piece, parent: int | None) -> Asked:
        asked.append(piece)
        return ask(piece, parent)

    pacs.ask = watched  # type: ignore[method-assign]
    found, splitter = cover(pacs)
    assert len(found) == 60
    assert splitter.uncertain == 0
    assert not [piece for piece in asked if (piece.patient_id or "").strip("*").count("?")]


def test_letters_are_asked_for_in_the_character_set_they_came_in() -> None:
    answer = Dataset()
    answer.SpecificCharacterSet, answer.PatientID = "ISO_IR 144", "17Ж"
    pieces = list(by_character(Piece(DAY, DAY), BY_PATIENT_END, {"1": answer}, "0"))
    assert [(piece.patient_id, piece.charset) for piece in pieces] == [("*Ж", "ISO_IR 144"), ("*0", None)]
    identifier = identifier_of("STUDY", pieces[0].keys())
    assert identifier.SpecificCharacterSet == "ISO_IR 144"
    answer.SpecificCharacterSet = "NONSENSE"
    (first, _) = by_character(Piece(DAY, DAY), BY_PATIENT_END, {"1": answer}, "0")
    assert identifier_of("STUDY", first.keys()).SpecificCharacterSet == "ISO_IR 192"
    start = Way("patient_id_start", "patient_id")
    assert " *" not in [piece.patient_id for piece in by_character(Piece(DAY, DAY), start, {}, " A")]


def test_a_cap_that_was_lowered_is_noticed() -> None:
    facts = Facts()
    held = [study(n, f"{n % 24:02d}{n % 60:02d}{n % 7:02d}", "CT", f"P{n}") for n in range(300)]
    assert len(cover(CappedPacs(held, 100), facts=facts)[0]) == 300
    assert facts.cap == 100
    found, splitter = cover(CappedPacs(held, 37, seed=3), facts=facts)
    assert len(found) == 300
    assert (facts.cap, splitter.uncertain) == (37, 0)


def test_breaking_off_after_n_answers_is_a_cap() -> None:
    held = [study(n, f"{n % 24:02d}{n % 60:02d}00", "CT", f"P{n}") for n in range(120)]
    found, splitter = cover(CappedPacs(held, 25, "aborted"))
    assert len(found) == 120
    assert (splitter.facts.limit, splitter.uncertain) == (25, 0)


def test_big_answers_that_time_out_are_asked_in_smaller_ones() -> None:
    held = [study(n, f"{n % 24:02d}{n % 60:02d}00", "CT", f"P{n}") for n in range(120)]

    class Slow(CappedPacs):
        def ask(self, piece: Piece, parent: int | None) -> Asked:
            asked = super().ask(piece, parent)
            return Asked({}, 0, "timed-out", asked.leaf_id) if asked.count > 40 else asked

    found, splitter = cover(Slow(held, None))
    assert len(found) == 120
    assert splitter.uncertain == 0


def test_an_unsupported_key_is_given_up_not_the_sweep() -> None:
    held = [study(n, "101500", ["CT", "MR"][n % 2], f"P{n}") for n in range(60)]

    class Strict(CappedPacs):
        def ask(self, piece: Piece, parent: int | None) -> Asked:
            if (piece.patient_id or "").startswith("*"):
                return Asked({}, 0, "A900")
            return super().ask(piece, parent)

    found, splitter = cover(Strict(held, 20))
    assert len(found) == 60
    assert "patient_id_end" in splitter.facts.ignored


def test_studies_are_handed_on_leaf_by_leaf() -> None:
    held = [study(n, f"{n % 24:02d}{n % 60:02d}{n % 7:02d}", "CT", f"P{n}") for n in range(400)]
    pacs, sizes = CappedPacs(held, 50), []
    Splitter(pacs.ask, Facts(), RefusedError, lambda answers, leaf: sizes.append(len(answers))).cover(Piece(DAY, DAY))
    assert max(sizes) <= 50
    assert len(sizes) >= 8


# --- over the wire -------------------------------------------------------------------------------------------------


def swept(database: Database, holds: Iterable[Dataset], **faults: Any) -> tuple[Any, list[dict[str, object]]]:
    with PretendPacs(list(holds), **faults) as pacs:
        summary = sweep(database, pacs.node(), WINDOW)
    return summary, rows(database, "select study_instance_uid, answer from found_study order by 1")


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("ISO_IR 100", "Schädel"), ("ISO_IR 144", "Череп"), ("ISO_IR 192", "頭部"),
        (["", "ISO 2022 IR 87"], "頭部"), (["", "ISO 2022 IR 149"], "두부"),
    ],
)  # fmt: skip
def test_answers_in_every_character_set_are_kept_as_words(database: Database, charset: Any, words: str) -> None:
    _, found = swept(database, make_study(1, 1, SpecificCharacterSet=charset, StudyDescription=words))
    assert found[0]["answer"]["00081030"]["Value"] == [words]  # type: ignore[index]


def test_uids_with_padding_nul_in_words_and_old_dates(database: Database) -> None:
    holds = make_study(1, 1, StudyDate="2026.10.26", StudyDescription="a\x00b", StudyTime="10:15:00")
    summary, found = swept(database, holds)
    assert day_of("2026.10.26") == WINDOW.starts_on
    assert summary.unusable == 0
    answer = Dataset()
    answer.StudyInstanceUID, answer.StudyDescription = "1.2.3\x00", "x\x00\udcffy"
    assert text(answer, "StudyInstanceUID") == "1.2.3"
    assert "\x00" not in str(as_json(answer))
    assert len(found) in (0, 1), "a PACS may or may not match the old form; it must not break the sweep"


def test_several_studies_on_one_accession_and_an_empty_one(database: Database) -> None:
    holds = [i for n in range(3) for i in make_study(1, 1, AccessionNumber="A1", StudyTime=f"{8 + n:02d}0000")]
    holds += make_study(1, 1, AccessionNumber="", PatientID="")
    summary, _ = swept(database, holds)
    assert (summary.studies, summary.uncertain) == (4, 0)
    with PretendPacs(holds) as pacs:
        window = Window.of_cohort("p", "n", date(2026, 1, 1), date(2026, 12, 31))
        answers: list[RowAnswer] = []
        rows = [CohortRow(2, accession="A1"), CohortRow(3, accession=""), CohortRow(4, accession="*"),
                CohortRow(5, accession="A?")]  # fmt: skip
        sweep_cohort(database, pacs.node(), window, rows, answered=answers.append)
        asked = [query.AccessionNumber for query in pacs.queries if query.QueryRetrieveLevel == "STUDY"]
    assert [answer.outcome for answer in answers] == ["several", "refused", "refused", "refused"]
    assert asked == ["A1"], "an empty or a wild accession number would match everybody"


def test_the_same_sop_instance_in_two_series_is_expected_once(database: Database) -> None:
    holds = make_study(2, 1)
    holds[1].SOPInstanceUID = holds[0].SOPInstanceUID
    summary, _ = swept(database, holds)
    assert (summary.studies, summary.instances) == (1, 1)
