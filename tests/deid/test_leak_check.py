"""The re-read must see what an engine lets pass: a produced file is spoiled in one way at a time."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from sluice.deid.engine import deidentify
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import Profile
from tests.deid.planted import ROOT, encoded, image

PROFILE = Profile.preset("longitudinal")


def contacts(dataset: Dataset) -> None:
    dataset.PatientAddress = "Fliederweg 12, 98765 Schilda"
    dataset.PatientTelephoneNumbers = "+49 30 5557788"
    dataset.OtherPatientIDs = "XK-99821"
    dataset.ReferencedImageSequence = [Dataset()]
    dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID = ROOT + ".7.7"


ORIGINAL = encoded(image(edit=contacts))
RESULT = deidentify(ORIGINAL, PROFILE, Identities(bytes(range(32)), "TST"))
CODES = tuple(code for code, _ in RESULT.codes)


def spoiled(edit: Callable[[Dataset], None]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(RESULT.data))
    edit(dataset)
    return encoded(dataset)


def seen(produced: bytes) -> set[str]:
    return {finding.kind for finding in findings(ORIGINAL, produced, Claims(RESULT.shift_days, CODES))}


def put(tag: int, vr: str, value: object) -> Callable[[Dataset], None]:
    return lambda dataset: dataset.add(DataElement(tag, vr, value))


def deep(dataset: Dataset) -> None:
    inner, outer = Dataset(), Dataset()
    inner.ImageComments = "seen by dr quillfeather"
    outer.ReferencedImageSequence = [inner]
    dataset.ReferencedStudySequence = [outer]


def full_width(dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyDescription = "Ｑｕｉｌｌｆｅａｔｈｅｒ"


def test_nothing_is_found_in_what_the_engine_made() -> None:
    assert seen(RESULT.data) == set()


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (put(0x00081030, "LO", "QUILLFEATHER chest"), "identifier"),
        (full_width, "identifier"),
        (put(0x00081030, "LO", "of ottoline"), "identifier"),
        (put(0x00080005, "CS", "ISO_IR 192"), ""),
        (put(0x00180015, "CS", "QUILLFEATHER"), "identifier"),
        (put(0x00204000, "LT", "id PID-4711-77"), "identifier"),
        (put(0x00204000, "LT", "born 17.03.1949"), "identifier"),
        (put(0x00204000, "LT", "born 1949-03-17"), "identifier"),
        (put(0x00204000, "LT", "call +49 30 5557788"), "identifier"),
        (put(0x00204000, "LT", "lives in Schilda"), "identifier"),
        (put(0x00204000, "LT", "also xk-99821"), "identifier"),
        (put(0x00204000, "LT", "acc9081726"), "identifier"),
        (put(0x00204000, "LT", "referred by Gravelbottom"), "identifier"),
        (put(0x00204000, "LT", "see 1.2.826.0.1.3680043.9.9999.1.1.1"), "identifier"),
        (put(0x00081155, "UI", ROOT + ".7.7"), "uid"),
        (put(0x0020000D, "UI", ROOT + ".1"), "uid"),
        (put(0x00091001, "OB", b"..quillfeather.."), "raw-bytes"),
        (put(0x00091001, "OB", ROOT.encode() + b".1"), "raw-bytes"),
        (put(0x00080020, "DA", "20261026"), "date"),
        (put(0x00080020, "DA", "20200101"), "date"),
        (put(0x0008002A, "DT", "20261026081500"), "date"),
        (put(0x00120062, "CS", "NO"), "claim"),
        (put(0x00280303, "CS", "REMOVED"), "claim"),
        (put(0x60003000, "OW", b"\0\1"), "claim"),
        (deep, "identifier"),
        (lambda dataset: setattr(dataset, "preamble", b"II*\0" * 32), "meta"),
        (lambda dataset: setattr(dataset.file_meta, "SourceApplicationEntityTitle", "CT1"), "meta"),
        (lambda dataset: delattr(dataset, "DeidentificationMethodCodeSequence"), "claim"),
    ],
)
def test_what_was_spoiled_is_seen(edit: Callable[[Dataset], None], kind: str) -> None:
    found = seen(spoiled(edit))
    assert kind in found if kind else not found


def test_a_name_in_the_pixels_as_bytes_is_seen() -> None:
    assert "raw-bytes" in seen(RESULT.data[:-64] + b"Quillfeather".ljust(64))


def test_a_file_that_cannot_be_read_is_no_pass() -> None:
    assert seen(RESULT.data[:400])


def test_what_the_database_knows_of_the_patient_counts_too() -> None:
    produced = spoiled(put(0x00081030, "LO", "Thimblewick"))
    assert findings(ORIGINAL, produced, Claims(RESULT.shift_days, CODES)) == []
    assert findings(ORIGINAL, produced, Claims(RESULT.shift_days, CODES), ["Thimblewick^Ottoline"])


def signed_by(name: str, attribute: str) -> set[str]:
    """Kinds of findings where a person's attribute and the scanner's model share a name."""

    def edit(dataset: Dataset) -> None:
        contacts(dataset)
        dataset.ManufacturerModelName = "Achieva"
        setattr(dataset, attribute, name)

    original = encoded(image(edit=edit))
    result = deidentify(original, PROFILE, Identities(bytes(range(32)), "TST"))
    assert pydicom.dcmread(io.BytesIO(result.data)).ManufacturerModelName == "Achieva"
    return {finding.kind for finding in findings(original, result.data, Claims(result.shift_days, CODES))}


def test_a_scanner_that_signs_with_its_model_name_is_no_person() -> None:
    assert signed_by("Achieva", "OperatorsName") == set()


def test_a_patient_named_like_the_model_is_one() -> None:
    assert "identifier" in signed_by("Achieva^Anna", "PatientName")


def test_findings_name_no_value() -> None:
    for finding in findings(ORIGINAL, ORIGINAL, Claims(None, CODES)):
        for value in ("quillfeather", "4711", "9081726", "19490317", ROOT):
            assert value not in f"{finding.kind} {finding.where}".lower()


def test_the_re_read_shares_no_code_with_the_engine() -> None:
    import sluice.deid.leak_check

    tree = ast.parse(Path(sluice.deid.leak_check.__file__).read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [module for module in modules if module.startswith("sluice")]
