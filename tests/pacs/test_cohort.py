"""Each row of a researcher's list gets an answer, and nothing that was not asked for is taken."""

from __future__ import annotations

from datetime import date

import pytest

from sluice.database import Database
from sluice.pacs.find.cohort import CohortFilter, CohortRow, sweep_cohort
from sluice.pacs.find.cohort_csv import read_cohort_csv
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

WINDOW = Window.of_cohort("ivc", "first", date(2026, 1, 1), date(2026, 12, 31))


def test_spreadsheets_as_they_come() -> None:
    content = (
        '\ufeff\r\n;;;\r\nName;Accession Number;MRN;Study_Date\r\nDoe;A1;;\r\n\r\n;;;\r\nX;"=""0012""";;\r\n'
        ";;007;26.10.2026\r\n;;008;\r\n;A*;;\r\n;;;2026-10-26\r\n;A2;;yesterday\r\n;A3;;31.02.2026\r\n"
    )
    wanted, problems = read_cohort_csv(content.encode("utf-8"))
    day = date(2026, 10, 26)
    assert [(r.number, r.accession, r.patient_id, r.starts_on, r.ends_on) for r in wanted] == [
        (4, "A1", None, None, None),
        (7, "0012", None, None, None),
        (8, None, "007", day, day),
    ]
    assert [(p.row_number, p.outcome) for p in problems] == [(n, "refused") for n in (9, 10, 11, 12, 13)]
    assert "needs a study date" in problems[0].reason
    assert "Wildcards" in problems[1].reason
    assert "no accession number" in problems[2].reason
    assert "2026-10-26" in problems[3].reason


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("StudyInstanceUID", "1.2.3"),
        ("patient_id,from,to", "P1,2026-10-01,2026-10-31"),
        ("PatientID\tStudyDate", "P1\t20261026"),
        ("(0008,0050)".replace(",", ""), "A1"),
    ],
)
def test_columns_in_several_spellings(header: str, row: str) -> None:
    wanted, problems = read_cohort_csv(f"{header}\n{row}\n")
    assert len(wanted) == 1
    assert problems == []


@pytest.mark.parametrize("content", ["", "\n\n", "name,age\nx,1\n", b"\xff\xfe\x00"])
def test_a_list_without_a_usable_column_says_which_are(content: str | bytes) -> None:
    with pytest.raises(ValueError, match="AccessionNumber"):
        read_cohort_csv(content)


def test_every_row_is_answered(database: Database) -> None:
    first = make_study(1, 2, AccessionNumber="A1", PatientID="P1")
    twins = [i for _ in range(2) for i in make_study(1, 1, AccessionNumber="A2", PatientID="P2")]
    other = make_study(1, 1, AccessionNumber="", PatientID="P3")
    with PretendPacs([*first, *twins, *other]) as pacs:
        wanted = [
            CohortRow(2, accession="A1"),
            CohortRow(3, accession="A2"),
            CohortRow(4, accession="A9"),
            CohortRow(5, accession="A*"),
            CohortRow(6),
            CohortRow(7, patient_id="P3", starts_on=date(2026, 10, 26), ends_on=date(2026, 10, 26)),
            CohortRow(8, study_uid=first[0].StudyInstanceUID),
            CohortRow(9, study_uid="../x"),
            CohortRow(10, patient_id="P3", starts_on=date(2026, 10, 27)),
        ]
        summary = sweep_cohort(database, pacs.node(), WINDOW, wanted)
        asked = len(pacs.queries)
    outcomes = {answer.row_number: answer.outcome for answer in summary.answers}
    assert outcomes == {2: "found", 3: "several", 4: "not-found", 5: "refused", 6: "refused", 7: "found", 8: "found",
                        9: "refused", 10: "not-found"}  # fmt: skip
    assert asked == summary.queries
    assert len(rows(database, "select from expectation")) == 5
    assert summary.as_dict()["rows_refused"] == 3
    assert "answers" not in summary.as_dict()


def test_a_filter_takes_modality_dates_and_words(database: Database) -> None:
    holds = [
        *make_study(1, 1, Modality="CR", StudyDescription="Thorax a.p."),
        *make_study(1, 1, Modality="CR", StudyDescription="KNIE links"),
        *make_study(1, 1, Modality="CT", StudyDescription="CT Thorax"),
        *make_study(1, 1, Modality="CR", StudyDescription="Thorax", StudyDate="20251231"),
    ]
    with PretendPacs(holds) as pacs:
        summary = sweep_cohort(database, pacs.node(), WINDOW, CohortFilter(("CR", "DX"), ("thorax",)))
    assert summary.studies == 1
    (expected,) = rows(database, "select sop_instance_uid from expectation")
    assert expected["sop_instance_uid"] == holds[0].SOPInstanceUID
