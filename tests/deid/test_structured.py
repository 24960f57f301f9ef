"""Structured reports and presentation states: no planted word leaves, and what leaves is a valid tree."""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as snomed

from sluice.deid.conformance import new_faults
from sluice.deid.elements import read_file, walk
from sluice.deid.engine import Deidentified, deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import Action, Profile
from sluice.deid.reread import reread
from sluice.deid.structured import action_of
from sluice.deid.tables import table
from tests.deid.planted import CT, ROOT, encoded, image

IDENTITIES = Identities(bytes(range(32)), "TST")
CONTENT = Profile("content", ("clean_structured_content",))
WORDS = Profile(
    "words", ("clean_structured_content", "clean_descriptors", "retain_longitudinal_modified_dates", "clean_graphics")
)
FULL = Profile("full", ("clean_structured_content", "retain_longitudinal_full_dates", "retain_uids"))
GRAPHICS = Profile("graphics", ("clean_graphics",))
CLASSES = {row["name"]: row["uid"] for row in table("sop_classes") if row["disposition"] == "clean_structured_content"}
COMPREHENSIVE = CLASSES["Comprehensive SR"]
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


class Planted:
    """Needles that are numbered, so that each of them is one."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def word(self) -> str:
        self.given.append(f"Zq{len(self.given):04d}x")
        return self.given[-1]

    def uid(self) -> str:
        self.given.append(f"{ROOT}.6.1{len(self.given):04d}")
        return self.given[-1]

    def in_(self, data: bytes) -> list[str]:
        folded = data.lower()
        return [needle for needle in self.given if needle.lower().encode() in folded]


def code(value: str, scheme: str = "DCM", meaning: str = "x") -> Dataset:
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = value, scheme, meaning
    return dataset


def item(value_type: str, concept: Dataset | None = None, relationship: str = "CONTAINS", **values: object) -> Dataset:
    dataset = Dataset()
    dataset.RelationshipType, dataset.ValueType = relationship, value_type
    if concept is not None:
        dataset.ConceptNameCodeSequence = [concept]
    if value_type == "CONTAINER":
        dataset.ContinuityOfContent = "SEPARATE"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def reference(uid: str, sop_class: str = CT) -> list[Dataset]:
    dataset = Dataset()
    dataset.ReferencedSOPClassUID, dataset.ReferencedSOPInstanceUID = sop_class, uid
    return [dataset]


def number(value: str, unit: str = "mm") -> list[Dataset]:
    dataset = Dataset()
    dataset.NumericValue = value
    dataset.MeasurementUnitsCodeSequence = [code(unit, "UCUM", "unit")]
    return [dataset]


def document(
    content: list[Dataset], sop_class: str = COMPREHENSIVE, edit: Callable[[Dataset], None] | None = None
) -> Dataset:
    dataset = image(sop_class=sop_class, modality="SR")
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                    "SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing", "SliceThickness", "KVP",
                    "ImageType", "FrameOfReferenceUID", "AcquisitionDate"):  # fmt: skip
        del dataset[keyword]
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [code("126000", "DCM", "Imaging Measurement Report")]
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence, dataset.PerformedProcedureCodeSequence = [], []
    dataset.ContentTime = "081530"
    dataset.ContentSequence = content
    if edit:
        edit(dataset)
    return dataset


def checked(data: bytes, profile: Profile) -> tuple[Deidentified, Dataset]:
    result = deidentify(data, profile, IDENTITIES)
    claims = Claims(result.shift_days, tuple(value for value, _ in result.codes))
    assert findings(data, result.data, claims) == []
    return result, pydicom.dcmread(io.BytesIO(result.data))


def planted_tree(needles: Planted, depth: int = 5) -> list[Dataset]:
    """A needle in every value that can hold one, at every depth."""
    local = code(needles.word()[:16], "99LOCAL", needles.word())
    known = {row["value_type"]: row for row in table("content_items")}
    children: list[Dataset] = []
    for row in table("content_items") if depth == 5 else known.values():
        concept = code(row["code"], row["scheme"][:16], needles.word())
        values: dict[str, object] = {
            "TEXT": {"TextValue": needles.word()}, "PNAME": {"PersonName": needles.word()},
            "UIDREF": {"UID": needles.uid()}, "DATE": {"Date": "19110703"}, "TIME": {"Time": "112233"},
            "DATETIME": {"DateTime": "19110703112233"}, "NUM": {"MeasuredValueSequence": number("97", "a")},
            "CODE": {"ConceptCodeSequence": [code("M", "DCM", needles.word())]},
            "IMAGE": {"ReferencedSOPSequence": reference(needles.uid())},
            "COMPOSITE": {"ReferencedSOPSequence": reference(needles.uid(), COMPREHENSIVE)},
            "WAVEFORM": {"ReferencedSOPSequence": reference(needles.uid(), "1.2.840.10008.5.1.4.1.1.9.1.1")},
            "CONTAINER": {"ContentSequence": [item("TEXT", code("121106"), TextValue=needles.word())]},
        }[row["value_type"]]  # fmt: skip
        children.append(item(row["value_type"], concept, **values))  # type: ignore[arg-type]
    children += [
        item("TEXT", local, TextValue=needles.word()), item("CODE", local, ConceptCodeSequence=[local]),
        item("NUM", code("121207", "DCM", needles.word()), MeasuredValueSequence=number("3", needles.word()[:16])),
        item("TEXT", code("121071"), TextValue=f"{needles.word()} fracture"),
        item("TABLE", local, TextValue=needles.word()),
        item("CODE", code("121071"), ConceptCodeSequence=[code(needles.word()[:16], "99LOCAL", needles.word())]),
        item("PNAME", code("121008"), PersonName=needles.word(), TextValue=needles.word(), Date="19110703"),
        item("IMAGE", ReferencedSOPSequence=reference(needles.uid()), PatientName=needles.word()),
    ]  # fmt: skip
    if depth > 0:
        below = planted_tree(needles, depth - 1)
        children.append(item("CONTAINER", code("125007"), ContentSequence=below))
        children.append(item("CONTAINER", local, ContentSequence=planted_tree(needles, 0)))
    return children


@pytest.mark.parametrize("name", CLASSES)
def test_no_needle_leaves_a_report_of_any_class(name: str) -> None:
    needles = Planted()

    def edit(dataset: Dataset) -> None:
        if name == "Key Object Selection":
            dataset.ConceptNameCodeSequence = [code("113000", "DCM", needles.word())]
        author, verifier, evidence = Dataset(), Dataset(), Dataset()
        author.PersonName, author.InstitutionName, author.ObserverType = needles.word(), needles.word(), "PSN"
        verifier.VerifyingObserverName, verifier.VerifyingOrganization = needles.word(), needles.word()
        verifier.VerificationDateTime = "19110703112233"
        evidence.StudyInstanceUID = needles.uid()
        dataset.AuthorObserverSequence, dataset.VerifyingObserverSequence = [author], [verifier]
        dataset.CurrentRequestedProcedureEvidenceSequence = [evidence]
        dataset.ContentTemplateSequence = [Dataset()]
        dataset.ContentTemplateSequence[0].MappingResource = "DCMR"
        dataset.ContentTemplateSequence[0].TemplateIdentifier = "1500"

    data = encoded(document(planted_tree(needles), CLASSES[name], edit))
    assert len(needles.given) > 400
    for profile in (CONTENT, WORDS):
        result = deidentify(data, profile, IDENTITIES)  # the re-read of so many identifiers takes seconds
        produced = pydicom.dcmread(io.BytesIO(result.data))
        assert needles.in_(result.data) == []
        assert b"19110703" not in result.data
        assert ("113104", "Clean Structured Content Option") in result.codes
        assert len(list(walk(read_file(result.data).elements))) > 200
        assert produced.ContentSequence[-1].ValueType == "CONTAINER"
    assert b"fracture" in result.data  # the word of the list beside the needle
    assert "REMOVED" in {str(one.get("PersonName")) for one in produced.ContentSequence}


def test_without_the_option_reports_are_held() -> None:
    for profile in (Profile.preset("basic"), Profile.preset("longitudinal"), Profile.preset("public"), GRAPHICS):
        with pytest.raises(Held, match="Clean Structured Content Option"):
            deidentify(encoded(document([])), profile, IDENTITIES)


def test_a_title_of_a_local_scheme_is_held() -> None:
    def edit(dataset: Dataset) -> None:
        dataset.ConceptNameCodeSequence = [code("Brown", "99LOCAL", "Report of Mr. Brown")]

    with pytest.raises(Held, match="title"):
        deidentify(encoded(document([], edit=edit)), CONTENT, IDENTITIES)


def test_measurements_codes_and_coordinates_stay() -> None:
    content = [
        item("NUM", code("121207"), MeasuredValueSequence=number("12.5")),
        item("CODE", code("121071"), ConceptCodeSequence=[code("72704001", "SCT", "Fracture")]),
        item("SCOORD", code("111030"), GraphicType="POINT", GraphicData=[1.5, 2.5]),
        item("UIDREF", code("112040"), UID=ROOT + ".9.1"),
        item("DATETIME", code("113809"), DateTime="20261026101500"),
        item("PNAME", code("121029"), PersonName="Quillfeather^Ottoline"),
        item("NUM", code("121033"), MeasuredValueSequence=number("97", "a")),
    ]
    result, produced = checked(encoded(document(content)), WORDS)
    kept = produced.ContentSequence
    assert [one.ValueType for one in kept] == ["NUM", "CODE", "SCOORD", "UIDREF", "DATETIME", "PNAME"]
    assert kept[0].MeasuredValueSequence[0].NumericValue == 12.5
    assert kept[1].ConceptCodeSequence[0].CodeValue == "72704001"
    assert list(kept[2].GraphicData) == [1.5, 2.5]
    assert IDENTITIES.uid(ROOT + ".9.1") == kept[3].UID
    assert kept[4].DateTime[8:] == "101500"
    assert kept[4].DateTime != "20261026101500"
    assert kept[5].PersonName == result.patient
    _, aged = checked(encoded(document(content)), Profile("aged", (*CONTENT.options, "retain_patient_characteristics")))
    assert aged.ContentSequence[-1].MeasuredValueSequence[0].NumericValue == 90


def test_acquisition_context_of_an_image_is_cleaned_item_by_item() -> None:
    def edit(dataset: Dataset) -> None:
        kept = item("NUMERIC", code("122146"), NumericValue="5")
        kept.MeasurementUnitsCodeSequence = [code("mm", "UCUM")]
        told = item("TEXT", code("121106"), TextValue="Quillfeather fracture")
        for one in (kept, told):
            del one.RelationshipType
        dataset.AcquisitionContextSequence = [told, kept]

    data = encoded(image(edit=edit))
    result, produced = checked(data, CONTENT)
    (left,) = produced.AcquisitionContextSequence
    assert left.NumericValue == 5
    assert ("113104", "Clean Structured Content Option") in result.codes
    _, cleaned = checked(data, WORDS)
    assert cleaned.AcquisitionContextSequence[0].TextValue == "[...] fracture"
    result, produced = checked(data, Profile.preset("basic"))
    assert len(produced.get("AcquisitionContextSequence", [])) == 0
    assert [value for value, _ in result.codes] == ["113100"]


def test_references_by_position_follow_their_items() -> None:
    target = Dataset()
    target.RelationshipType, target.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 2]
    lost = Dataset()
    lost.RelationshipType, lost.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1]
    content = [
        item("TEXT", code("121106"), TextValue="Quillfeather"),
        item("NUM", code("121207"), MeasuredValueSequence=number("12.5")),
        item("NUM", code("121206"), MeasuredValueSequence=number("1"), ContentSequence=[lost, target]),
    ]
    _, produced = checked(encoded(document(content)), CONTENT)
    assert len(produced.ContentSequence) == 2
    (left,) = produced.ContentSequence[1].ContentSequence
    assert list(left.ReferencedContentItemIdentifier) == [1, 1]


def test_full_dates_and_uids_stay_where_they_are_asked_for() -> None:
    content = [
        item("UIDREF", code("112040"), UID=ROOT + ".9.1"),
        item("DATETIME", code("113809"), DateTime="20261026101500"),
    ]
    result, produced = checked(encoded(document(content)), FULL)
    assert [value for value, _ in result.codes] == ["113100", "113110", "113106", "113104"]
    assert produced.ContentSequence[0].UID == ROOT + ".9.1"
    assert produced.ContentSequence[1].DateTime == "20261026101500"
    assert produced.StudyDate == "20261026"
    assert produced.SOPInstanceUID == ROOT + ".1.1.1"
    assert produced.LongitudinalTemporalInformationModified == "UNMODIFIED"
    assert result.shift_days == 0


@pytest.mark.parametrize("row", table("content_items"), ids=lambda row: f"{row['code']}-{row['value_type']}")
def test_every_row_of_the_table_of_content_items_is_served(row: dict[str, str]) -> None:
    concept = (row["scheme"], row["code"])
    basic, _ = action_of(concept, row["value_type"], CONTENT)
    assert basic is (Action.REMOVE if row["basic"] == "X" else Action.DUMMY)
    for option in list(row)[5:]:
        action, decided = action_of(concept, row["value_type"], Profile("one", (option,)))
        if row[option]:
            expected = Action.KEEP if row[option] == "K" else Action.SHIFT if "dates" in option else Action.CLEAN
            assert (action, decided) == (expected, option)
        else:
            assert (action, decided) == (basic, None)
    retired = next((old for old, new in snomed["SRT"].items() if concept == ("SCT", new)), None)
    if retired:
        assert action_of(("SRT", retired), row["value_type"], CONTENT)[0] is basic


LEAVES = ["TEXT", "NUM", "PNAME", "CODE", "UIDREF", "DATE", "local", "reference"]
TREES = st.recursive(st.sampled_from(LEAVES), lambda below: st.lists(below, min_size=1, max_size=4), max_leaves=25).map(
    lambda tree: tree if isinstance(tree, list) else [tree]
)


def grown(tree: list, needles: Planted, chance: st.DataObject) -> list[Dataset]:  # type: ignore[type-arg]
    items = []
    for node in tree:
        concept = code(chance.draw(st.sampled_from(["121071", "121106", "113809", "121029", "112040", "121207"])))
        match node:
            case list():
                items.append(item("CONTAINER", code("125007"), ContentSequence=grown(node, needles, chance)))
            case "local":
                items.append(item("NUM", code("1", "99LOCAL", needles.word()), MeasuredValueSequence=number("1")))
            case "reference":
                one = Dataset()
                path = chance.draw(st.lists(st.integers(1, 4), max_size=3))
                one.RelationshipType, one.ReferencedContentItemIdentifier = "INFERRED FROM", [1, *path]
                items.append(one)
            case "NUM":
                items.append(item("NUM", concept, MeasuredValueSequence=number("1")))
            case "CODE":
                items.append(item("CODE", concept, ConceptCodeSequence=[code("72704001", "SCT", needles.word())]))
            case "UIDREF":
                items.append(item("UIDREF", concept, UID=needles.uid()))
            case "DATE":
                items.append(item("DATE", concept, Date="19110703"))
            case _:
                items.append(item(node, concept, TextValue=needles.word(), PersonName=needles.word()))
    return items


def positions(items: list[Dataset], path: tuple[int, ...] = (1,)) -> Iterator[tuple[tuple[int, ...], Dataset]]:
    for number_, one in enumerate(items, 1):
        yield (*path, number_), one
        yield from positions(one.get("ContentSequence", []), (*path, number_))


@given(TREES, st.sampled_from([CONTENT, WORDS]), st.data())
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_trees_of_content_items(tree: list, profile: Profile, chance: st.DataObject) -> None:  # type: ignore[type-arg]
    needles = Planted()
    result, produced = checked(encoded(document(grown(tree, needles, chance))), profile)
    assert needles.in_(result.data) == []
    assert b"19110703" not in result.data
    places = dict(positions(produced.get("ContentSequence", [])))
    for one in places.values():
        if "ReferencedContentItemIdentifier" in one:
            target = one["ReferencedContentItemIdentifier"].value
            assert target == 1 or tuple(target) in places
        else:
            assert one.ConceptNameCodeSequence[0].CodingSchemeDesignator == "DCM"
    again = deidentify(result.data, profile, IDENTITIES)
    assert [path for path, _ in walk(read_file(again.data).elements)] == [
        path for path, _ in walk(read_file(result.data).elements)
    ]


def presentation(needles: Planted) -> Dataset:
    dataset = document([], GSPS)
    for keyword in ("ContentSequence", "ConceptNameCodeSequence", "ValueType", "ContinuityOfContent", "CompletionFlag",
                    "VerificationFlag", "PerformedProcedureCodeSequence",
                    "ReferencedPerformedProcedureStepSequence"):  # fmt: skip
        del dataset[keyword]
    dataset.Modality = "PR"
    dataset.ContentLabel, dataset.ContentDescription = "QUILLFEATHER", needles.word()
    dataset.ContentCreatorName = needles.word()
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = "20261026", "101500"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = needles.uid(), reference(needles.uid())
    dataset.ReferencedSeriesSequence = [series]
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [16, 16]
    area.PresentationSizeMode, area.PresentationPixelSpacing = "SCALE TO FIT", [0.5, 0.5]
    dataset.DisplayedAreaSelectionSequence = [area]
    dataset.PresentationLUTShape = "IDENTITY"
    layer, line, told, silent, mark, empty = (Dataset() for _ in range(6))
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = "DR GRAVEL", 1, needles.word()
    dataset.GraphicLayerSequence = [layer]
    line.GraphicAnnotationUnits, line.GraphicDimensions, line.NumberOfGraphicPoints = "PIXEL", 2, 2
    line.GraphicData, line.GraphicType, line.GraphicFilled = [1.0, 2.0, 3.0, 4.0], "POLYLINE", "N"
    told.UnformattedTextValue, silent.UnformattedTextValue = f"fracture {needles.word()}", needles.word()
    for one in (told, silent):
        one.AnchorPointAnnotationUnits, one.AnchorPoint, one.AnchorPointVisibility = "PIXEL", [1.0, 1.0], "N"
    mark.GraphicLayer = empty.GraphicLayer = "DR GRAVEL"
    mark.GraphicObjectSequence, mark.TextObjectSequence = [line], [told, silent]
    empty.TextObjectSequence = [silent]
    dataset.GraphicAnnotationSequence = [mark, empty]
    dataset.add_new(0x60000022, "LO", needles.word())
    dataset.add_new(0x60003000, "OW", needles.word().encode() + b" ")
    return dataset


def test_graphics_stay_and_their_text_is_cleaned_or_goes() -> None:
    needles = Planted()
    data = encoded(presentation(needles))
    for profile, texts in ((GRAPHICS, []), (WORDS, ["fracture"])):
        result, produced = checked(data, profile)
        assert needles.in_(result.data) == []
        assert b"GRAVEL" not in result.data
        assert b"QUILLFEATHER" not in result.data
        (annotation,) = produced.GraphicAnnotationSequence
        assert list(annotation.GraphicObjectSequence[0].GraphicData) == [1.0, 2.0, 3.0, 4.0]
        assert [one.UnformattedTextValue for one in annotation.get("TextObjectSequence", [])] == texts
        assert annotation.GraphicLayer == produced.GraphicLayerSequence[0].GraphicLayer == "LAYER1"
        assert ("113103", "Clean Graphics Option") in result.codes
        assert not any(element.tag.group == 0x6000 for element in produced)
        assert new_errors(data, result.data) == set()
    with pytest.raises(Held, match="Clean Graphics Option"):
        deidentify(data, CONTENT, IDENTITIES)


def new_errors(before: bytes, after: bytes) -> set[str]:
    """Errors that dciodvfy finds in the produced object only."""
    return _errors(after) - _errors(before)


def _errors(data: bytes) -> set[str]:
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(["dciodvfy", file.name], capture_output=True, text=True, check=False)
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}


def test_words_with_umlauts_are_read_as_they_were_written() -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SeriesDescription = "Schädel axial"

    for data, element in (
        (encoded(image(edit=edit)), "SeriesDescription"),
        (
            encoded(document([item("TEXT", code("121071"), TextValue="Fraktur der Hüfte")], edit=edit)),
            "ContentSequence",
        ),
    ):
        produced = checked(data, WORDS)[1]
        read = produced[element].value if element == "SeriesDescription" else produced.ContentSequence[0].TextValue
        assert read in ("Schädel axial", "Fraktur der Hüfte")


def test_an_item_that_went_as_a_whole_is_no_fault_and_one_without_its_value_is() -> None:
    """A text of which no word is left goes; that no text is left at its depth makes the report no worse."""
    gone = [item("TEXT", code("121106"), TextValue="Quillfeather"), item("CONTAINER", code("121070"), ContentSequence=[
        item("TEXT", code("121106"), TextValue="Quillfeather")])]  # fmt: skip
    data = encoded(document(gone))
    result, produced = checked(data, CONTENT)
    assert "TextValue" not in produced.ContentSequence[0]
    assert [one.ValueType for one in produced.ContentSequence] == ["CONTAINER"]
    assert new_faults(reread(data), reread(result.data)) == []
    kept = [item("TEXT", code("121071"), TextValue="Fracture"), item("TEXT", code("121106"), TextValue="Fracture")]
    before, broken = document(kept), document(kept)
    del broken.ContentSequence[1].TextValue
    faults = new_faults(reread(encoded(before)), reread(encoded(broken)))
    assert [fault.kind for fault in faults] == ["type-C lost"]
