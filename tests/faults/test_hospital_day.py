"""The simulated hospital's day, its own mishaps included, against what it truly did."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.database import Database
from sluice.hospital.build import build
from sluice.hospital.pacs import HospitalPacs
from sluice.pacs.fetch.retrieve import missing_studies, move_missing, note_gaps
from sluice.pacs.find.sweep import sweep
from sluice.pacs.node import PacsNode
from sluice.pacs.receiver.receive import Receiver
from sluice.windows import Window
from tests.pacs.sending import rows


@pytest.mark.slow
def test_the_gaps_of_the_day_are_the_true_ones(database: Database, tmp_path: Path) -> None:
    home = tmp_path / "hospital"
    truth = build(home, None, scale="tiny")
    window = Window.of_day(truth.day)
    archive = tmp_path / "archive"
    with (
        Receiver(database, archive, min_free_bytes=1, move_source_ae_titles=("HOSPITAL_PACS",)) as receiver,
        HospitalPacs(home, destinations={"SLUICE": ("127.0.0.1", receiver.port)}) as pacs,
    ):
        node = PacsNode("hospital", "127.0.0.1", pacs.port, "HOSPITAL_PACS", "SLUICE", "SLUICE")
        summary = sweep(database, node, window)
        assert summary.uncertain == 0
        for _ in range(3):
            move_missing(database, node, window.key, missing_studies(database, window.key))
        note_gaps(database, window.key, missing_studies(database, window.key))
    in_pacs = {s.study_instance_uid: s for s in truth.studies if s.in_pacs}
    swept = {r["study_instance_uid"] for r in rows(database, "select study_instance_uid from found_study")}
    assert swept == in_pacs.keys()
    held = {i.sop_instance_uid: i for s in in_pacs.values() for series in s.series for i in series.instances}
    expected = {r["sop_instance_uid"] for r in rows(database, "select sop_instance_uid from expectation")}
    assert expected == held.keys()
    gaps = {
        r["sop_instance_uid"]: r["reason_code"]
        for r in rows(database, "select sop_instance_uid, reason_code from open_gap where step = 'received'")
    }
    assert gaps == {uid: i.reason_code for uid, i in held.items() if i.ends_at_step == "received"}
