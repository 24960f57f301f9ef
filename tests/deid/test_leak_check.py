"""The re-read must see what an engine lets pass: a produced file is spoiled in one way at a time."""

from __future__ import annotations

import ast
import importlib
import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from sluice.deid.engine import deidentify
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.needles import _forms_of, needles_of
from sluice.deid.profile import Profile
from sluice.deid.reread import reread
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


def with_raw(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    """An element as it is written by who does not care for its form."""
    dataset[tag] = RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)


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
        (put(0x00200013, "IS", "0009081726"), "identifier"),  # of ACC9081726
        (put(0x00200013, "IS", "+9081726"), "identifier"),
        (put(0x00180050, "DS", "9.081726E6"), "identifier"),
        (put(0x00180050, "DS", "9081726.0\\1"), "identifier"),
        (put(0x00180050, "DS", "1e99\\1E-400"), ""),
        (put(0x00189810, "US", 908), ""),
        (put(0x00181271, "UL", 9081726), "identifier"),
        (put(0x00189073, "FD", 9081726.0), "identifier"),
        (put(0x00200013, "IS", "19490317"), "identifier"),
        (put(0x00200012, "IS", "20261026"), "date"),
        (lambda dataset: with_raw(dataset, 0x00200013, "IS", b"seventeen "), "claim"),
        (lambda dataset: with_raw(dataset, 0x00180050, "DS", b"1,25"), "claim"),
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
    own = {"sluice.deid.leak_check", "sluice.deid.needles", "sluice.deid.reread"}
    for name in own:
        tree = ast.parse(Path(importlib.import_module(name).__file__ or "").read_text())
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
        assert not [module for module in modules if module.startswith("sluice") and module not in own], name


def names_in(character_set: str, name: str, encoding: str) -> tuple[bytes, bytes]:
    """An original whose patient has a name in this character set, and its produced file with nothing of it."""

    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = character_set.split("\\")
        dataset.PatientName = PersonName(name.encode(encoding), [encoding])

    buffer = io.BytesIO()
    dataset = image(edit=edit)
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    original = buffer.getvalue()
    return original, deidentify(original, PROFILE, Identities(bytes(range(32)), "TST")).data


@pytest.mark.parametrize(
    ("character_set", "encoding", "name", "written", "written_as"),
    [
        ("\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田太郎様", "utf_8"),
        ("\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎=やまだ^たろう", "患者 やまだ", "shift_jis"),
        ("\\ISO 2022 IR 149", "euc_kr", "Hong^Gildong=洪^吉洞=홍^길동", "홍길동", "euc_kr"),
        ("GB18030", "gb18030", "Wang^XiaoDong=王^小东", "王小东 CT", "gb18030"),
        ("GB18030", "gb18030", "Wang^XiaoDong=王^小东", "xiaodong wang", "ascii"),
        ("ISO_IR 144", "iso8859_5", "Люкceмбypг^Ольга", "ОЛЬГА", "utf_8"),
        ("ISO_IR 100", "latin_1", "Müller^Jörg", "Dr. Mueller", "ascii"),
        ("ISO_IR 100", "latin_1", "Müller^Jörg", "MULLER", "ascii"),
        ("ISO_IR 126", "iso8859_7", "Διονυσιος^Ανδρεας", "διονυσιοσ", "utf_8"),
        ("ISO_IR 192", "utf_8", "Lee^Ann", "annlee study", "ascii"),
    ],
)
def test_names_of_every_character_set_are_seen(
    character_set: str, encoding: str, name: str, written: str, written_as: str
) -> None:
    original, produced = names_in(character_set, name, encoding)
    claims = Claims(RESULT.shift_days, CODES)
    assert findings(original, produced, claims) == []
    dataset = pydicom.dcmread(io.BytesIO(produced))
    dataset.SpecificCharacterSet = {"utf_8": "ISO_IR 192", "gb18030": "GB18030", "euc_kr": ["", "ISO 2022 IR 149"]}.get(
        written_as, "ISO_IR 6"
    )
    decoded = findings(original, encoded(with_bytes(dataset, 0x00104000, "LT", written.encode(written_as))), claims)
    assert {finding.kind for finding in decoded} & {"identifier", "raw-bytes"}
    hidden = encoded(with_bytes(dataset, 0x00091001, "OB", b"\0\1" + written.encode(written_as) + b"\0\0"))
    if len(written.encode(written_as)) >= 12 and written_as != "ascii":
        assert findings(original, hidden, claims)


def with_bytes(dataset: Dataset, tag: int, vr: str, value: bytes) -> Dataset:
    changed = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    changed[tag] = RawDataElement(BaseTag(tag), vr, len(value), value + b"\0" * (len(value) % 2), 0, False, True)
    return changed


@pytest.mark.parametrize(
    "text",
    ["born 17 Mar 1949", "DOB March 17, 1949", "17.3.1949", "1949/03/17", "0049 (30) 555-7788", "tel 030.5557788"],
)
def test_days_and_numbers_are_seen_however_they_are_written(text: str) -> None:
    assert "identifier" in seen(spoiled(put(0x00104000, "LT", text)))


def test_an_unmoved_day_in_a_text_is_seen() -> None:
    assert "date" in seen(spoiled(put(0x00204000, "LT", "as on 26.10.2026")))


def test_a_day_that_is_another_elements_is_seen() -> None:
    """A date moved by other days than the rest, or put where the original had none, breaks an interval."""
    moved = pydicom.dcmread(io.BytesIO(RESULT.data)).StudyDate
    assert seen(spoiled(put(0x00080020, "DA", moved))) == set()
    assert "date" in seen(spoiled(put(0x00181012, "DA", moved)))
    assert "date" in seen(spoiled(put(0x00080020, "DA", str(int(moved) + 1))))


def test_bytes_behind_the_data_set_are_seen() -> None:
    assert "meta" in seen(RESULT.data + b"Quillfeather was here")


def test_forms_of_a_value_are_worked_out_once_and_never_grow() -> None:
    # of one patient's many files; a cache that one of them could add to would hold the next patient's files
    of_one, of_other = (
        reread(encoded(image(n, name=name))) for n, name in ((1, "Quillfeather^Ottoline"), (2, "Oak^Bo"))
    )
    before = needles_of(of_one, ("ACC-ONE-1",))
    worked_out = _forms_of.cache_info().misses
    needles_of(of_other, ("ACC-TWO-2",))
    known = _forms_of.cache_info().misses
    assert known > worked_out
    again = needles_of(of_one, ("ACC-ONE-1",))
    assert _forms_of.cache_info().misses == known
    assert again == before
    assert "acc-two-2" not in again.phrases
    assert _forms_of.cache_info().maxsize


@pytest.mark.parametrize(
    ("patient_id", "number"), [("0012345678", "12345678"), ("12-345-678", "12345678"), ("MRN 0471100815", "471100815")]
)
def test_a_hospital_number_that_a_scanner_counts_by_holds_the_file(patient_id: str, number: str) -> None:
    original = encoded(image(patient_id=patient_id, edit=put(0x00200012, "IS", number)))
    result = deidentify(original, PROFILE, Identities(bytes(range(32)), "TST"))
    assert {one.kind for one in findings(original, result.data, Claims(result.shift_days, CODES))} == {"identifier"}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("White, non Hispanic", "White non Hispanic"),
        ("Kaukasisch", "Kaukasisch"),
        ("Quillfeather Ottoline", None),
        ("see 0171-5557788", None),
        ("European (mother: A. Gravelbottom)", "European"),
    ],
)
def test_of_an_ethnic_group_words_of_the_list_stay(typed: str, kept: str | None) -> None:
    original = encoded(
        image(edit=put(0x00102160, "SH", typed[:16]) if len(typed) < 17 else put(0x00102162, "UC", typed))
    )
    result = deidentify(original, PROFILE, Identities(bytes(range(32)), "TST"))
    elements = {one.tag: one.text() for one in reread(result.data).elements}
    assert (elements.get(0x00102160) or elements.get(0x00102162)) == kept
