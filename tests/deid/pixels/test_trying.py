"""`sluice pixels check`: faults of rules by line, and what rules do to files, without a word about patients."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from sluice.__main__ import main
from sluice.deid.pixels.devices import COLUMNS, DeviceRuleError, load_rules
from sluice.deid.pixels.trying import read_rules
from tests.deid.pixels.pictures import SC, US, body, data_of, instance, regions

MASK = (
    f"banner,{SC},*,ACME*,Scan 3,*,400,500,*,mask,0 0 500 40; 10 380 100 20,"
    "looked at 20 pictures,own,2026-11-26,a banner"
)


def folder(tmp_path: Path, *lines: str, name: str = "ours.csv") -> Path:
    place = tmp_path / "rules"
    place.mkdir(exist_ok=True)
    (place / name).write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return place


def picture(
    tmp_path: Path, manufacturer: str = "ACME GmbH", sop_class: str = SC, name: str = "MUELLER_ANNA.dcm"
) -> Path:
    dataset = instance((body(400, 500) // 16).astype(np.uint8), sop_class)
    dataset.Manufacturer, dataset.ManufacturerModelName = manufacturer, "Scan 3"
    dataset.PatientName, dataset.PatientID = "Mueller^Anna", "PID-4711"
    path = tmp_path / name
    path.write_bytes(data_of(dataset))
    return path


def test_every_fault_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [
        MASK,
        MASK.replace("banner,", "later,").replace("mask,0 0 500 40; 10 380 100 20", "hold,"),
        MASK.replace("banner,", "beside,").replace("10 380 100 20", "450 0 100 20"),
        MASK.replace("banner,", "below,").replace("10 380 100 20", "0 390 10 20"),
        MASK.replace("banner,", "any,").replace("ACME*", "*"),
        MASK.replace("2026-11-26", "yesterday").replace("banner,", "undated,"),
        MASK,
    ]
    assert main(["pixels", "check", str(folder(tmp_path, *wrong))]) == 1
    said = capsys.readouterr().out.splitlines()
    for line, words in (
        (3, "'later' never decides: 'banner' (ours.csv, line 2)"),
        (4, "ends at right 550, and the picture has 500 columns"),
        (5, "ends at bottom 410, and the picture has 400 rows"),
        (6, "must name"),
        (7, "reviewed is no date"),
        (8, "'banner' is there twice"),
    ):
        assert any(one.startswith(f"ours.csv, line {line}:") and words in one for one in said), (line, said)
    assert not any("line 2:" in one for one in said)
    with pytest.raises(DeviceRuleError, match="line 4"):  # a release stops at it
        load_rules(tmp_path / "rules")


def test_what_ships_has_no_fault(tmp_path: Path) -> None:
    rules, faults = read_rules(folder(tmp_path))
    assert faults == []
    assert len(rules) == len(load_rules())
    with pytest.raises(DeviceRuleError, match="does not exist"):
        read_rules(tmp_path / "nowhere")


def test_what_a_rule_does_to_a_file_and_nothing_of_the_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, shots = folder(tmp_path, MASK), tmp_path / "previews"
    (tmp_path / "empty.dcm").write_bytes(b"MUELLER")
    scan = instance(body(400, 500).astype(np.uint8), US, regions((100, 50, 399, 349)))
    (tmp_path / "us.dcm").write_bytes(data_of(scan))
    paths = [picture(tmp_path), picture(tmp_path, "Other", name="2.dcm"), tmp_path / "us.dcm", tmp_path / "empty.dcm"]
    arguments = ["pixels", "check", str(ours), *map(str, paths), "--previews", str(shots)]
    assert main(arguments) == 3
    said = capsys.readouterr().out
    assert "1 rules of the hospital" in said
    assert "rule banner (ours.csv, line 2): blanked are 11.0% of the picture: 0 0 500 40; 10 380 100 20" in said
    assert "no rule: held-device: no rule for its device" in said
    assert "rule us-regions (devices.csv, line 3): blanked are 55.0% of the picture" in said
    assert "file 4: held-unreadable" in said
    for identifier in ("mueller", "anna", "4711", str(tmp_path).lower()):
        assert identifier not in said.lower()
    assert sorted(path.name for path in shots.iterdir()) == ["001.png", "003.png"]
    drawn = cv2.imread(str(shots / "001.png"))
    assert drawn.shape == (400, 500, 3)
    assert not drawn[1:39, 1:499].any()
    assert drawn[0, 0].tolist() == [64, 64, 255]
    assert drawn[200].any()
    assert stat.S_IMODE((shots / "001.png").stat().st_mode) == 0o600
    assert stat.S_IMODE(shots.stat().st_mode) == 0o700
    assert main(["pixels", "check", str(ours), str(paths[0])]) == 0


def test_text_that_a_rule_leaves_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.full((400, 500), 20, np.uint8)
    cv2.putText(pixels, "MUELLER ANNA", (20, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 2)
    cv2.putText(pixels, "PID 4711", (150, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 250, 2)
    dataset = instance(pixels, SC)
    dataset.Manufacturer, dataset.ManufacturerModelName = "ACME", "Scan 3"
    path = tmp_path / "one.dcm"
    path.write_bytes(data_of(dataset))
    assert main(["pixels", "check", str(folder(tmp_path, MASK)), str(path), "--read"]) == 0
    said = capsys.readouterr().out
    assert "text is left at 1 places" in said
    assert "MUELLER" not in said
    assert "4711" not in said
