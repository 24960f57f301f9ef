"""Every fault of the simulated PACS through sweep, retrieval and the noting of gaps: the ledger tells the truth.

The same faults, for a person to rehearse with, are in `docs/rehearsal.md`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.hospital.faults import Faults
from sluice.hospital.pacs import HospitalPacs
from sluice.pacs import interruption
from sluice.pacs.errors import PacsAborted, PacsError, PacsStatusError, PacsTimedOut, PacsUnreachable
from sluice.pacs.fetch import arrivals
from sluice.pacs.fetch.retrieve import missing_studies, note_gaps, retrieve_missing
from sluice.pacs.fetch.ways import Source
from sluice.pacs.find.sweep import SweepSummary, sweep
from sluice.pacs.governor import RetrievalPaused
from sluice.pacs.governor.orders import order_retrieval
from sluice.pacs.node import PacsNode
from sluice.pacs.receiver.receive import Receiver
from tests.faults.small_store import KEY, WINDOW, SmallStore, write_store
from tests.pacs import interrupting
from tests.pacs.sending import rows

PASSES = 2
Gaps = dict[str, str]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> SmallStore:
    return write_store(tmp_path_factory.mktemp("small-store"))


@dataclass
class Acquisition:
    """A PACS with faults, our receiver, and what the ledger says."""

    database: Database
    pacs: HospitalPacs
    receiver: Receiver
    archive: Path
    timeout_s: float = 10
    way: str = "C-MOVE"

    @property
    def node(self) -> PacsNode:
        return PacsNode(
            "hospital", "127.0.0.1", self.pacs.port, "HOSPITAL_PACS", "SLUICE", "SLUICE",
            timeout_s=self.timeout_s, retrieve_by=self.way,
        )  # fmt: skip

    def sweep(self) -> SweepSummary:
        return sweep(self.database, self.node, WINDOW)

    def retrieve(self, passes: int = PASSES) -> Gaps:
        """Passes as the DAG makes them, then the reasons; the gaps that are open in the end."""
        with Storing(self.database, self.archive, self.archive.parent / "spool-of-task", 1) as storing:
            for _ in range(passes):
                missing = missing_studies(self.database, KEY)
                if missing:
                    with contextlib.suppress(PacsError):
                        retrieve_missing(self.database, [Source(self.node)], KEY, missing, storing)
        note_gaps(self.database, KEY, missing_studies(self.database, KEY))
        return self.gaps()

    def gaps(self) -> Gaps:
        found = rows(self.database, "select sop_instance_uid, reason_code from open_gap where step = 'received'")
        return {str(row["sop_instance_uid"]): str(row["reason_code"]) for row in found}

    def expected(self) -> set[str]:
        return {str(row["sop_instance_uid"]) for row in rows(self.database, "select sop_instance_uid from expectation")}

    def received(self) -> set[str]:
        return {str(row["sop_instance_uid"]) for row in rows(self.database, "select sop_instance_uid from receipt")}


@pytest.fixture
def acquisition(
    store: SmallStore, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Acquisition]:
    monkeypatch.setattr(arrivals, "PATIENCE_S", 0.4)  # what a lying PACS never sends is waited for
    archive = tmp_path / "archive"
    with (
        Receiver(database, archive, min_free_bytes=1, move_source_ae_titles=("HOSPITAL_PACS",)) as receiver,
        HospitalPacs(store.home, destinations={"SLUICE": ("127.0.0.1", receiver.port)}, faults=Faults()) as pacs,
    ):
        yield Acquisition(database, pacs, receiver, archive)


# --- listing -----------------------------------------------------------------------------------------------------


CUTS = [(level, status) for level in ("STUDY", "SERIES", "IMAGE") for status in (0x0000, 0xB001, 0xA700)]


@pytest.mark.parametrize(("level", "status"), CUTS)
def test_a_cut_list_is_completed_or_called_uncertain(
    acquisition: Acquisition, store: SmallStore, level: str, status: int
) -> None:
    acquisition.pacs.faults = Faults(cap_at={level: 3 if level == "STUDY" else 1}, cap_status=status)
    summary = acquisition.sweep()
    assert summary.uncertain > 0 or acquisition.expected() == set(store.uids)
    assert level != "STUDY" or acquisition.expected() == set(store.uids)


@pytest.mark.parametrize("faults", [Faults(ignore_keys={"StudyTime"}), Faults(ignore_case=True)], ids=["time", "case"])
def test_a_cut_list_that_ignores_a_key_is_completed_or_called_uncertain(
    acquisition: Acquisition, store: SmallStore, faults: Faults
) -> None:
    faults.cap_at, faults.cap_status = {"STUDY": 3}, 0xB001
    acquisition.pacs.faults = faults
    summary = acquisition.sweep()
    assert summary.uncertain > 0 or acquisition.expected() == set(store.uids)


@dataclass(frozen=True)
class Listing:
    """Faults that must not cost an instance, and what the sweep's summary must say."""

    faults: Faults
    says: dict[str, int] = field(default_factory=dict)


LISTINGS = {
    "numbers too large": Listing(Faults(counts_off=5)),
    "numbers too small": Listing(Faults(counts_off=-1), {"uncertain": 0}),
    "no numbers": Listing(Faults(omit_keys={"NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"})),
    "no optional keys": Listing(
        Faults(
            omit_keys={
                "ModalitiesInStudy", "StudyDescription", "StudyID", "StudyTime", "PatientID", "SOPClassUID", "Modality",
                "InstanceNumber", "AccessionNumber", "StudyDate", "NumberOfStudyRelatedSeries",
            }
        ),
    ),
    "date ignored": Listing(Faults(ignore_keys={"StudyDate"}), {"outside": 1}),
    "three rows a study": Listing(Faults(rows_a_study=3)),
    "slow answers": Listing(Faults(find_delay_s=0.02, crowd_delay_s=0.05)),
    "every second association aborted": Listing(Faults(abort_every=2)),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTINGS.values(), ids=LISTINGS)
def test_nothing_is_lost_by(case: Listing, acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.pacs.faults = case.faults
    summary = acquisition.sweep()
    assert summary.studies == 4
    assert {name: getattr(summary, name) for name in case.says} == case.says
    assert acquisition.expected() == set(store.uids)
    assert acquisition.retrieve(5) == {}
    assert acquisition.received() == set(store.uids)


BROKEN_LISTS = {
    "aborted": (Faults(find_error_after=1), PacsAborted),
    "refused": (Faults(refuse_find=0xC001), PacsStatusError),
    "out of resources": (Faults(refuse_find=0xA700), PacsStatusError),
    "too late": (Faults(find_delay_s=1.5), PacsTimedOut),
    "not there": (Faults(away="closed"), PacsUnreachable),
}


@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_a_list_that_fails_is_an_error_and_no_empty_day(acquisition: Acquisition, name: str) -> None:
    acquisition.pacs.faults, error = BROKEN_LISTS[name]
    acquisition.pacs.go_away(acquisition.pacs.faults.away)
    if name == "too late":
        acquisition.timeout_s = 1
    with pytest.raises(error):
        acquisition.sweep()


def test_answers_without_a_uid_are_counted(acquisition: Acquisition) -> None:
    acquisition.pacs.faults = Faults(omit_keys={"StudyInstanceUID"})
    assert acquisition.sweep().unusable > 0


# --- between sweep and retrieval ---------------------------------------------------------------------------------


def test_what_the_pacs_forgot_is_missing_with_a_reason(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    gone = store.uids_of(1) | {store.uids[0]}
    acquisition.pacs.faults.absent = {store.study_uid(1), store.uids[0]}
    gaps = acquisition.retrieve()
    assert gaps.keys() == gone
    assert set(gaps.values()) <= {"reported-not-arrived", "no-longer-held", "not-delivered"}
    acquisition.pacs.faults.absent = set()
    assert acquisition.retrieve(1) == {}, "it is there again"


def test_a_late_study_is_found_by_the_next_sweep(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.pacs.faults.absent = {store.study_uid(3)}
    assert acquisition.sweep().studies == 3
    assert acquisition.retrieve() == {}
    acquisition.pacs.faults.absent = set()
    assert acquisition.sweep().studies == 4
    assert acquisition.gaps().keys() == store.uids_of(3)
    assert acquisition.retrieve() == {}


def test_a_changed_study_is_kept_as_the_newest_answer_says(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    acquisition.pacs.faults.changed = {store.study_uid(0): {"AccessionNumber": "B9", "StudyDescription": "CT Abdomen"}}
    acquisition.sweep()
    (row,) = rows(
        acquisition.database,
        "select answer -> '00080050' -> 'Value' ->> 0 as accession, answer -> '00081030' -> 'Value' ->> 0 as words "
        f"from found_study where study_instance_uid = '{store.study_uid(0)}'",
    )
    assert (row["accession"], row["words"]) == ("B9", "CT Abdomen")


# --- retrieval ---------------------------------------------------------------------------------------------------


def one_of_the_first(store: SmallStore, reason: str) -> Gaps:
    return {store.uids[0]: reason}


def nothing(store: SmallStore) -> Gaps:
    return {}


def all_of_them(reason: str) -> Callable[[SmallStore], Gaps]:
    return lambda store: dict.fromkeys(store.uids, reason)


@dataclass(frozen=True)
class Retrieval:
    """Faults by the first instance's UID, and the gaps that stay after so many passes."""

    faults: Callable[[str], Faults]
    gaps: Callable[[SmallStore], Gaps]
    passes: int = PASSES


RETRIEVALS = {
    "counted, never sent": Retrieval(
        lambda uid: Faults(drop_success={uid}), lambda store: one_of_the_first(store, "reported-not-arrived")
    ),
    "success, nothing sent": Retrieval(lambda uid: Faults(drop_success={"*"}), all_of_them("reported-not-arrived")),
    "always fails": Retrieval(
        lambda uid: Faults(fail_always={uid}), lambda store: one_of_the_first(store, "failed-suboperation")
    ),
    "always fails, unnamed": Retrieval(
        lambda uid: Faults(fail_always={uid}, failed_list=False),
        lambda store: one_of_the_first(store, "failed-suboperation"),
    ),
    "fails once": Retrieval(lambda uid: Faults(fail_once={"*"}), nothing),
    "fails, and success in the end": Retrieval(
        lambda uid: Faults(fail_once={"*"}, final_status=0x0000, failed_off=-10, completed_off=10, failed_list=False),
        nothing,
    ),
    "too many completed": Retrieval(lambda uid: Faults(completed_off=7), nothing),
    "too few completed": Retrieval(lambda uid: Faults(completed_off=-2), nothing),
    "failures that were none": Retrieval(lambda uid: Faults(failed_off=2, final_status=0xB000), nothing),
    "no final numbers": Retrieval(lambda uid: Faults(final_counts=False, pending_responses=False), nothing),
    "no numbers, and one failed": Retrieval(
        lambda uid: Faults(fail_once={uid}, final_counts=False, pending_responses=False), nothing
    ),
    "silent until the end": Retrieval(lambda uid: Faults(pending_responses=False, send_delay_s=0.02), nothing),
    "other transfer syntax": Retrieval(lambda uid: Faults(send_as=ImplicitVRLittleEndian), nothing),
    "other content": Retrieval(lambda uid: Faults(altered={uid}), nothing),
    "twice with other content": Retrieval(lambda uid: Faults(sent_twice={uid}), nothing),
    "named wrongly": Retrieval(
        lambda uid: Faults(misnamed={uid}), lambda store: one_of_the_first(store, "failed-suboperation")
    ),
    "slow objects": Retrieval(lambda uid: Faults(send_delay_s=0.02, bytes_per_s=100_000), nothing),
    "refused": Retrieval(lambda uid: Faults(refuse=0xA701), all_of_them("refused")),
    "too many moves": Retrieval(lambda uid: Faults(most_moves=0), all_of_them("refused")),
    "destination unknown": Retrieval(lambda uid: Faults(unknown_destination=True), all_of_them("refused")),
    "aborted once": Retrieval(lambda uid: Faults(abort_after=2), nothing),
    "aborted always": Retrieval(lambda uid: Faults(abort_after=0, abort_times=None), all_of_them("aborted")),
    "every second association aborted": Retrieval(lambda uid: Faults(abort_every=2), nothing, passes=5),
}


@pytest.mark.parametrize("case", RETRIEVALS.values(), ids=RETRIEVALS)
def test_the_gaps_are_the_true_ones_after(case: Retrieval, acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    acquisition.pacs.faults = case.faults(store.uids[0])
    gaps = acquisition.retrieve(case.passes)
    assert gaps == case.gaps(store)
    assert acquisition.received() == set(store.uids) - gaps.keys()


BY_C_GET = (
    "counted, never sent", "always fails", "fails once", "no final numbers", "other content", "other transfer syntax",
    "named wrongly", "refused", "aborted once", "every second association aborted", "silent until the end",
)  # fmt: skip


@pytest.mark.parametrize("name", BY_C_GET)
def test_the_gaps_are_the_true_ones_by_c_get(name: str, acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.way = "C-GET"
    test_the_gaps_are_the_true_ones_after(RETRIEVALS[name], acquisition, store)


@pytest.mark.parametrize(
    ("away", "reason"), [("closed", "pacs-unreachable"), ("refusing", "refused"), ("silent", "timed-out")]
)
def test_a_pacs_that_went_away(acquisition: Acquisition, store: SmallStore, away: str, reason: str) -> None:
    acquisition.sweep()
    acquisition.timeout_s = 0.5
    acquisition.pacs.go_away(away)
    assert acquisition.retrieve(1) == dict.fromkeys(store.uids, reason)
    acquisition.timeout_s = 10
    acquisition.pacs.come_back()
    assert acquisition.retrieve(1) == {}
    assert acquisition.received() == set(store.uids)


def test_a_pacs_that_is_back_by_itself(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    acquisition.pacs.go_away("closed", seconds=0.5)
    acquisition.retrieve(1)
    _until(lambda: not acquisition.pacs.faults.away)
    assert acquisition.retrieve(1) == {}


@pytest.mark.parametrize("missing", ["MOVE", "GET"])
def test_the_way_that_is_offered_is_taken(acquisition: Acquisition, missing: str) -> None:
    acquisition.way = "auto"
    acquisition.sweep()
    acquisition.pacs.faults.services = {"FIND", "MOVE", "GET"} - {missing}
    assert acquisition.retrieve(1) == {}
    brought = rows(acquisition.database, "select distinct source from receipt")
    assert [row["source"] for row in brought] == ["get" if missing == "MOVE" else "move"]


def test_an_unknown_destination_is_gone_around(acquisition: Acquisition) -> None:
    acquisition.way = "auto"
    acquisition.sweep()
    acquisition.pacs.faults.unknown_destination = True
    assert acquisition.retrieve(1) == {}


def test_no_way_at_all_is_said(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.way = "auto"
    acquisition.sweep()
    acquisition.pacs.faults.services = {"FIND"}
    assert acquisition.retrieve(1) == dict.fromkeys(store.uids, "refused")


def test_a_list_of_which_only_the_first_counts_is_found_out(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    acquisition.pacs.faults.first_of_list = True
    assert acquisition.retrieve(1) == {}
    assert acquisition.received() == set(store.uids)
    facts = rows(acquisition.database, "select value from pacs_fact where fact = 'moves_together'")
    assert [fact["value"] for fact in facts] == [0]


@pytest.mark.parametrize("ignores", [False, True])
def test_what_is_interrupted_is_said_and_comes_later(
    ignores: bool, acquisition: Acquisition, store: SmallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 0.2 if ignores else 30.0)
    acquisition.sweep()
    acquisition.pacs.faults = Faults(ignore_cancel=ignores, send_delay_s=3.0)
    retrieval = interrupting.Retrieval(acquisition.database, acquisition.node, KEY).start()
    interrupting.eventually(acquisition.received)
    order_retrieval(acquisition.database, KEY, "vera", "paused")
    assert isinstance(retrieval.outcome, RetrievalPaused)
    gaps = acquisition.gaps()  # of a study of two there is none: its second was being sent
    in_part = [study for study in map(store.uids_of, range(4)) if study & gaps.keys() and study - gaps.keys()]
    assert all(gaps[uid] == "interrupted" for study in in_part for uid in study & gaps.keys())
    assert set(gaps.values()) <= {"interrupted", "not-asked"}
    acquisition.pacs.faults = Faults()
    order_retrieval(acquisition.database, KEY, "vera", "active")
    assert interrupting.Retrieval(acquisition.database, acquisition.node, KEY).start().outcome.missing == 0
    assert acquisition.received() == set(store.uids)


# --- what the ledger keeps beside the gaps -----------------------------------------------------------------------


def test_other_content_is_set_aside_and_the_first_stays(acquisition: Acquisition, store: SmallStore) -> None:
    uid = store.uids[0]
    acquisition.sweep()
    acquisition.pacs.faults.sent_twice = {uid}
    assert acquisition.retrieve() == {}
    (first,) = rows(acquisition.database, f"select * from receipt where sop_instance_uid = '{uid}'")
    (other,) = rows(acquisition.database, f"select * from receipt_conflict where sop_instance_uid = '{uid}'")
    assert first["sha256"] != other["sha256"]
    first_file, other_file = (acquisition.archive / str(row["path"]) for row in (first, other))
    assert b"changed at the PACS" not in first_file.read_bytes()
    assert b"changed at the PACS" in other_file.read_bytes()


def test_a_misnamed_object_is_in_quarantine(acquisition: Acquisition, store: SmallStore) -> None:
    acquisition.sweep()
    acquisition.pacs.faults.misnamed = {store.uids[0]}
    acquisition.retrieve(1)
    kept: Any = rows(acquisition.database, "select path, reason_code from quarantine")
    assert [row["reason_code"] for row in kept] == ["unusable-uids"]
    assert (acquisition.archive / kept[0]["path"]).is_file()


def test_the_syntax_that_came_is_the_one_of_the_receipt(acquisition: Acquisition) -> None:
    acquisition.sweep()
    acquisition.pacs.faults.send_as = ImplicitVRLittleEndian
    acquisition.retrieve(1)
    syntaxes = rows(acquisition.database, "select distinct transfer_syntax_uid as uid from receipt")
    assert [row["uid"] for row in syntaxes] == [ImplicitVRLittleEndian]


def _until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    import time

    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
