"""Each row of a researcher's list gets an answer, and nothing that was not asked for is taken."""

from __future__ import annotations

from datetime import date

from sluice.database import Database
from sluice.pacs.find.cohort import CohortFilter, CohortRow, RowAnswer, sweep_cohort
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows

WINDOW = Window.of_cohort("ivc", "first", date(2026, 1, 1), date(2026, 12, 31))


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
        answers: list[RowAnswer] = []
        summary = sweep_cohort(database, pacs.node(), WINDOW, iter(wanted), answered=answers.append)
        asked = len(pacs.queries)
    outcomes = {answer.row_number: answer.outcome for answer in answers}
    assert outcomes == {2: "found", 3: "several", 4: "not-found", 5: "refused", 6: "refused", 7: "found", 8: "found",
                        9: "refused", 10: "not-found"}  # fmt: skip
    assert asked == summary.queries
    assert len(rows(database, "select from expectation")) == 5
    assert summary.as_dict()["outcomes"] == {"found": 3, "not-found": 2, "refused": 3, "several": 1}
    assert set(answers[1].study_uids) == {i.StudyInstanceUID for i in twins}


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
