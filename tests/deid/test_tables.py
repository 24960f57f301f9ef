"""Every row of Table E.1-1 is served: the engine's outcome against an independent reading of the row."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from sluice.deid.elements import Element, dictionary_vr, read_file, write_file
from sluice.deid.engine import deidentify
from sluice.deid.identities import Identities
from sluice.deid.profile import CHARACTERISTICS, Action, Profile, ProfileError, resolve
from sluice.deid.tables import edition, table
from tests.deid.planted import encoded, image

IDENTITIES = Identities(bytes(range(32)), "TST")
SHARED_TABLE = Path(__file__).resolve().parents[3] / "shared" / "standard" / "ps3.15_E.1-1_2026c.csv"
# Values that are valid, telling, and that no rule could produce.
VALUES = {
    "AE": "ZQTITLE", "AS": "071Y", "CS": "ZQCODE", "DA": "19110703", "DT": "19110703112233", "TM": "112233.445",
    "DS": "71.125", "IS": "71125", "LO": "zq name", "LT": "zq name", "PN": "Zq^Name", "SH": "zq name", "ST": "zq name",
    "UC": "zq name", "UI": "1.2.826.0.1.3680043.9.9999.77", "UR": "http://zq.example", "UT": "zq name",
    "OB": b"zq__zq__", "OW": b"zq__zq__", "UN": b"zq__zq__", "US": 7113, "SS": 7113, "UL": 7113, "SL": 7113,
    "FL": 71.125, "FD": 71.125, "OF": b"zq__zq__", "OD": b"zq__zq__", "UV": 7113, "SV": 7113,
}  # fmt: skip
SET_BY_US = {0x00100010, 0x00100020, 0x00080018, 0x0020000D, 0x0020000E, 0x00080050, 0x00120062, 0x00120063}


def rows() -> list[dict[str, str]]:
    """Rows of one attribute each; ranges and the groups 0000, 0002, 0004 have their own test."""
    return [row for row in table("basic_profile") if re.fullmatch("(?!000[024])[0-9a-f]{8}", row["tag"])]


def value_of(tag: int, vr: str) -> object:
    if vr != "SQ":
        return VALUES[vr.split(" or ")[0]]
    item = Dataset()
    item.PatientComments = "zq name"
    item.ReferencedSOPInstanceUID = VALUES["UI"]
    item.InstitutionName = "zq name"
    return [item]


def outcome(tag: int, vr: str, profile: Profile) -> tuple[object, object]:
    """The value that went in and the one that came out (None where the attribute is gone)."""
    dataset = image()
    written = "OB" if " or " in vr and "O" in vr.split(" or ")[0] else vr.split(" or ")[0]
    dataset.add(DataElement(tag, written, value_of(tag, vr)))
    before = dataset[tag].value
    produced = pydicom.dcmread(io.BytesIO(deidentify(encoded(dataset), profile, IDENTITIES).data))
    return before, produced[tag].value if tag in produced else None


def is_empty(value: object) -> bool:
    return value is None or value in ("", b"") or (hasattr(value, "__len__") and len(value) == 0)


def test_table_is_the_published_one() -> None:
    assert edition()["edition"] == "2026c"
    assert edition()["rows"]["basic_profile"] == len(table("basic_profile")) == 656
    assert edition()["rows"]["safe_private"] == len(table("safe_private")) == 479


def test_table_agrees_with_its_source() -> None:
    if not SHARED_TABLE.is_file():
        pytest.skip("no ../shared/standard beside this checkout")
    with SHARED_TABLE.open(newline="", encoding="utf-8") as file:
        source = {row["tag"]: row for row in csv.DictReader(file)}
    ours = {row["name"]: row for row in table("basic_profile")}
    assert len(source) == 656
    for row in source.values():
        assert ours[row["name"]]["basic"] == row["basic"]
        for option in list(row)[5:]:
            assert ours[row["name"]][option] == row[option]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["tag"])
def test_every_row_is_served_by_the_basic_profile(row: dict[str, str]) -> None:
    tag, vr = int(row["tag"], 16), dictionary_vr(int(row["tag"], 16)) or row["vr"]
    before, after = outcome(tag, vr, Profile.preset("basic"))
    code = row["basic"]
    if tag in SET_BY_US:
        assert after != before
        return
    if code == "X":
        assert after is None
        return
    if vr == "SQ":
        assert "zq" not in str(after)
        assert VALUES["UI"] not in str(after)
        return
    assert after != before
    if code == "Z":
        assert after is not None  # zero length, or a dummy
    if code in ("D", "U"):
        assert after is not None
        assert not is_empty(after)
    if code == "U":
        assert str(after).startswith("2.25.")
    if after is None:
        assert "X" in code.split("/")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["tag"])
def test_every_row_is_served_by_the_longitudinal_profile(row: dict[str, str]) -> None:
    profile = Profile.preset("longitudinal")
    tag, vr = int(row["tag"], 16), dictionary_vr(int(row["tag"], 16)) or row["vr"]
    before, after = outcome(tag, vr, profile)
    chosen = {option: row[option] for option in profile.options if row[option]}
    if set(chosen.values()) == {"K"} and "retain_device_identity" in chosen and vr not in ("SQ", "UI", "UN"):
        assert after == before
    elif vr in ("DA", "DT") and "retain_longitudinal_modified_dates" in chosen and len(chosen) == 1:
        assert str(after)[:8].isdigit()
        assert str(after) < str(before)
    elif vr == "TM" and set(chosen) == {"retain_longitudinal_modified_dates"}:
        assert after == before  # whole days: the time of day stays
    elif vr != "SQ" and vr not in ("AS", "CS", "DS", "US") and tag not in SET_BY_US:
        assert after != before or after is None
    kept_as_typed = [option for option, code in chosen.items() if code == "K" and option != CHARACTERISTICS]
    assert "zq name" not in str(after) or kept_as_typed


def test_ranges_commands_and_directories_are_always_removed() -> None:
    others = {row["tag"] for row in table("basic_profile")} - {row["tag"] for row in rows()}
    assert others == {"00001000", "00001001", "00020003", "00041511", "50xxxxxx", "60xx3000", "60xx4000", "odd"}
    planted = {
        0x00001000: b"1.2.3.77", 0x00001001: b"1.2.3.77", 0x00041511: b"1.2.3.77", 0x00041130: b"zq", 0x50000022: b"zq",
        0x50FE3000: b"zq", 0x60003000: b"zq", 0x60004000: b"zq", 0x60000022: b"zq", 0x60021500: b"zq",
        0x601E1500: b"zq",
        0x00090010: b"zq creator", 0x00091001: b"zq", 0x00080001: b"zq", 0xFFFCFFFC: b"zq",
    }  # fmt: skip
    file = read_file(encoded(image()))
    for tag, value in planted.items():
        file.elements[tag] = Element(tag, "LO", value)
    meta = {0x00020010: Element(0x00020010, "UI", b"1.2.840.10008.1.2.1")}
    data = deidentify(write_file(meta, file.elements), Profile.preset("longitudinal"), IDENTITIES).data
    assert not set(planted) & set(read_file(data).elements)
    assert b"zq" not in data
    assert b"1.2.3.77" not in data


@pytest.mark.parametrize(
    ("code", "kind", "action"),
    [
        ("X/Z", "3", Action.REMOVE), ("X/Z", "2", Action.EMPTY), ("X/Z", "1", Action.DUMMY),
        ("X/Z", None, Action.REMOVE),
        ("X/D", "3", Action.REMOVE), ("X/D", "2C", Action.DUMMY), ("X/D", "1C", Action.DUMMY),
        ("X/Z/D", "3", Action.REMOVE), ("X/Z/D", "2", Action.EMPTY), ("X/Z/D", "1", Action.DUMMY),
        ("Z/D", "2", Action.EMPTY), ("Z/D", "1", Action.DUMMY), ("Z/D", "3", Action.EMPTY), ("Z/D", None, Action.DUMMY),
        ("X/Z/U*", "3", Action.REMOVE), ("X/Z/U*", "2", Action.EMPTY), ("X/Z/U*", "1C", Action.UID),
        ("Z", "1", Action.DUMMY), ("Z", "2", Action.EMPTY), ("X", "1", Action.DUMMY), ("X", "2", Action.EMPTY),
        ("X", "1C", Action.REMOVE), ("X", None, Action.REMOVE), ("U", "1", Action.UID),
    ],
)  # fmt: skip
def test_compound_codes_follow_the_type(code: str, kind: str | None, action: Action) -> None:
    assert resolve(code, kind) is action


def test_type_depends_on_the_iod() -> None:
    basic = Profile.preset("basic")
    acquisition = 0x0008002A  # Acquisition DateTime, X/Z/D
    actions = {iod: basic.rule(acquisition, iod) for iod in ("enhanced-ct-image", "ct-image")}
    assert actions["enhanced-ct-image"] is not None
    assert actions["enhanced-ct-image"].action is Action.DUMMY
    assert actions["ct-image"] is not None
    assert actions["ct-image"].action is Action.REMOVE


def test_second_layer_holds_no_free_text_and_no_ruled_tag() -> None:
    ruled = {row["tag"] for row in table("basic_profile")}
    for row in table("allowed"):
        assert row["tag"] not in ruled
        assert row["vr"] not in {"LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE", "DA", "DT", "TM", "UN"}
        assert row["reason"]
    for row in table("reviewed"):
        assert row["reason"], row["keyword"]
        if row["kind"] not in ("refused", "terms", "coded", "number", "code", "D", "layer"):
            assert row["pattern"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("retain_everything",), "There is no option retain_everything. Use any of: retain_safe_private"),
        (("retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"), "exclude each other"),
        (("clean_pixel_data",), "the project's rule for pixels"),
        (("retain_uids", "retain_uids"), "twice"),
    ],
)
def test_illegal_options_are_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        Profile("own", options)


def test_unknown_presets_name_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="basic, longitudinal, public"):
        Profile.preset("publik")


def test_device_dates_are_not_moved_by_the_patients_shift() -> None:
    both = [row for row in rows() if row["retain_device_identity"] and row["retain_longitudinal_modified_dates"]]
    assert len(both) == 11
    for row in both:
        rule = Profile.preset("longitudinal").rule(int(row["tag"], 16), "ct-image")
        assert rule is not None
        assert rule.action is not Action.SHIFT
