"""The PACS over the wire: what it finds, what it sends, and how it misbehaves when told to."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context, build_role

from sluice.hospital.faults import Faults
from sluice.hospital.pacs import STUDY_ROOT, HospitalPacs
from sluice.hospital.scanners import PushError, push
from sluice.hospital.truth import TrueStudy, Truth
from tests.hospital.conftest import Receiver, calling, move

Hospital = tuple[Path, Truth]
Find = Callable[..., list[Dataset]]


def held(truth: Truth) -> list[TrueStudy]:
    return [study for study in truth.studies if study.in_pacs]


def uids(study: TrueStudy) -> set[str]:
    return {one.sop_instance_uid for series in study.series for one in series.instances}


def of_modality(truth: Truth, modality: str) -> TrueStudy:
    return next(study for study in held(truth) if study.series[0].modality == modality)


def test_echo(pacs: HospitalPacs) -> None:
    with calling(pacs) as association:
        assert association.send_c_echo().Status == 0x0000


def test_a_stranger_is_refused(pacs: HospitalPacs) -> None:
    with calling(pacs, title="STRANGER") as association:
        assert association.is_rejected


def test_studies_of_the_day(hospital: Hospital, find: Find) -> None:
    truth = hospital[1]
    answers = find(
        "STUDY", StudyDate="20261026", StudyInstanceUID="", ModalitiesInStudy="", NumberOfStudyRelatedInstances=""
    )
    found = {str(one.StudyInstanceUID): one for one in answers}
    assert set(found) == {study.study_instance_uid for study in held(truth)}
    for study in held(truth):
        answer = found[study.study_instance_uid]
        assert int(answer.NumberOfStudyRelatedInstances) == len(uids(study))
        modalities = answer.ModalitiesInStudy
        assert {*([modalities] if isinstance(modalities, str) else modalities)} == {s.modality for s in study.series}
        assert answer.RetrieveAETitle == "HOSPITAL_PACS"
    assert find("STUDY", StudyDate="20261027-", StudyInstanceUID="") == []


def test_halves_of_the_day_sum_to_the_whole(hospital: Hospital, find: Find) -> None:
    morning = find("STUDY", StudyDate="20261026", StudyTime="000000-085959.999999", StudyInstanceUID="")
    later = find("STUDY", StudyDate="20261026", StudyTime="090000-235959.999999", StudyInstanceUID="")
    assert morning
    assert later
    together = [str(one.StudyInstanceUID) for one in (*morning, *later)]
    assert sorted(together) == sorted(study.study_instance_uid for study in held(hospital[1]))


def test_keys_of_each_kind(hospital: Hospital, find: Find) -> None:
    truth = hospital[1]
    ct, mr = of_modality(truth, "CT"), of_modality(truth, "MR")
    two = find("STUDY", StudyInstanceUID=[ct.study_instance_uid, mr.study_instance_uid])
    assert len(two) == 2
    either = find("STUDY", ModalitiesInStudy=["CT", "MR"], StudyInstanceUID="")
    assert {str(one.StudyInstanceUID) for one in either} == {ct.study_instance_uid, mr.study_instance_uid}
    [by_id] = find("STUDY", PatientID=ct.patient_id, StudyInstanceUID="", PatientName="")
    assert by_id.StudyInstanceUID == ct.study_instance_uid
    with_number = next(study for study in held(truth) if study.accession_number)
    [by_number] = find("STUDY", AccessionNumber=with_number.accession_number[:-3] + "*", StudyInstanceUID="")
    assert by_number.StudyInstanceUID == with_number.study_instance_uid
    family = str(by_id.PatientName).split("^")[0]
    charset = by_id.get("SpecificCharacterSet", "ISO_IR 192")
    assert find("STUDY", charset=charset, PatientName=f"{family.lower()}*", StudyInstanceUID="")


def test_series_and_images(hospital: Hospital, find: Find) -> None:
    for study in held(hospital[1]):
        series = find("SERIES", StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID="", Modality="")
        assert {(str(one.SeriesInstanceUID), one.Modality) for one in series} == {
            (one.series_instance_uid, one.modality) for one in study.series
        }
    ct = of_modality(hospital[1], "CT")
    for one in ct.series:
        images = find(
            "IMAGE",
            StudyInstanceUID=ct.study_instance_uid,
            SeriesInstanceUID=one.series_instance_uid,
            SOPInstanceUID="",
            SOPClassUID="",
            InstanceNumber="",
        )
        assert {str(image.SOPInstanceUID) for image in images} == {i.sop_instance_uid for i in one.instances}
        assert all(image.SOPClassUID for image in images)


def test_patient_root(hospital: Hospital, find: Find) -> None:
    study = of_modality(hospital[1], "MR")
    [patient] = find("PATIENT", root="PATIENT", PatientID=study.patient_id, PatientName="", PatientBirthDate="")
    assert patient.PatientBirthDate
    [answer] = find("STUDY", root="PATIENT", PatientID=study.patient_id, StudyInstanceUID="")
    assert answer.StudyInstanceUID == study.study_instance_uid


def test_names_come_in_their_character_set(hospital: Hospital, find: Find) -> None:
    home = hospital[0]
    written = {}
    for path in home.joinpath("pacs").rglob("*-*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        written[str(ds.StudyInstanceUID)] = (str(ds.PatientName), ds.get("SpecificCharacterSet"))
    answers = find("STUDY", StudyInstanceUID="", PatientName="")
    assert {str(a.StudyInstanceUID): (str(a.PatientName), a.get("SpecificCharacterSet")) for a in answers} == written
    assert any("=" in name for name, _ in written.values())


def test_a_level_that_does_not_exist_is_refused(pacs: HospitalPacs) -> None:
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientID = "PATIENT", ""
    with calling(pacs) as association:
        assert [status.Status for status, _ in association.send_c_find(query, STUDY_ROOT[0])] == [0xA900]
    pacs.relational = False
    query.QueryRetrieveLevel = "SERIES"
    with calling(pacs) as association:
        assert [status.Status for status, _ in association.send_c_find(query, STUDY_ROOT[0])] == [0xA900]


def test_a_move_sends_the_stored_bytes(hospital: Hospital, pacs: HospitalPacs, receiver: Receiver) -> None:
    truth = hospital[1]
    for study in held(truth):
        status = move(pacs, StudyInstanceUID=study.study_instance_uid)
        assert (status.Status, status.NumberOfCompletedSuboperations) == (0x0000, len(uids(study)))
    assert set(receiver.got) == set(pacs.index.objects)
    for uid, stored in pacs.index.objects.items():
        assert stored.path.read_bytes().endswith(receiver.got[uid])
        assert receiver.syntax[uid] == stored.transfer_syntax
        assert len(receiver.got[uid]) > 0.9 * (stored.path.stat().st_size - 700)


def test_moves_of_parts(hospital: Hospital, pacs: HospitalPacs, receiver: Receiver) -> None:
    ct = of_modality(hospital[1], "CT")
    series = max(ct.series, key=lambda one: len(one.instances))
    wanted = [one.sop_instance_uid for one in series.instances[2:5]]
    keys = {"StudyInstanceUID": ct.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    assert move(pacs, "IMAGE", **keys, SOPInstanceUID=wanted).Status == 0x0000
    assert set(receiver.got) == set(wanted)
    assert move(pacs, "SERIES", **keys).NumberOfCompletedSuboperations == len(series.instances)
    assert set(receiver.got) == {one.sop_instance_uid for one in series.instances}
    assert move(pacs, StudyInstanceUID="1.2.3").NumberOfCompletedSuboperations == 0


def test_moves_that_cannot_be(hospital: Hospital, pacs: HospitalPacs) -> None:
    study = of_modality(hospital[1], "US")
    assert move(pacs, destination="NOWHERE", StudyInstanceUID=study.study_instance_uid).Status == 0xA801
    assert move(pacs, "STUDY").Status == 0xA900
    pacs.faults.refuse = 0xA701
    assert move(pacs, StudyInstanceUID=study.study_instance_uid).Status == 0xA701


def test_get_sends_on_the_same_association(hospital: Hospital, pacs: HospitalPacs) -> None:
    study = of_modality(hospital[1], "MR")
    got: list[str] = []

    def store(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    stored = pacs.index.objects[next(iter(uids(study)))]
    contexts = [build_context(stored.one("SOPClassUID"), stored.transfer_syntax)]
    roles = [build_role(stored.one("SOPClassUID"), scp_role=True)]
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study.study_instance_uid
    with calling(pacs, contexts=contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)]) as association:
        statuses = [status for status, _ in association.send_c_get(query, STUDY_ROOT[2])]
    assert statuses[-1].Status == 0x0000
    assert set(got) == uids(study)


def test_silent_and_told_caps(hospital: Hospital, pacs: HospitalPacs) -> None:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
    pacs.faults.answer_cap = 3
    for cap_status in (0x0000, 0xA700):
        pacs.faults.cap_status = cap_status
        with calling(pacs) as association:
            replies = [status.Status for status, _ in association.send_c_find(query, STUDY_ROOT[0])]
        assert replies == [0xFF00] * 3 + [cap_status]
    pacs.faults.refuse_find = 0xC001
    with calling(pacs) as association:
        assert [status.Status for status, _ in association.send_c_find(query, STUDY_ROOT[0])] == [0xC001]


def test_instances_that_do_not_come(hospital: Hospital, pacs: HospitalPacs, receiver: Receiver) -> None:
    study = of_modality(hospital[1], "CT")
    dropped, always, once, *_ = sorted(uids(study))
    pacs.faults.drop_success, pacs.faults.fail_always, pacs.faults.fail_once = {dropped}, {always}, {once}
    status = move(pacs, StudyInstanceUID=study.study_instance_uid)
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xB000, 2)
    assert status.NumberOfCompletedSuboperations == len(uids(study)) - 2
    assert uids(study) - set(receiver.got) == {dropped, always, once}
    status = move(pacs, StudyInstanceUID=study.study_instance_uid)
    assert status.NumberOfFailedSuboperations == 1
    assert uids(study) - set(receiver.got) == {dropped, always}


def test_a_move_that_stops_in_the_middle(hospital: Hospital, pacs: HospitalPacs, receiver: Receiver) -> None:
    study = of_modality(hospital[1], "CT")
    pacs.faults.abort_after = 4
    assert "Status" not in move(pacs, StudyInstanceUID=study.study_instance_uid)
    assert len(receiver.got) == 4
    assert move(pacs, StudyInstanceUID=study.study_instance_uid).Status == 0x0000
    assert set(receiver.got) == uids(study)


def test_a_store_into_the_pacs_is_stamped_and_listed(hospital: Hospital, tmp_path: Path) -> None:
    home = hospital[0]
    copy = tmp_path / "hospital"
    (copy / "pacs").mkdir(parents=True)
    source = next(home.joinpath("scanners").rglob("*.dcm"))
    meta = read_file_meta_info(source)
    with HospitalPacs(copy, faults=Faults()) as pacs:
        ae = AE(ae_title="DX01")
        context = build_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", pacs.port, contexts=[context], ae_title=pacs.ae_title)
        assert association.send_c_store(dcmread(source)).Status == 0x0000
        association.release()
        [stored] = pacs.index.objects.values()
    assert stored.one("SOPInstanceUID") == meta.MediaStorageSOPInstanceUID
    assert stored.one("InstanceCoercionDateTime")


def test_scanners_push_what_the_truth_says(hospital: Hospital, receiver: Receiver) -> None:
    home, truth = hospital
    pushed = [study for study in truth.studies if study.pushed]
    assert push(home, ("127.0.0.1", receiver.port, "SLUICE")) == sum(len(uids(study)) for study in pushed)
    assert set(receiver.got) == {uid for study in pushed for uid in uids(study)}
    assert receiver.callers == {study.station_name for study in pushed}
    receiver.status = 0xA700
    with pytest.raises(PushError, match="A700"):
        push(home, ("127.0.0.1", receiver.port, "SLUICE"))
    with pytest.raises(PushError, match="running"):
        push(home, ("127.0.0.1", 1, "SLUICE"))


def test_serve_runs_until_it_is_told_to_stop(hospital: Hospital) -> None:
    import sys

    command = [sys.executable, "-m", "sluice.hospital.serve", str(hospital[0]), "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert "listens on" in server.stdout.readline()
        server.terminate()
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
    missing = subprocess.run(
        [*command[:3], "/nonexistent", "0"], capture_output=True, text=True, check=False, timeout=60
    )
    assert missing.returncode == 1
    assert "build" in missing.stderr
    assert "Traceback" not in missing.stderr


def dcmtk(name: str) -> str:
    for folder in ("/usr/bin", "/usr/local/bin"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    pytest.skip(f"DCMTK's {name} is not installed")


@pytest.mark.peer
def test_dcmtk_finds_the_day(hospital: Hospital, pacs: HospitalPacs) -> None:
    answer = subprocess.run(
        [
            dcmtk("findscu"),
            "-S",
            "-aet",
            "SLUICE",
            "-aec",
            "HOSPITAL_PACS",
            "127.0.0.1",
            str(pacs.port),
            "-k",
            "QueryRetrieveLevel=STUDY",
            "-k",
            "StudyDate=20261026",
            "-k",
            "StudyInstanceUID",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    text = answer.stdout + answer.stderr
    assert all(study.study_instance_uid in text for study in held(hospital[1]))


@pytest.mark.peer
def test_dcmtk_moves_and_receives(hospital: Hospital, pacs: HospitalPacs, tmp_path: Path) -> None:
    study = of_modality(hospital[1], "MR")
    listener = _free_port()
    pacs.destinations["DCMTK"] = ("127.0.0.1", listener)
    store = subprocess.Popen([dcmtk("storescp"), "+xa", "-aet", "DCMTK", "-od", str(tmp_path), str(listener)])
    try:
        _wait_for_port(listener)
        subprocess.run(
            [
                dcmtk("movescu"),
                "-S",
                "-aet",
                "SLUICE",
                "-aec",
                "HOSPITAL_PACS",
                "-aem",
                "DCMTK",
                "127.0.0.1",
                str(pacs.port),
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                f"StudyInstanceUID={study.study_instance_uid}",
            ],
            check=True,
            timeout=60,
        )
    finally:
        store.terminate()
        store.wait(timeout=20)
    got = {str(dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir()}
    assert got == uids(study)


def _free_port() -> int:
    from sluice.stack.processes import free_port

    return free_port()


def _wait_for_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("DCMTK's storescp does not listen")
