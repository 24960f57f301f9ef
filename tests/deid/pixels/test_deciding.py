"""What is held, masked or released: by policy, device, what was found, and whether a face may be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from sluice.deid import gate
from sluice.deid.elements import read_file
from sluice.deid.held import Held
from sluice.deid.pixels import PixelPolicy, PixelTreatment, Rectangle, Screening, treatment_for
from sluice.deid.pixels.deciding import is_decided_by_file
from sluice.deid.pixels.devices import COLUMNS, DeviceRuleError, load_rules, rules_digest
from sluice.deid.profile import Profile
from tests.deid.pixels.pictures import CT, DX, SC, US, body, data_of, instance, regions

MR, PET = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
MASK, HOLD = PixelPolicy(text="mask"), PixelPolicy(text="hold")
CLEAN = Screening(is_complete=True)
FOUND = Screening(is_complete=True, text=(Rectangle(10, 5, 60, 12),))
RULE = "worksheet,{sop},*,ACME*,Scan 3,*,{rows},500,*,{action},{boxes},looked at 20 pictures,own,2026-11-26,because"


def decided(
    dataset: Dataset, policy: PixelPolicy = MASK, screened: Screening | None = CLEAN, **more: Any
) -> PixelTreatment:
    return treatment_for(read_file(data_of(dataset)), policy, screened, **more)


def reason(dataset: Dataset, policy: PixelPolicy = MASK, screened: Screening | None = CLEAN, **more: Any) -> str:
    with pytest.raises(Held) as held:
        decided(dataset, policy, screened, **more)
    return held.value.reason_code


def test_policy_defaults_look_at_nothing_and_hold_heads() -> None:
    assert PixelPolicy().model_dump() == {"text": "header", "one_in": 25, "heads": "hold", "claim": False}
    with pytest.raises(ValidationError, match="what nobody looked at"):
        PixelPolicy(claim=True)


def test_films_leave_by_what_was_found() -> None:
    film = instance(body())
    assert decided(film, PixelPolicy(), None) == PixelTreatment()
    assert reason(film, MASK, None) == reason(film, MASK, Screening()) == "held-text"
    assert reason(film, MASK, Screening(True, failed="truncated")) == "held-unreadable"
    assert decided(film) == PixelTreatment(screened=True)
    assert decided(film, PixelPolicy(text="mask", claim=True)).cleaned
    assert reason(film, HOLD, FOUND) == "held-text"
    assert decided(film, MASK, FOUND).masks == (Rectangle(6, 1, 68, 20),)


@pytest.mark.parametrize(
    ("policy", "screened", "by_file"),
    [
        (PixelPolicy(), None, True),
        (PixelPolicy(), Screening(region_key="CHEST"), True),
        (PixelPolicy(), Screening(region_key="SKULL"), False),  # taught since
        (PixelPolicy(heads="release"), Screening(region_key="SKULL"), True),
        (MASK, CLEAN, False),  # text may have been found in another slice since
    ],
)
def test_what_an_earlier_release_holds_may_be_named_again(
    policy: PixelPolicy, screened: Screening | None, by_file: bool
) -> None:
    assert is_decided_by_file(policy, screened) is by_file


def test_ultrasound_keeps_its_regions_only() -> None:
    picture = body(400, 500).astype(np.uint8)
    scan = instance(picture, US, regions((100, 50, 399, 349)))
    treatment = decided(scan)
    blank = np.zeros((400, 500), bool)
    for mask in treatment.masks:
        blank[mask.top : mask.bottom, mask.left : mask.right] = True
    assert not blank[50:350, 100:400].any()
    assert blank.sum() == 400 * 500 - 300 * 300
    assert decided(scan, HOLD, FOUND).masks == treatment.masks  # what is masked by the rule is no finding
    within = Screening(True, text=(Rectangle(200, 200, 40, 10),))
    assert reason(scan, HOLD, within) == "held-text"
    assert len(decided(scan, MASK, within).masks) == len(treatment.masks) + 1
    unseen = decided(scan, PixelPolicy(), None)
    with pytest.raises(Held, match="held-class"):
        gate.check(read_file(data_of(scan)), Profile.preset("basic"), screened=unseen.screened)


@pytest.mark.parametrize("box", [(0, 0, 600, 100), (50, 50, 50, 90)])
def test_ultrasound_without_usable_regions_is_held(box: tuple[int, int, int, int]) -> None:
    picture = body(400, 500).astype(np.uint8)
    assert reason(instance(picture, US)) == "held-device"
    assert reason(instance(picture, US, regions(box))) == "held-device"


def capture(**attributes: str) -> Dataset:
    def edit(dataset: Dataset) -> None:
        dataset.Manufacturer, dataset.ManufacturerModelName = "ACME Medical", "Scan 3"
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        for name, value in attributes.items():
            setattr(dataset, name, value)

    return instance(body().astype(np.uint8), SC, edit)


def rules_of(folder: Path, *lines: str) -> tuple[Any, ...]:
    (folder / "ours.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n", encoding="utf-8")
    return load_rules(folder)


def test_a_capture_needs_a_rule_for_its_device(tmp_path: Path) -> None:
    assert reason(capture()) == "held-device"
    masking = rules_of(tmp_path, RULE.format(sop=SC, rows=400, action="mask", boxes="0 0 500 40; 0 380 90 20"))
    treatment = decided(capture(), rules=masking)
    assert treatment.masks == (Rectangle(0, 0, 500, 40), Rectangle(0, 380, 90, 20))
    assert treatment.screened
    assert reason(capture(Manufacturer="Other"), rules=masking) == "held-device"
    assert reason(capture(ImageType="DERIVED\\SECONDARY\\DOSE PAGE"), rules=load_rules()) == "held-device"
    holding = rules_of(tmp_path, RULE.format(sop="*", rows="*", action="hold", boxes=""))
    assert reason(capture(), rules=holding) == "held-device"
    digest = rules_digest(tmp_path)
    (tmp_path / "more.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    assert rules_digest(tmp_path) != digest


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (RULE.format(sop=SC, rows=400, action="blur", boxes=""), "no action 'blur'"),
        (RULE.format(sop=SC, rows=400, action="mask", boxes=""), "mask needs at least one"),
        (RULE.format(sop=SC, rows=400, action="mask", boxes="0 0 500"), "left top width height"),
        (RULE.format(sop=SC, rows=400, action="mask", boxes="0 0 500 -4"), "left top width height"),
        (
            RULE.format(sop=SC, rows="*", action="mask", boxes="0 0 5 4"),
            "must name sop_class, manufacturer, model, rows",
        ),
        (RULE.format(sop="*", rows=400, action="release", boxes=""), "must name sop_class"),
        (RULE.format(sop=SC, rows=400, action="hold", boxes="").replace("own,", ","), "licence is empty"),
        (RULE.format(sop=SC, rows=400, action="hold", boxes="").replace("2026-11-26", "soon"), "no date"),
        ("too,short", "15 cells"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(DeviceRuleError, match=says):
        rules_of(tmp_path, line)


def test_shipped_rules_load() -> None:
    assert {rule.action for rule in load_rules()} <= {"regions", "hold"}


@pytest.mark.parametrize(
    ("said", "faces"),
    [
        ({"BodyPartExamined": "HEAD", "StudyDescription": ""}, True),
        ({"BodyPartExamined": "BRAIN", "StudyDescription": ""}, True),
        ({"BodyPartExamined": "CSPINE", "StudyDescription": ""}, True),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "Polytrauma Schädel Thorax"}, True),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "SINUS 1.0"}, True),
        ({"BodyPartExamined": "", "StudyDescription": "Test"}, True),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "CT Thorax"}, False),
        ({"BodyPartExamined": "KNEE", "StudyDescription": "Knie rechts"}, False),
    ],
)
@pytest.mark.parametrize("sop_class", [CT, MR, PET])
def test_volumes_that_may_show_a_face_are_held(said: dict[str, str], faces: bool, sop_class: str) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        for name, value in said.items():
            setattr(dataset, name, value)

    scan = instance(body(), sop_class, edit, modality={CT: "CT", MR: "MR"}.get(sop_class, "PT"))
    for policy in (PixelPolicy(), MASK):
        if faces:
            assert reason(scan, policy) == "held-face"
        else:
            assert decided(scan, policy).masks == ()
    assert not decided(scan, PixelPolicy(heads="release")).defaced


def test_faces_are_sought_in_volumes_that_are_large_enough_and_by_what_people_taught() -> None:
    def edit(dataset: Dataset) -> None:
        dataset.StudyDescription = "X17"

    scan = instance(body(), CT, edit)
    assert reason(scan, PixelPolicy(), None) == "held-face"
    assert decided(scan, PixelPolicy(), Screening(region_key="CHEST")) == PixelTreatment()
    assert reason(scan, PixelPolicy(), Screening(region_key="SKULL")) == "held-face"
    assert decided(instance(body(), DX, edit), PixelPolicy(), None) == PixelTreatment()  # a projection has no surface
    small = instance(body(100, 100), CT, edit)
    assert decided(small, PixelPolicy(), None) == PixelTreatment()
