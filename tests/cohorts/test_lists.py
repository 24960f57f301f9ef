"""A list that is kept: every row has an answer, which follows what is known, what the PACS says and what arrives."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sluice.cohorts.list_report import answers_csv
from sluice.cohorts.list_rows import ListReader
from sluice.cohorts.list_sweep import _Answers, sweep_list, window_of_list
from sluice.cohorts.lists import add_list, answer_list, delete_list, every_row, find_list, lists, rows_of
from sluice.cohorts.records import ListError
from sluice.database import Database
from sluice.pacs.find.sweep import sweep
from sluice.windows import Window
from tests.ledger_rows import LedgerRows
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

DAY = date(2026, 10, 26)


def added(database: Database, content: str, name: str = "thorax", **more: Any) -> Any:
    return add_list(database, "lung", name, io.BytesIO(content.encode()), "list.csv", "rita", **more)


def answers(database: Database, list_id: int) -> dict[int, str]:
    return {row["line"]: row["answer"] for row in every_row(database, list_id)}


def words(database: Database, list_id: int) -> dict[int, str]:
    return {row["line"]: row["words"] for row in every_row(database, list_id)}


def test_rows_are_answered_from_what_is_known_and_again_when_things_arrive(database: Database) -> None:
    ledger = LedgerRows(database)
    here, listed = ledger.study(1), ledger.study(2, accession_number="ACC2", patient_id="PX")
    twin = ledger.study(3, accession_number="ACC2", patient_id="PX")
    series = {uid: ledger.series(uid) for uid in (here, listed, twin)}
    ledger.received(series[here], 1)
    ledger.expected(series[here], 2)
    ledger.expected(series[listed], 1)
    kept = added(
        database,
        "accession,mrn,date,study_uid\nACC00001,,,\nACC2,,,\n,PAT-0001,2026-10-26,\n,PAT-0001,2026-10-27,\n"
        f",,,{listed}\nACC2,other,,\n*,,,\nACC00001,,,\nNEVER,,,\n,,,{here}\n",
    )
    assert answers(database, kept.list_id) == {
        2: "found", 3: "several", 4: "found", 5: "not-yet", 6: "not-yet", 7: "not-yet", 8: "refused", 9: "found",
        10: "not-yet", 11: "found",
    }  # fmt: skip
    said = words(database, kept.list_id)
    assert said[2] == "One study; 1 of 2 instances here."
    assert said[3] == "2 studies match; 0 of 1 instance here. All of them are taken."
    assert said[6] == "The PACS lists it with 1 instance; nothing of it is here yet."
    assert "not asked yet" in said[10]
    assert "Wildcards" in said[8]
    assert said[9].startswith("Asks for the same as line 2. ")
    assert (kept.doubles, kept.rows) == (1, 10)
    ledger.received(series[listed], 1)
    ledger.received(series[here], 2)
    assert answer_list(database, kept.list_id) == {"found": 5, "several": 1, "not-yet": 3, "refused": 1}
    assert words(database, kept.list_id)[2] == "One study; 2 of 2 instances here."
    database.execute("update study set accession_number = 'OTHER' where study_instance_uid = %s", (twin,))
    answer_list(database, kept.list_id)
    assert answers(database, kept.list_id)[3] == "found", "what no longer matches no longer counts"


def test_the_pacs_is_asked_only_for_what_is_not_known_and_once(database: Database) -> None:
    known = make_study(1, 2, AccessionNumber="A1", PatientID="P1")
    other = make_study(2, 1, AccessionNumber="A2", PatientID="P2")
    silent = make_study(1, 1, AccessionNumber="", PatientID="P3")
    kept = added(database, "accession,mrn,date\nA1,,\nA2,,\n0009,,\n,P3,2026-10-26\nA2,,\n77,,\n")
    with PretendPacs(known) as pacs:
        sweep(database, pacs.node(), Window.of_day(DAY))
    start = datetime.now(UTC)
    with PretendPacs([*known, *other, *silent]) as pacs:
        summary = sweep_list(database, pacs.node(), kept, start)
        asked = len(pacs.queries)
        assert (summary.rows, summary.studies, summary.instances) == (4, 2, 3)
        assert not any(query.get("AccessionNumber") == "A1" for query in pacs.queries)
        sweep_list(database, pacs.node(), kept, start)
        assert len(pacs.queries) == asked, "what was answered is not asked twice in one run"
        sweep_list(database, pacs.node(), kept, datetime.now(UTC) + timedelta(seconds=1))
        assert len(pacs.queries) == asked + 2, "a new run asks again for what the PACS did not know"
    assert answers(database, kept.list_id) == {
        2: "not-yet", 3: "not-yet", 4: "not-found", 5: "not-yet", 6: "not-yet", 7: "not-found",
    }  # fmt: skip
    assert "Does it begin with zeros" in words(database, kept.list_id)[7]
    members = rows(database, "select sop_instance_uid from expectation where window_key = 'cohort/lung/thorax'")
    assert {row["sop_instance_uid"] for row in members} == {i.SOPInstanceUID for i in [*known, *other, *silent]}


def test_a_list_that_is_deleted_while_the_pacs_answers_ends_quietly(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = added(database, "accession\nA1\n")
    write = _Answers._write

    def deleted_before(answers: _Answers) -> None:
        delete_list(database, kept.list_id)
        write(answers)

    monkeypatch.setattr(_Answers, "_write", deleted_before)
    with PretendPacs(make_study(1, 2, AccessionNumber="A1", PatientID="P1")) as pacs:
        assert sweep_list(database, pacs.node(), kept, datetime.now(UTC)).studies == 1
    assert rows(database, "select list_id from cohort_list_study") == []


def test_a_row_whose_answer_lacks_its_key_is_taken_as_asked(database: Database) -> None:
    study = make_study(1, 1, AccessionNumber="A7")
    kept = added(database, "accession\nA7\n")
    with PretendPacs(study) as pacs:
        sweep_list(database, pacs.node(), kept, datetime.now(UTC))
    database.execute("update found_study set answer = answer - '00080050'")
    answer_list(database, kept.list_id)
    assert answers(database, kept.list_id) == {2: "not-yet"}
    assert words(database, kept.list_id)[2].startswith("The PACS lists it with 1 instance")


def test_the_window_spans_the_dates_of_the_rows(database: Database) -> None:
    dated = added(database, "mrn,from,to\nP1,2026-01-05,2026-02-01\nP2,2025-12-01,2026-01-01\n*,1999-01-01,\n")
    window = window_of_list(database, dated, DAY)
    assert (window.key, window.starts_on, window.ends_on) == ("cohort/lung/thorax", date(2025, 12, 1), date(2026, 2, 1))
    open_ended = added(database, "accession,date\nA1,\nA2,2026-01-01\n", name="other")
    window = window_of_list(database, open_ended, DAY)
    assert (window.starts_on.year, window.ends_on) == (1926, DAY)


def test_a_name_has_one_list_which_can_be_replaced_and_deleted(database: Database) -> None:
    first = added(database, "accession\nA1\n")
    assert added(database, "accession\nA1\n").list_id == first.list_id
    with pytest.raises(ListError, match="Replace it"):
        added(database, "accession\nA2\n")
    second = added(database, "accession\nA2\n", replace=True)
    assert [one.list_id for one in lists(database)] == [second.list_id]
    with pytest.raises(ListError, match="no rows"):
        added(database, "accession\n", replace=True)
    assert find_list(database, "lung", "thorax") is not None, "a list that cannot be read replaces none"
    assert delete_list(database, second.list_id)
    assert not delete_list(database, second.list_id)
    assert rows(database, "select from cohort_list_row") == []


def test_pages_of_rows_by_answer(database: Database) -> None:
    kept = added(database, "accession\n" + "".join(f"A{n}\n*\n" for n in range(30)))
    first, after = rows_of(database, kept.list_id, "refused", size=20)
    second, end = rows_of(database, kept.list_id, "refused", after or 0, size=20)
    assert [row["line"] for row in [*first, *second]] == list(range(3, 62, 2))
    assert end is None


def test_the_answer_file_runs_nothing_and_can_be_uploaded_again(database: Database) -> None:
    kept = added(database, 'accession,mrn,date\n+49,,\n-1,,\n"a;b",,\n,"P,1",26.10.2026\n=1+1,,\n')
    text = "".join(answers_csv(database, kept.list_id))
    table = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["accession_number"] for row in table] == ["'+49", "'-1", "a;b", "", ""]
    assert [row["answer"] for row in table] == ["not-yet"] * 4 + ["refused"]
    assert not any(cell[:1] in set("=+-@\t\r") for row in table for cell in row.values())
    again = [row.asked for row in ListReader(io.BytesIO(text.encode())) if row.asked]
    assert [(one.accession, one.patient_id, one.starts_on) for one in again] == [
        ("+49", None, None), ("-1", None, None), ("a;b", None, None), (None, "P,1", DAY),
    ]  # fmt: skip
