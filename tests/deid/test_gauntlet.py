"""Thousands of planted identifiers: every text, date and UID attribute, at every depth, in every encoding."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sluice.deid.elements import Element, File, read_file
from sluice.deid.engine import Deidentified, deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import Profile
from sluice.deid.tables import table
from tests.deid.planted import (
    CT,
    SECONDARY_CAPTURE,
    Needles,
    encoded,
    image,
    plant_everywhere,
    raw_element,
    with_syntax,
)

IDENTITIES = Identities(bytes(range(32)), "TST")
BASIC, LONGITUDINAL = Profile.preset("basic"), Profile.preset("longitudinal")
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
# Attributes that an option of `longitudinal` keeps as they are: that is the option's meaning, not a leak.
KEPT_BY_OPTION = {
    int(row["tag"], 16)
    for row in table("basic_profile")
    if "K" in (row["retain_device_identity"], row["retain_patient_characteristics"])
}


def checked(data: bytes, profile: Profile) -> Deidentified:
    """De-identified, and passed by the independent re-read."""
    result = deidentify(data, profile, IDENTITIES)
    claims = Claims(result.shift_days, tuple(code for code, _ in result.codes))
    assert findings(data, result.data, claims) == []
    return result


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("profile", [BASIC, LONGITUDINAL], ids=lambda profile: profile.name)
def test_every_attribute_of_the_dictionary(profile: Profile, syntax: pydicom.uid.UID) -> None:
    needles, dataset = Needles(), image()
    skip = KEPT_BY_OPTION if profile is LONGITUDINAL else set()
    plant_everywhere(dataset, needles, skip, dates=profile is BASIC)  # moved dates: see test_tables
    assert len(needles.given) > 1600
    result = deidentify(with_syntax(dataset, syntax), profile, IDENTITIES)
    assert needles.in_(result.data) == []
    assert pydicom.dcmread(io.BytesIO(result.data)).PixelData == image().PixelData


@pytest.mark.parametrize(
    ("profile", "syntax"),
    [(BASIC, ImplicitVRLittleEndian), (BASIC, ExplicitVRBigEndian), (LONGITUDINAL, DeflatedExplicitVRLittleEndian)],
    ids=lambda value: value.name,
)
def test_every_attribute_in_every_kept_sequence(profile: Profile, syntax: pydicom.uid.UID) -> None:
    """Each sequence of the dictionary with an item; the deep ones with all attributes, five levels down."""
    needles, dataset = Needles(), image()
    skip = KEPT_BY_OPTION if profile is LONGITUDINAL else set()
    bottom = Dataset()
    plant_everywhere(bottom, needles, skip, dates=False)
    for keyword in ("CTAcquisitionTypeSequence", "SharedFunctionalGroupsSequence", "DerivationCodeSequence",
                    "RequestAttributesSequence", "SharedFunctionalGroupsSequence"):  # fmt: skip
        parent = Dataset()
        setattr(parent, keyword, [bottom])
        bottom = parent
    dataset.update(bottom)
    for tag, (vr, *_) in DicomDictionary.items():
        if vr == "SQ" and tag >> 16 >= 8 and tag not in dataset:
            item = Dataset()
            item.PatientName = item.PatientComments = item.InstitutionName = needles.text()
            item.ReferencedSOPInstanceUID = needles.uid()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = needles.text(), "99LOCAL", needles.text()
            dataset.add(DataElement(tag, "SQ", Sequence([item])))
    assert len(needles.given) > 6000
    result = deidentify(with_syntax(dataset, syntax), profile, IDENTITIES)
    assert needles.in_(result.data) == []


@pytest.mark.parametrize("profile", [BASIC, LONGITUDINAL], ids=lambda profile: profile.name)
def test_places_that_tools_forget(profile: Profile) -> None:
    needles, dataset = Needles(), image()
    inner = Dataset()
    inner.PatientName, inner.SOPInstanceUID = needles.text(), needles.uid()
    hidden = io.BytesIO()
    pydicom.filewriter.write_sequence(_implicit(hidden), DataElement(0x00081140, "SQ", Sequence([inner])), ["ascii"])
    unknown = hidden.getvalue()
    for tag in (0x00081140, 0x00540016):  # public sequences encoded as UN
        dataset[tag] = raw_element(tag, "UN", unknown)
    block = dataset.private_block(0x0029, "ZQ VENDOR " + needles.text(), create=True)
    block.add_new(0x10, "LO", needles.text())
    block.add_new(0x11, "SQ", Sequence([inner]))
    block.add_new(0x12, "OB", needles.text().encode())
    block.add_new(0x13, "UN", unknown)
    dataset.add(DataElement(0x00290001, "LO", needles.text()))
    for group in (0x6000, 0x6002, 0x601E):
        dataset.add(DataElement(group << 16 | 0x0022, "LO", needles.text()))
        dataset.add(DataElement(group << 16 | 0x1500, "LO", needles.text()))
        dataset.add(DataElement(group << 16 | 0x3000, "OW", needles.text().encode()))
    dataset.add(DataElement(0x50000022, "LO", needles.text()))
    dataset.add(DataElement(0xFFFCFFFC, "OB", needles.text().encode()))
    dataset.add(DataElement(0x00041500, "CS", needles.text()))
    dataset.DigitalSignaturesSequence = [inner]
    encrypted = Dataset()
    encrypted.EncryptedContent = needles.text().encode()
    encrypted.EncryptedContentTransferSyntaxUID = needles.uid()
    dataset.EncryptedAttributesSequence = [encrypted]
    dataset.OriginalAttributesSequence = [inner]
    dataset.IconImageSequence = [inner]
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.file_meta.SourceApplicationEntityTitle = needles.text()
    dataset.file_meta.PrivateInformationCreatorUID = needles.uid()
    dataset.file_meta.PrivateInformation = needles.text().encode()
    dataset.file_meta.ImplementationVersionName = needles.text()
    dataset.preamble = needles.text().encode().ljust(128, b"Q")
    for vr, keyword in (("DS", "SliceThickness"), ("IS", "ExposureTime"), ("CS", "PatientPosition"), ("DS", "KVP")):
        dataset._dict.pop(pydicom.tag.Tag(keyword), None)
        dataset[keyword] = raw_element(pydicom.tag.Tag(keyword), vr, needles.text().encode().ljust(10))
    data = encoded(dataset) + needles.text().encode()  # behind the last element
    assert needles.in_(data) == sorted(needles.given)
    result = deidentify(data, profile, IDENTITIES)
    assert needles.in_(result.data) == []
    assert not any(result.data[:128])
    produced = pydicom.dcmread(io.BytesIO(result.data))
    assert produced.file_meta.MediaStorageSOPInstanceUID == produced.SOPInstanceUID
    assert {element.keyword for element in produced.file_meta} == {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
    }  # fmt: skip


def _implicit(buffer: io.BytesIO) -> pydicom.filebase.DicomIO:
    stream = pydicom.filebase.DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = True, True
    return stream


CHARSETS = [
    ("ISO_IR 100", "Müßiggänger^Jörg"), ("ISO_IR 101", "Wałęsa^Żaneta"), ("ISO_IR 144", "Люкceмбypг^Ольга"),
    ("ISO_IR 126", "Διονυσιος^Ζωη"), ("ISO_IR 127", "قباني^لنزار"), ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 166", "สมชาย^วิชัย"), ("ISO_IR 192", "王^小東東"), ("GB18030", "王五^小东东"), ("GBK", "王五^小东东"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
]  # fmt: skip


@pytest.mark.parametrize(("charset", "name"), CHARSETS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("profile", [BASIC, LONGITUDINAL], ids=lambda profile: profile.name)
def test_names_in_every_character_set(charset: object, name: str, profile: Profile) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name
        dataset.SeriesDescription = name.split("=")[-1].split("^")[0] + " thorax"
        dataset.StudyDescription = dataset.ProtocolName = name.split("=")[-1].replace("^", " ")
        inner = Dataset()
        inner.PatientName, inner.CodeMeaning = name, name.split("^")[0]
        dataset.RequestAttributesSequence = [inner]

    data = encoded(image(edit=edit))
    written = bytes(read_file(data).elements[0x00100010].value)  # type: ignore[arg-type]
    assert written in data
    result = checked(data, profile)
    for part in re.split(rb"[\^=]", written):
        if len(part.strip()) > 3:
            assert part.strip() not in result.data
    produced = pydicom.dcmread(io.BytesIO(result.data))
    if profile is LONGITUDINAL:
        assert produced.SeriesDescription == "thorax"  # the known word stays, the name goes


def test_a_patient_id_that_cannot_be_decoded_is_held() -> None:
    data = encoded(image(edit=_set(SpecificCharacterSet="ISO_IR 192")))
    data = data.replace(b"PID-4711-77 ", b"PID-4711-\xe4\xe4 ")
    with pytest.raises(Held, match="held-identity"):
        deidentify(data, BASIC, IDENTITIES)


def jpeg_with_comments(frame: bytes, needle: bytes) -> bytes:
    """A JPEG or JPEG-LS frame with COM and APP1 segments behind its first marker."""
    segments = b"".join(
        b"\xff" + marker + struct.pack(">H", len(needle) + 2) + needle for marker in (b"\xfe", b"\xe1", b"\xef")
    )
    return frame[:2] + segments + frame[2:] + needle


def j2k_with_comment(frame: bytes, needle: bytes) -> bytes:
    """A JPEG 2000 codestream with COM behind SIZ, in a JP2-like box, with bytes behind its end."""
    size = 4 + struct.unpack_from(">H", frame, 4)[0]
    comment = b"\xff\x64" + struct.pack(">HH", len(needle) + 4, 1) + needle
    boxes = struct.pack(">L4sL", 12, b"jP  ", 0x0D0A870A) + struct.pack(">L4s", len(needle) + 8, b"xml ") + needle
    return boxes + frame[:size] + comment + frame[size:] + needle


@pytest.mark.parametrize(
    ("syntax", "spoil"),
    [(JPEGLSLossless, jpeg_with_comments), (JPEG2000Lossless, j2k_with_comment), (RLELossless, None)],
)
def test_comments_in_compressed_pixels(syntax: pydicom.uid.UID, spoil: object) -> None:
    dataset = image()
    dataset.NumberOfFrames = 3
    dataset.Rows = dataset.Columns = 64
    dataset.PixelData = image().PixelData * 48
    before = dataset.pixel_array.copy()
    dataset.compress(syntax, generate_instance_uid=False)
    needle = b"Quillfeather 4711"
    if spoil is not None:
        frames = [spoil(frame, needle) for frame in generate_frames(dataset.PixelData, number_of_frames=3)]  # type: ignore[operator]
        dataset.PixelData = encapsulate(frames)
    data = encoded(dataset)
    result = checked(data, BASIC)
    assert needle not in result.data
    produced = pydicom.dcmread(io.BytesIO(result.data))
    assert produced.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(produced.pixel_array, before)


def test_technical_content_stays_byte_for_byte() -> None:
    data = encoded(image())
    before, after = (pydicom.dcmread(io.BytesIO(one)) for one in (data, checked(data, BASIC).data))
    for keyword in ("PixelData", "PixelSpacing", "SliceThickness", "KVP", "Rows", "BitsStored", "ImageType", "Modality",
                    "InstanceNumber", "SeriesNumber", "SOPClassUID", "Manufacturer"):  # fmt: skip
        assert after[keyword].value == before[keyword].value, keyword
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert after[keyword].value == IDENTITIES.uid(before[keyword].value)


def test_big_endian_pixels_are_the_same_numbers() -> None:
    before = image()
    expected = before.pixel_array.copy()
    produced = pydicom.dcmread(io.BytesIO(deidentify(with_syntax(before, ExplicitVRBigEndian), BASIC, IDENTITIES).data))
    np.testing.assert_array_equal(produced.pixel_array, expected)
    assert produced.Rows == 16


def test_longitudinal_keeps_intervals_and_says_so() -> None:
    def later(dataset: Dataset) -> None:
        dataset.StudyDate, dataset.SeriesDate = "20261102", "20261102"

    first, second = (
        pydicom.dcmread(io.BytesIO(checked(encoded(image(n, edit=edit)), LONGITUDINAL).data))
        for n, edit in ((1, None), (2, later))
    )
    days = pydicom.valuerep.DA(second.StudyDate) - pydicom.valuerep.DA(first.StudyDate)
    assert days.days == 7
    assert first.StudyTime == "081530.25"
    assert first.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in first.DeidentificationMethodCodeSequence] == [
        "113100", "113108", "113107", "113105",  # nothing in it describes the device: not claimed
    ]  # fmt: skip
    assert first.PatientAge == "077Y"
    assert first.StudyDescription == "CT Chest"
    assert "RecognizableVisualFeatures" not in first
    assert "BurnedInAnnotation" not in first


def test_safe_private_is_kept_element_by_element() -> None:
    profile = Profile("own", ("retain_safe_private",))

    def edit(dataset: Dataset) -> None:
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "1.25")
        block.add_new(0x01, "LO", "Quillfeather")
        other = dataset.private_block(0x0029, "Quillfeather Inc", create=True)
        other.add_new(0x00, "DS", "1.25")

    result = checked(encoded(image(edit=edit)), profile)
    produced = pydicom.dcmread(io.BytesIO(result.data))
    assert produced.private_block(0x7053, "Philips PET Private Group")[0x00].value == 1.25
    assert {element.tag for element in produced if element.tag.is_private} == {0x70530010, 0x70531000}


def _set(**values: object) -> Callable[[Dataset], None]:
    def edit(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("sop_class", "edit", "reason"),
    [
        (SECONDARY_CAPTURE, None, "held-class"),
        ("1.2.840.10008.5.1.4.1.1.6.1", None, "held-class"),
        ("1.2.840.10008.5.1.4.1.1.104.1", None, "held-class"),
        ("1.2.840.10008.5.1.4.1.1.88.67", None, "held-class"),
        ("1.2.840.10008.5.1.4.1.1.88.59", None, "held-class"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", None, "held-class"),
        ("1.3.12.2.1107.5.9.1", None, "held-class"),
        (CT, _set(BurnedInAnnotation="YES"), "held-class"),
        (CT, _set(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "held-class"),
        (CT, _set(ImageType=["ORIGINAL", "SECONDARY", "DOSE_INFO"]), "held-class"),
        (CT, _set(ConversionType="WSD"), "held-class"),
        (CT, _set(PhotometricInterpretation="RGB", SamplesPerPixel=3), "held-class"),
        (CT, _set(PixelData=b"\xff\xff" * 256), "held-class"),
        (CT, _set(PixelData=b"\0" * 100), "held-unreadable"),
        (CT, _set(PatientID=""), "held-identity"),
        (CT, _set(PatientID="UNKNOWN"), "held-identity"),
    ],
)
def test_what_is_held(sop_class: str, edit: object, reason: str) -> None:
    data = encoded(image(sop_class=sop_class, edit=edit))  # type: ignore[arg-type]
    with pytest.raises(Held) as held:
        deidentify(data, BASIC, IDENTITIES)
    assert held.value.reason_code == reason
    assert "Quillfeather" not in str(held.value)


def test_same_input_same_bytes() -> None:
    data = encoded(image())
    assert deidentify(data, LONGITUDINAL, IDENTITIES) == deidentify(data, Profile.preset("longitudinal"), IDENTITIES)


def test_a_bare_data_set_without_file_meta_is_read() -> None:
    dataset = image()
    buffer = io.BytesIO()
    del dataset.file_meta
    dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert pydicom.dcmread(io.BytesIO(deidentify(buffer.getvalue(), BASIC, IDENTITIES).data)).Rows == 16


def test_lookup_tables_end_where_their_descriptor_says() -> None:
    def edit(dataset: Dataset) -> None:
        table, loose = Dataset(), Dataset()
        table.LUTDescriptor = [4, 0, 16]
        table.add_new(0x00283006, "OW", bytes(range(8)) + b"Quillfeather")
        loose.add_new(0x00283006, "OW", b"Quillfeather")
        loose.add_new(0x00280002, "US", 1)
        dataset.VOILUTSequence = [table, loose]

    result = checked(encoded(image(edit=edit)), BASIC)
    kept, loose = pydicom.dcmread(io.BytesIO(result.data)).VOILUTSequence
    assert bytes(kept["LUTData"].value) == bytes(range(8))
    assert "LUTData" not in loose


def test_rle_segments_end_with_their_pixels_and_unknown_segments_are_refused() -> None:
    dataset = image()
    before = dataset.pixel_array.copy()
    dataset.compress(RLELossless, generate_instance_uid=False)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame + b"Quillfeather"])
    result = checked(encoded(dataset), BASIC)
    assert b"Quillfeather" not in result.data
    np.testing.assert_array_equal(pydicom.dcmread(io.BytesIO(result.data)).pixel_array, before)
    dataset = image()
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[:2] + b"\xff\xf0\x00\x0eQuillfeather" + frame[2:]])
    with pytest.raises(Held, match="no decoder needs"):
        deidentify(encoded(dataset), BASIC, IDENTITIES)


def test_treated_pixels_are_claimed_and_untreated_ones_are_not() -> None:
    class Treated:
        screened, cleaned, defaced = True, True, True

        def apply(self, file: File) -> Element:
            return file.elements[0x7FE00010]

    data = encoded(image())
    treated = deidentify(data, BASIC, IDENTITIES, Treated())
    produced = pydicom.dcmread(io.BytesIO(treated.data))
    assert [code for code, _ in treated.codes] == ["113100", "113101", "113102"]
    assert (produced.BurnedInAnnotation, produced.RecognizableVisualFeatures) == ("NO", "NO")
    (equipment,) = produced.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109104"
    plain = pydicom.dcmread(io.BytesIO(checked(data, BASIC).data))
    assert "BurnedInAnnotation" not in plain
    assert plain.LongitudinalTemporalInformationModified == "REMOVED"


def test_a_name_typed_as_the_patients_sex_goes() -> None:
    for typed, kept in (("F", "F"), ("HANSPETER", "")):
        data = encoded(image(edit=_set(PatientSex=typed)))
        produced = pydicom.dcmread(io.BytesIO(checked(data, Profile.preset("longitudinal")).data))
        assert produced.PatientSex == kept
