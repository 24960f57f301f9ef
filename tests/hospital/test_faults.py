"""Faults as a file: what `docs/rehearsal.md` shows, what is refused, and that a running PACS follows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from sluice.hospital.faults import Faults, FaultsError, hits
from sluice.hospital.pacs import STUDY_ROOT, HospitalPacs
from sluice.hospital.truth import Truth
from sluice.settings import CHECKOUT
from tests.hospital.conftest import calling

EXAMPLES = re.findall(r"[`']({[^`']*})[`']", (CHECKOUT / "docs" / "rehearsal.md").read_text(encoding="utf-8"))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("text", dict.fromkeys(EXAMPLES))
def test_the_documented_examples_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    faults = Faults.load(path)
    assert (faults != Faults()) == (text != "{}")
    faults.save(path)
    assert Faults.load(path) == faults


def test_every_fault_is_documented() -> None:
    words = (CHECKOUT / "docs" / "rehearsal.md").read_text(encoding="utf-8")
    assert [name for name in Faults.__dataclass_fields__ if f'"{name}"' not in words] == []


@pytest.mark.parametrize(
    "text",
    ["[1]", "{", '{"refuses": 1}', '{"refuse": "A7xx"}', '{"away": "gone"}', '{"services": ["STORE"]}',
     '{"drop_success": "1.2.3"}', '{"failed_list": 0}'],
)  # fmt: skip
def test_mistakes_are_explained(text: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(FaultsError, match=r"faults\.json"):
        Faults.load(path)


def test_a_share_is_always_the_same_objects() -> None:
    uids = [f"1.2.{number}" for number in range(2_000)]
    tenth = {uid for uid in uids if hits({"1/10"}, uid)}
    assert 150 < len(tenth) < 250
    assert tenth == {uid for uid in uids if hits({"1/10"}, uid)}
    assert tenth < {uid for uid in uids if hits({"3/10"}, uid)}
    assert all(hits({"*"}, uid) for uid in uids)
    assert not any(hits(set(), uid) for uid in uids)
    assert hits({"study"}, "instance", "series", "study")


def test_a_running_pacs_follows_the_file(hospital: tuple[Path, Truth], tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text("{}")
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
    with HospitalPacs(hospital[0], faults_file=path) as pacs:

        def last_status() -> int:
            with calling(pacs) as association:
                return int([status.Status for status, _ in association.send_c_find(query, STUDY_ROOT[0])][-1])

        assert last_status() == 0x0000
        path.write_text(json.dumps({"refuse_find": "C001"}))
        until(lambda: last_status() == 0xC001)
        path.write_text("{")  # half written by an editor: everything stays as it was
        time.sleep(0.3)
        assert last_status() == 0xC001
        path.write_text(json.dumps({"away": "closed", "away_s": 0.5}))
        until(lambda: pacs._server is None)
        until(lambda: pacs._server is not None)
        assert last_status() == 0x0000
