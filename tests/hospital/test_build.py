"""The build: the same seed gives the same hospital, and the truth says what the files say."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword

from sluice.hospital.build import STRAY, build
from sluice.hospital.day import plan_day
from sluice.hospital.faults import Faults
from sluice.hospital.mishaps import ALSO, ENDS, FAILS_ONCE
from sluice.hospital.real import Radiographs
from sluice.hospital.truth import TrueInstance, TrueSeries, TrueStudy, Truth

Hospital = tuple[Path, Truth]


def digest(folder: Path) -> str:
    """SHA-256 over every file's name and bytes below `folder`."""
    result = hashlib.sha256()
    for path in sorted(folder.rglob("*.dcm")):
        result.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return result.hexdigest()


def cases(truth: Truth) -> list[tuple[TrueStudy, TrueSeries, TrueInstance]]:
    return [(study, series, one) for study in truth.studies for series in study.series for one in series.instances]


@pytest.fixture(scope="module")
def stored(hospital: Hospital) -> dict[str, Dataset]:
    """Headers of everything in the PACS."""
    headers = {}
    for path in (hospital[0] / "pacs").rglob("*.dcm"):
        if path.read_bytes() != STRAY:
            ds = dcmread(path, stop_before_pixels=True)
            headers[str(ds.SOPInstanceUID)] = ds
    return headers


def test_the_same_seed_gives_the_same_bytes(hospital: Hospital, tmp_path: Path) -> None:
    home, truth = hospital
    again = build(tmp_path, None, scale="tiny")
    assert again == truth
    assert (tmp_path / "truth.json").read_bytes() == (home / "truth.json").read_bytes()
    assert digest(tmp_path) == digest(home)


def test_what_is_built_already_is_kept(hospital: Hospital) -> None:
    home, truth = hospital
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert build(home, None, scale="tiny") == truth
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before


def test_another_seed_gives_another_day() -> None:
    one, other = plan_day(1, scale="tiny"), plan_day(2, scale="tiny")
    assert {exam.study_instance_uid for exam in one.exams}.isdisjoint(exam.study_instance_uid for exam in other.exams)


def test_the_day_is_as_large_as_promised() -> None:
    plan = plan_day()
    counts = Counter(scanner.modality for scanner in plan.scanners)
    assert len(plan.exams) >= 60
    assert sum(len(series.images) for exam in plan.exams for series in exam.series) >= 2_000
    assert len(plan.scanners) >= 12
    assert set(counts) == {"CT", "MR", "DX", "CR", "US", "MG"}
    slipped = [scanner for scanner in plan.scanners if scanner.dst_slip]
    assert len(slipped) == 1
    assert abs(slipped[0].offset_s - 3600) < 30
    wrong = sum(exam.dirt == "wrong" for exam in plan.exams) / len(plan.exams)
    assert 0.05 < wrong < 0.3
    ids = [exam.patient.patient_id for exam in plan.exams]
    assert len(set(ids)) == len(ids)


def test_no_patient_lies_on_a_scanner_that_is_taken() -> None:
    plan = plan_day()
    for scanner in plan.scanners:
        exams = sorted((e.begins_at, e.ends_at) for e in plan.exams if e.scanner == scanner)
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(exams))
    for exam in plan.exams:
        for series in exam.series:
            assert all(exam.begins_at < image.acquired_at < exam.ends_at for image in series.images)


def test_the_truth_lists_exactly_what_the_pacs_stores(hospital: Hospital, stored: dict[str, Dataset]) -> None:
    expected = {one.sop_instance_uid for study, _, one in cases(hospital[1]) if study.in_pacs}
    assert set(stored) == expected


def test_headers_agree_with_the_truth(hospital: Hospital, stored: dict[str, Dataset]) -> None:
    for study, series, one in cases(hospital[1]):
        if not study.in_pacs:
            continue
        ds = stored[one.sop_instance_uid]
        assert ds.StudyInstanceUID == study.study_instance_uid
        assert ds.SeriesInstanceUID == series.series_instance_uid
        assert ds.Modality == series.modality
        assert ds.AccessionNumber == study.accession_number
        assert ds.StationName == study.station_name
        assert ds.StudyDate == "20261026"
        if one.mishap != "two-patients":
            assert (ds.PatientID or "") == study.patient_id


def test_the_scanners_clock_is_in_the_header_and_the_pacs_clock_beside_it(
    hospital: Hospital, stored: dict[str, Dataset]
) -> None:
    truth = hospital[1]
    clocks = {scanner.station_name: scanner for scanner in truth.scanners}
    seen = 0
    for study, _, one in cases(truth):
        ds = stored.get(one.sop_instance_uid)
        if ds is None or "AcquisitionTime" not in ds:
            continue
        clock = clocks[str(study.station_name)]
        written = datetime.strptime(f"{ds.AcquisitionDate} {str(ds.AcquisitionTime)[:6]}", "%Y%m%d %H%M%S")
        noon = datetime.combine(truth.day, datetime.min.time()) + timedelta(hours=12)
        drift = clock.drift_s_per_day * (one.acquired_at - noon).total_seconds() / 86_400
        assert abs((written - one.acquired_at).total_seconds() - clock.offset_s - drift) < 1.1
        stamped = datetime.strptime(str(ds.InstanceCoercionDateTime), "%Y%m%d%H%M%S.%f%z")
        assert 20 <= (stamped.replace(tzinfo=None) - one.acquired_at).total_seconds() < 300
        seen += 1
    assert seen > 30


def test_every_mishap_of_the_day_is_placed_and_told(hospital: Hospital) -> None:
    home, truth = hospital
    told = Counter(one.mishap for _, _, one in cases(truth) if one.mishap)
    assert set(told) == {*ENDS, FAILS_ONCE}
    for _, _, one in cases(truth):
        end = ENDS.get(one.mishap or "")
        assert (one.ends_at_step, one.reason_code) == (end or (None, None))
        assert one.gaps == (dict([end]) if end else {}) | ALSO.get(one.mishap or "", {})
    faults = Faults.load(home / "faults.json")
    by_mishap = {
        name: {one.sop_instance_uid for _, _, one in cases(truth) if one.mishap == name} for name in told
    }  # fmt: skip
    assert faults.drop_success == by_mishap["never-sent"]
    assert faults.fail_always == by_mishap["always-fails"]
    assert faults.fail_once == by_mishap[FAILS_ONCE]


def test_pixels_decode_except_where_the_truth_says_not(hospital: Hospital) -> None:
    ends = {one.sop_instance_uid: one.mishap for _, _, one in cases(hospital[1])}
    decoded = 0
    for path in (hospital[0] / "pacs").rglob("*.dcm"):
        if path.read_bytes() == STRAY:
            continue
        ds = dcmread(path)
        if tag_for_keyword("PixelData") not in ds:
            continue
        if ends[str(ds.SOPInstanceUID)] in ("corrupt-pixels", "truncated"):
            with pytest.raises(Exception):  # noqa: B017 - each decoder has its own
                _ = ds.pixel_array
        else:
            assert ds.pixel_array.shape[:2] == (ds.Rows, ds.Columns)
            decoded += 1
    assert decoded > 30


def test_headers_are_as_dirty_as_a_hospitals(hospital: Hospital, stored: dict[str, Dataset]) -> None:
    charsets = {str(ds.get("SpecificCharacterSet", "")) for ds in stored.values()}
    assert len(charsets) >= 4
    assert all(any(element.tag.is_private for element in ds) for ds in stored.values() if ds.Modality in ("CT", "MR"))
    assert all("OtherPatientIDsSequence" in ds for ds in stored.values())
    assert len({ds.file_meta.TransferSyntaxUID for ds in stored.values()}) >= 4


def test_names_survive_their_character_set(hospital: Hospital, stored: dict[str, Dataset]) -> None:
    names = {exam.study_instance_uid: exam.patient.name for exam in plan_day(scale="tiny").exams}
    for ds in stored.values():
        assert str(ds.PatientName) == names[str(ds.StudyInstanceUID)]


def test_an_unknown_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="day"):
        build(tmp_path, None, scale="huge")


@pytest.mark.slow
def test_real_images_join_and_stay_apart_from_training(shared_data: Path, tmp_path: Path) -> None:
    truth = build(tmp_path, shared_data, scale="tiny")
    pictures = Counter(series.picture for study in truth.studies for series in study.series)
    assert pictures["real"] > 0
    assert pictures["file"] > 0
    files = [study for study in truth.studies if study.station_name is None]
    assert files
    stored = {}
    for path in (tmp_path / "pacs" / "IMPORT").glob("DISC*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        stored[str(ds.StudyInstanceUID)] = ds
    for study in files:
        assert stored[study.study_instance_uid].StudyDate == "20261026"
        assert stored[study.study_instance_uid].PatientID == study.patient_id
    from models.data import films

    untrained = {str(film.path) for film in films(shared_data) if film.split == "test"}
    offered = {str(shared_data / file) for files in Radiographs(shared_data, 1).files.values() for file in files}
    assert offered
    assert offered <= untrained, "the hospital shows films of patients that training leaves alone, and no others"


def test_what_is_written_about_a_film_refers_to_it_and_names_the_patient_in_every_corner(
    hospital: Hospital, stored: dict[str, Dataset]
) -> None:
    written = [(study, series) for study, series, _ in cases(hospital[1]) if series.modality in ("SR", "KO", "PR")]
    assert Counter(series.modality for _, series in written) == {"SR": 3, "KO": 1, "PR": 1}  # one of them a dose report
    for study, series in written:
        ds = stored[series.instances[0].sop_instance_uid]
        films = {one.sop_instance_uid for of in study.series if of.modality == "DX" for one in of.instances}
        referred = {
            str(element.value) for element in ds.iterall() if element.tag == tag_for_keyword("ReferencedSOPInstanceUID")
        }
        surname = str(ds.PatientName).split("=")[0].split("^")[0]
        texts = [str(one.value) for one in ds.iterall() if one.keyword in ("TextValue", "UnformattedTextValue")]
        if str(ds.SOPClassUID) != "1.2.840.10008.5.1.4.1.1.88.67":
            assert films & referred
            assert any(surname in text for text in texts)
        assert "AcquisitionDate" not in ds
        assert "PixelData" not in ds
