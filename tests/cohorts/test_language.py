"""The filter language: what it reads, what it refuses and where, and that its canonical form is one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.language import as_json, digest, parse, parse_text
from sluice.cohorts.wording import conditions, describe

WHOLE = """
all:
  - modality: [CT, MR]
  - study_date: {from: 2026-01-01, to: 2026-06-30}
  - age: {between: [18, 65]}
  - body_part: {is: CHEST, by: header}
  - not: {quality: {held: true}}
  - any:
      - slice_thickness: {max: 1.5}
      - {tag: "0018,0081", is: {max: 30}}
  - prediction: {task: ivc_filter, label: present, score: {min: 0.9}}
  - prediction: {task: body_part, view: [AP, PA]}
  - patient_has: {modality: CT, days_before: {between: [30, 365]}}
  - AnatomicRegionSequence.CodeValue: T-D3000
  - {tag: "0019,xx0C", creator: SIEMENS MR HEADER, min: 1000}
"""


def test_canonical_form_is_read_as_the_same_filter() -> None:
    expression = parse_text(WHOLE)
    written = as_json(expression)
    assert as_json(parse(written)) == written
    assert digest(parse(written)) == digest(expression)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("modality: [MR, CT]", "any: [{modality: {is: [CT, MR, CT]}}]"),
        ("{modality: CT, age: {min: 18, max: 65}}", "all: [{all: [{age: {between: [18, 65]}}]}, {modality: CT}]"),
        ("not: {not: {rows: 512}}", "rows: {one_of: [512]}"),
        ("study_date: 2026-01-01", "study_date: {from: 2026-01-01, to: '2026-01-01'}"),
        ("EchoTime: {max: 30}", '{tag: "(0018,0081)", is: {max: 30.0}}'),
        ("sop_class: CT Image Storage", "sop_class: 1.2.840.10008.5.1.4.1.1.2"),
        ("age: 3", "age: {is: [3]}"),
    ],
)
def test_ways_of_writing_one_filter(one: str, other: str) -> None:
    assert digest(parse_text(one)) == digest(parse_text(other))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty; write {} where everything is meant."),
        ("[{modality: CT}]", "a condition is a mapping, like {modality: CT}."),
        ("modalty: CT", "modalty: there is no such field. Did you mean modality?"),
        ("all: [{sex: F}, {age: {between: [65, 18]}}]", "all[1].age.between: two numbers, lowest first."),
        ("age: {min: 3, max: 2}", "age: min is beyond max, so nothing would match."),
        ("age: {minn: 3}", "age.minn: no operator of a number; it takes is, one_of, min, max, above, below, between, "
         "missing, present. Did you mean min?"),
        ("age: {is: 3, one_of: [4]}", "age.one_of: says is a second time."),
        ("age: .nan", "age: a finite number."),
        ("accession_number: 0123", "accession_number: a text, not a number. Write it in quotes."),
        ("study_date: {from: Tuesday}", "study_date.from: a date like 2026-10-26, not a text."),
        ("study_date: {last_days: 0}", "study_date.last_days: a whole number from 1 to 40000."),
        ("modality: []", "modality: the list is empty, so nothing would match."),
        ("any: []", "any: the list is empty, so nothing would match."),
        ("EchoTme: {max: 3}", "EchoTme: there is no element 'EchoTme'. Did you mean EchoTime?"),
        ("PixelData: x", "PixelData: PixelData has no values to filter by (OB or OW)."),
        ("EchoTime.CodeValue: x", "EchoTime.CodeValue: EchoTime is no sequence, so nothing can stand inside it."),
        ('{tag: "0019,100C", min: 3}', 'tag: a private tag is asked for alone, with its creator: '
         '{tag: "0019,xx0C", creator: "SIEMENS MR HEADER"}.'),
        ('{tag: "0019,xx0C", creator: Nobody, min: 3}',
         "tag: 0019,xx0C is not in the dictionary; add its vr, like vr: DS."),
        ('tag: "0018,0081"', "tag: say what is asked of it, like min: 30, is: AXIAL or present: true."),
        ("body_part: THORAXX", "body_part: no body part 'THORAXX'."),
        ("body_part: {is: CHEST, by: heather}",
         "body_part.by: one of header, examined, visible, union, intersection, fused. Did you mean header?"),
        ("quality: {severity: halt}", "quality.severity: one of warn, quarantine, stop."),
        ("prediction: {label: present}",
         "prediction: a mapping like {task: ivc_filter, label: present, score: {min: 0.9}}."),
        ("prediction: {task: body_part, view: LATERALS}",
         "prediction.view: one of AP, PA, LATERAL. Did you mean LATERAL?"),
        ("text_label: pneumonia",
         "text_label: labels from reports are not read yet, so nothing can be filtered by them."),
        ("series_has: {instances: {missing: true}}",
         "series_has.instances: a number is never missing here; use min, max or between."),
        ("a: [", "line 1, column 5: no YAML: expected the node content, but found '<stream end>'."),
        ("study_date: 2026-13-01", "no YAML: a value in it, like a date, is impossible."),
        ("{a: &x {modality: CT}, b: *x}", "line 1, column 27: no YAML: aliases (*name) are not taken; write it out."),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_text(text)
    assert str(raised.value) == message


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_text("all: [{modalty: CT}, {not: {age: young}}]")
    assert [fault.place for fault in raised.value.faults] == ["all[0].modalty", "all[1].not.age"]


def test_depth_and_size_are_limited() -> None:
    deep: Any = {"modality": "CT"}
    for _ in range(40):
        deep = {"not": deep}
    with pytest.raises(ExpressionError, match="nested more than 16 deep"):
        parse(deep)
    with pytest.raises(ExpressionError, match="more than 500 conditions"):
        parse({"any": [{"rows": number} for number in range(600)]})
    with pytest.raises(ExpressionError, match="too deep"):
        parse_text("[" * 3_000 + "]" * 3_000)
    with pytest.raises(ExpressionError, match="at most 10000"):
        parse({"rows": list(range(10_001))})


@pytest.mark.parametrize(
    "text",
    [
        "patient_id: X1",
        "PatientID: X1",
        "series_has: {study_uid: 1.2.3}",
        '{tag: "0009,xx01", creator: A, vr: LO, is: b}',
        '{tag: "0008,FFFE", vr: LO, is: b}',
        "VerifyingObserverName: {contains: b}",
        "ReferencedSOPInstanceUID: 1.2.3",
        "ServiceEpisodeID: b",
        "ClinicalTrialSubjectID: b",
        "RequestAttributesSequence.RequestedProcedureID: b",
    ],
)
def test_identifiers_are_only_for_who_may_see_them(text: str) -> None:
    parse_text(text)
    with pytest.raises(ExpressionError, match="identifies patients"):
        parse_text(text, sensitive=False)


@pytest.mark.parametrize("name", ["SOPClassUID", "EchoTime", "PatientAge", "ReferencedSOPClassUID"])
def test_what_identifies_nobody_is_for_all(name: str) -> None:
    parse({name: {"present": True}}, sensitive=False)


def test_mistakes_do_not_repeat_what_may_name_a_patient() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_text("{birth_date: 'Doe^Jane', age: 'Doe^Jane', burned_in: 'Doe^Jane'}")
    assert "Doe" not in str(raised.value)


def test_described_in_english() -> None:
    assert describe(parse({})) == "All instances."
    assert describe(parse_text("{modality: [MR, CT], age: {between: [18, 65]}, not: {quality: {held: true}}}")) == (
        "Instances where modality is CT or MR, and age is from 18 to 65 years, and not (held by a quality rule)."
    )
    assert len(conditions(parse(yaml.safe_load(WHOLE)))) == 11


@pytest.mark.parametrize(
    "text",
    [
        "{not: {all: [{not: {modality: CT}}]}}",
        "{all: [{sex: F}, {any: [{all: [{modality: CT}, {age: 3}]}]}]}",
        "{any: [{sex: F}, {all: [{any: [{modality: CT}, {age: 3}]}]}]}",
        '{tag: "0008,FFFE", vr: DS, min: 3}',
    ],
)
def test_canonical_form_stays_the_same_when_it_is_read_again(text: str) -> None:
    written = as_json(parse_text(text))
    assert as_json(parse(written)) == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modality: CT\nmodality: MR", "line 2, column 1: no YAML: the same key a second time"),
        ("{study_has: {modality: CT}, study_has: {modality: MR}}", "the same key a second time"),
        ("{<<: {modality: CT}, modality: MR}", "merge keys"),
        ("{a: &x {modality: CT}, b: *x}", "aliases"),
        ("[" * 1_000_000, "nested too deep"),
        (f"{{age: {{min: 1{'0' * 400}}}}}", "a finite number"),
        ('{modality: "\\uD800"}', "without NUL"),
    ],
)
def test_hostile_or_ambiguous_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(said)):
        parse_text(text)
