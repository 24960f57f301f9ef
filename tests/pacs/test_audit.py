"""A later sweep of the same window finds what is late, changed, gone, moved and back, and never guesses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import psycopg2
import pytest
from pydicom.dataset import Dataset

from sluice.database import Database, DatabaseError, DatabaseLost
from sluice.pacs.fetch.retrieve import missing_studies
from sluice.pacs.find.audit import Due, windows_due
from sluice.pacs.find.cohort import CohortRow, sweep_cohort
from sluice.pacs.find.facts import recall
from sluice.pacs.find.inventory import Inventory
from sluice.pacs.find.sweep import sweep
from sluice.windows import Window
from tests.pacs.pretend import PretendPacs, make_instance, make_study
from tests.pacs.sending import rows

DAY = date(2026, 10, 26)
WINDOW = Window.of_day(DAY)
NEXT = Window.of_day(DAY + timedelta(days=1))


@pytest.fixture
def pacs() -> Iterator[PretendPacs]:
    """Three studies of two series of two instances."""
    holds = [i for n in range(3) for i in make_study(2, 2, StudyTime=f"{8 + n:02d}1500", AccessionNumber=f"A{n}")]
    with PretendPacs(holds) as running:
        yield running


def reasons(database: Database, window: Window = WINDOW) -> dict[str, int]:
    found = rows(
        database,
        "select reason_code, count(*) as n from open_gap "
        f"where window_key = '{window.key}' and step = 'received' group by 1",
    )
    return {str(row["reason_code"]): int(str(row["n"])) for row in found}


def events(database: Database) -> list[tuple[str, object]]:
    return [(str(row["event"]), row["detail"]) for row in rows(database, "select * from study_event order by event_id")]


def study_of(pacs: PretendPacs, number: int) -> list[Dataset]:
    uids = list(dict.fromkeys(i.StudyInstanceUID for i in pacs.holds))
    return [instance for instance in pacs.holds if uids[number] == instance.StudyInstanceUID]


def test_the_first_sweep_is_a_run_and_nothing_in_it_is_late(pacs: PretendPacs, database: Database) -> None:
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.late, summary.changed, summary.gone, summary.found_new) == (0, 0, 0, False)
    (run,) = rows(database, "select * from window_coverage")
    assert (run["is_proven"], run["queries"], run["kind"]) == (True, summary.queries, "day")
    assert sweep(database, pacs.node(), WINDOW).found_new is False
    assert events(database) == []
    assert len(rows(database, "select from sweep_run where finished_at is not null")) == 2
    (leaves,) = rows(database, "select count(*) as n, count(run_id) as of_runs from sweep_leaf")
    assert leaves["n"] == leaves["of_runs"] != 0


def test_late_and_changed_studies_are_noted_with_what_changed(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    changed = study_of(pacs, 0)
    for instance in changed:
        instance.AccessionNumber, instance.StudyDescription = "B7", "CT Abdomen"
    grown = study_of(pacs, 1)[0]
    pacs.holds.append(make_instance(grown.StudyInstanceUID, grown.SeriesInstanceUID, 9, StudyTime=grown.StudyTime))
    pacs.holds += make_study(1, 1, StudyTime="235900")
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.late, summary.changed, summary.gone) == (1, 2, 0)
    assert summary.found_new
    kept = dict(events(database)[number] for number in range(3) if events(database)[number][0] != "changed")
    assert kept == {"late": {}}
    details = [detail for event, detail in events(database) if event == "changed"]
    assert {"AccessionNumber": [["A0"], ["B7"]], "StudyDescription": [None, ["CT Abdomen"]]} in [
        {name: value for name, value in dict(detail).items() if name in ("AccessionNumber", "StudyDescription")}  # type: ignore[call-overload]
        for detail in details
    ]
    assert [dict(detail)["instances"] for detail in details if "instances" in dict(detail)] == [[1, 0]]  # type: ignore[call-overload]


def test_what_is_gone_is_not_asked_for_again_and_says_why(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    gone, cut = study_of(pacs, 0), study_of(pacs, 1)[0]
    pacs.holds = [i for i in pacs.holds if i not in gone and i is not cut]
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.gone, summary.changed, summary.studies, summary.instances) == (1, 1, 2, 7)
    assert reasons(database) == {"no-longer-held": 5, "not-asked": 7}
    assert len(missing_studies(database, WINDOW.key)) == 2
    assert len(rows(database, "select from expectation")) == 12, "nothing is forgotten"
    assert sweep(database, pacs.node(), WINDOW).gone == 0, "said once"
    pacs.holds += gone
    assert sweep(database, pacs.node(), WINDOW).returned == 1
    assert reasons(database) == {"no-longer-held": 1, "not-asked": 11}


def test_a_corrected_date_moves_a_study_to_the_other_window(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    for instance in study_of(pacs, 2):
        instance.StudyDate = "20261027"
    assert windows_due(database, [], date(2026, 10, 30), 10) == []
    assert sweep(database, pacs.node(), WINDOW).moved == 1
    assert reasons(database) == {"moved-to-other-day": 4, "not-asked": 8}
    assert windows_due(database, [], date(2026, 10, 30), 10) == [Due("pretend", NEXT.starts_on)]
    summary = sweep(database, pacs.node(), NEXT)
    assert (summary.studies, summary.instances) == (1, 4)
    assert reasons(database, NEXT) == {"not-asked": 4}
    assert windows_due(database, [], date(2026, 10, 30), 10) == []


def test_nothing_is_gone_that_an_uncertain_or_a_failed_sweep_does_not_show(
    pacs: PretendPacs, database: Database
) -> None:
    for instance in pacs.holds:  # all at one place, so that a cap cannot be split
        instance.StudyTime, instance.AccessionNumber = "101500", ""
    sweep(database, pacs.node(), WINDOW)
    pacs.cap, pacs.cap_status = 2, 0xB001
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.uncertain > 0, summary.gone) == (True, 0)
    assert "no-longer-held" not in reasons(database)
    (run,) = rows(database, "select is_proven from window_coverage")
    assert run["is_proven"] is False


def test_a_study_that_a_proven_sweep_overlooked_is_found_by_its_uid_and_the_habits_forgotten(
    pacs: PretendPacs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(database, pacs.node(), WINDOW)
    hidden = study_of(pacs, 0)[0].StudyInstanceUID
    whole = PretendPacs._find

    def overlooks(self: PretendPacs, event: object) -> Iterator[object]:
        for status, answer in whole(self, event):  # type: ignore[arg-type]
            by_uid = event.identifier.get("StudyInstanceUID")  # type: ignore[attr-defined]
            if by_uid or answer is None or answer.get("StudyInstanceUID") != hidden:
                yield status, answer

    monkeypatch.setattr(PretendPacs, "_find", overlooks)
    with PretendPacs(pacs.holds) as forgetful:
        summary = sweep(database, forgetful.node(), WINDOW)
    assert (summary.gone, summary.uncertain, summary.studies) == (0, 1, 3)
    assert recall(database, "pretend").timeless is None


def test_which_days_are_due(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    after = {days: DAY + timedelta(days=1 + days) for days in (0, 1, 6, 7, 30)}
    database.execute("update sweep_run set started_at = '2026-10-27 02:00'")
    ages = [1, 7, 30]
    assert windows_due(database, ages, after[0], 10) == []
    assert windows_due(database, ages, after[1], 10) == [Due("pretend", DAY)]
    database.execute("update sweep_run set started_at = '2026-10-28 04:00'")
    assert windows_due(database, ages, after[6], 10) == []
    assert windows_due(database, ages, after[7], 10) == [Due("pretend", DAY)]
    assert windows_due(database, ages, after[30], 10) == [Due("pretend", DAY)]
    database.execute("update sweep_run set finished_at = null, started_at = '2026-12-01 04:00'")
    assert windows_due(database, ages, after[30], 10) == [], "never finished: that is the night's business"


def test_minutes_feed_the_day_and_the_day_still_proves_itself(pacs: PretendPacs, database: Database) -> None:
    part = Window.of_minutes(DAY, 8 * 3600, 9 * 3600)
    assert part.label == "2026-10-26T0800-0900"
    first = sweep(database, pacs.node(), part)
    assert (first.window_key, first.studies, first.instances, first.late) == (WINDOW.key, 1, 4, 0)
    assert rows(database, "select from window_coverage") == [], "minutes prove no day"
    asked = len(pacs.queries)
    again = sweep(database, pacs.node(), part)
    assert (again.unchanged, len(pacs.queries) - asked) == (1, 1), "listed as before: not looked into"
    pacs.holds.append(
        make_instance(pacs.holds[0].StudyInstanceUID, pacs.holds[0].SeriesInstanceUID, 9, StudyTime="081500")
    )
    assert sweep(database, pacs.node(), part).changed == 1
    whole = sweep(database, pacs.node(), WINDOW)
    assert (whole.studies, whole.instances, whole.uncertain, whole.late) == (3, 13, 0, 0)


def test_a_sweep_goes_on_where_it_broke_off(
    pacs: PretendPacs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Inventory._write_contents, []

    def goes_away(self: Inventory, connection: object, *arguments: object) -> None:
        if len(written) == 2:
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        written.append(arguments)
        write(self, connection, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sluice.pacs.find.inventory.STUDIES_A_QUERY", 1)
    monkeypatch.setattr(Inventory, "_write_contents", goes_away)
    with pytest.raises(DatabaseError, match="goes on where it stopped"):
        sweep(database, pacs.node(), WINDOW)
    monkeypatch.setattr(Inventory, "_write_contents", write)
    assert len(rows(database, "select from found_study")) == 2
    asked = len(pacs.queries)
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.studies, summary.instances) == (3, 12), "what it had written before is counted"
    below = [query for query in pacs.queries[asked:] if query.QueryRetrieveLevel != "STUDY"]
    assert {query.StudyInstanceUID for query in below} == {study_of(pacs, 2)[0].StudyInstanceUID}
    assert len(rows(database, "select from sweep_run")) == 1


def test_postgres_that_is_shut_down_in_the_middle_is_said_clearly(database: Database) -> None:
    def lose_it() -> None:
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("select pg_backend_pid()")
            database.execute("select pg_terminate_backend(%s)", cursor.fetchone())
            cursor.execute("select 1")

    with pytest.raises(DatabaseLost, match="lost in the middle of a transaction"):
        lose_it()


def test_a_deadlock_is_not_called_a_lost_connection(database: Database) -> None:
    with pytest.raises(psycopg2.OperationalError) as caught:
        database.execute("set local statement_timeout = 1; select pg_sleep(1)")
    assert not isinstance(caught.value, DatabaseError)


def test_labels_of_windows() -> None:
    assert Window.of_label("2026-10-26") == WINDOW
    part = Window.of_label("2026-10-26T2345-2400")
    assert (part.key, part.from_s, part.to_s, part.label) == (WINDOW.key, 85_500, 86_400, "2026-10-26T2345-2400")
    for bad in ("2026-10-26T1015-1015", "2026-10-26T1060-1100", "2026-10-26T2300-2500", "26.10.2026"):
        with pytest.raises(ValueError, match=r"order|minutes|Invalid"):
            Window.of_label(bad)
    assert replace(part, to_s=85_800).label == "2026-10-26T2345-2350"


def test_the_last_minutes_across_midnight() -> None:
    from datetime import datetime

    parts = Window.of_last_minutes(datetime(2026, 10, 26, 0, 10, 30), 30)
    assert [part.label for part in parts] == ["2026-10-25T2340-2400", "2026-10-26T0000-0011"]
    (part,) = Window.of_last_minutes(datetime(2026, 10, 26, 12, 0), 15)
    assert part.label == "2026-10-26T1145-1200"
    with pytest.raises(ValueError, match="between 1 and 1440"):
        Window.of_last_minutes(datetime(2026, 10, 26), 0)


def test_each_pacs_has_days_of_its_own_to_be_swept_again(pacs: PretendPacs, database: Database) -> None:
    sweep(database, pacs.node(), WINDOW)
    sweep(database, pacs.node(name="archive"), WINDOW)
    sweep(database, pacs.node(name="archive"), NEXT)
    today = DAY + timedelta(days=3)
    database.execute("update sweep_run set started_at = '2026-10-27 02:00'")
    due = [Due("archive", DAY), Due("pretend", DAY), Due("archive", NEXT.starts_on)]
    assert windows_due(database, [1], today, 10) == due
    assert windows_due(database, [1], today, 1) == due[:2], "as many of each PACS"
    database.execute("update sweep_run set started_at = %s where pacs = 'archive'", (today,))
    assert windows_due(database, [1], today, 10) == [Due("pretend", DAY)], "the archive's sweep is none of the PACS's"


def test_what_one_pacs_lacks_another_may_hold(pacs: PretendPacs, database: Database) -> None:
    everything = list(pacs.holds)
    node, archive = pacs.node(), pacs.node(name="archive")
    lacking = study_of(pacs, 0)[0]  # the archive holds no presentation states, say

    def archived() -> object:
        pacs.holds = [one for one in everything if one is not lacking]
        return sweep(database, archive, WINDOW)

    sweep(database, node, WINDOW)
    archived()
    assert archived().changed == 0, "it never listed it"  # type: ignore[attr-defined]
    assert reasons(database) == {"not-asked": 12}
    pacs.holds = []  # the PACS has sent everything to the archive
    assert sweep(database, node, WINDOW).gone == 3
    assert reasons(database) == {"not-asked": 12}, "the archive lists the studies"
    archived()
    assert reasons(database) == {"not-asked": 11, "no-longer-held": 1}, "but not this instance of one of them"
    for _ in range(2):
        pacs.holds = []
        assert sweep(database, node, WINDOW).gone == 0, "said once"
        assert archived().changed == 0  # type: ignore[attr-defined]
    pacs.holds = []
    assert sweep(database, archive, WINDOW).gone == 3
    assert reasons(database) == {"no-longer-held": 12}
    pacs.holds = everything
    summary = sweep(database, node, WINDOW)
    assert (summary.returned, summary.instances) == (3, 12)
    assert reasons(database) == {"not-asked": 12}


def test_a_study_of_the_last_minutes_that_is_deleted_before_the_night_is_gone(
    pacs: PretendPacs, database: Database
) -> None:
    sweep(database, pacs.node(), Window.of_minutes(DAY, 8 * 3600, 9 * 3600))
    first = study_of(pacs, 0)
    pacs.holds = [one for one in pacs.holds if one not in first]
    again = sweep(database, pacs.node(), Window.of_minutes(DAY, 8 * 3600, 9 * 3600))
    assert (again.gone, reasons(database)) == (0, {"not-asked": 4}), "minutes prove nothing"
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.gone, summary.studies, summary.uncertain) == (1, 2, 0)
    assert reasons(database) == {"no-longer-held": 4, "not-asked": 8}
    pacs.holds += first
    assert sweep(database, pacs.node(), Window.of_minutes(DAY, 8 * 3600, 9 * 3600)).returned == 1
    assert reasons(database) == {"not-asked": 12}


def test_an_instance_of_the_last_minutes_that_is_deleted_before_the_night_is_gone(
    pacs: PretendPacs, database: Database
) -> None:
    sweep(database, pacs.node(), Window.of_minutes(DAY, 8 * 3600, 9 * 3600))
    pacs.holds.remove(study_of(pacs, 0)[0])
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.changed, summary.instances) == (1, 11)
    assert reasons(database) == {"no-longer-held": 1, "not-asked": 11}


COHORT = Window.of_cohort("lungs", "first", date(1926, 1, 1), date(2026, 12, 31))


def test_a_proven_day_concludes_what_became_of_a_cohorts_studies(pacs: PretendPacs, database: Database) -> None:
    wanted = [CohortRow(number, accession=f"A{number - 2}") for number in (2, 3, 4)]
    sweep_cohort(database, pacs.node(), COHORT, wanted)
    deleted, cut, moved = study_of(pacs, 0), study_of(pacs, 1)[0], study_of(pacs, 2)
    pacs.holds = [one for one in pacs.holds if one not in deleted and one is not cut]
    for instance in moved:
        instance.StudyDate = "20261027"
    summary = sweep(database, pacs.node(), WINDOW)
    assert (summary.gone, summary.moved, summary.uncertain) == (1, 0, 0)
    assert reasons(database, COHORT) == {"no-longer-held": 5, "not-asked": 7}, "the cut instance as well"
    sweep(database, pacs.node(), WINDOW)
    assert [event for event, _ in events(database)] == ["gone"], "said once"
    pacs.holds += deleted
    assert sweep(database, pacs.node(), WINDOW).late == 1
    assert reasons(database, COHORT) == {"no-longer-held": 1, "not-asked": 11}, "the day's sweep listed it again"
    pacs.holds = [one for one in pacs.holds if one not in deleted]
    assert sweep(database, pacs.node(), WINDOW).gone == 1
    assert reasons(database, COHORT) == {"no-longer-held": 5, "not-asked": 7}
    assert reasons(database)["no-longer-held"] == 4


def test_an_unproven_day_concludes_nothing_of_a_cohort(pacs: PretendPacs, database: Database) -> None:
    for instance in pacs.holds:
        instance.StudyTime, instance.PatientID = "101500", "P1"
    sweep_cohort(database, pacs.node(), COHORT, [CohortRow(2, accession="A0")])
    pacs.holds = [one for one in pacs.holds if one.AccessionNumber != "A0"] + make_study(1, 1, StudyTime="101500")
    for instance in pacs.holds:
        instance.AccessionNumber = ""
    pacs.cap, pacs.cap_status = 2, 0xB001
    assert sweep(database, pacs.node(), WINDOW).uncertain > 0
    assert reasons(database, COHORT) == {"not-asked": 4}
