"""The profile: what happens to each attribute, by tag, for one kind of object. Deny by default.

Layer one is PS3.15 Table E.1-1 with the options of the profile. Layer two is the reviewed allow-list of
technical attributes that have no row there (`tables/allowed.csv`, `tables/reviewed.csv`). What neither layer
keeps is removed: private elements, retired groups, newer attributes, free text without a rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, lru_cache
from typing import Any

from sluice.deid.elements import dictionary_vr
from sluice.deid.tables import edition, table


class ProfileError(RuntimeError):
    """The profile cannot be used; the message says what to do."""


class Action(Enum):
    """What happens to an attribute (PS3.15 Table E.1-1a, and the kinds of the second layer)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    KEEP = "K"
    CLEAN = "C"  # text: known terms only; a sequence: its items cleaned
    SHIFT = "shift"  # dates moved by the patient's shift
    RECURSE = "recurse"
    NUMBER = "number"
    CODE = "code"  # code string
    BULK = "bulk"  # pixel data and lookup tables
    CLASS_UID = "class-uid"  # kept where it is registered in PS3.6, else removed
    PATTERN = "pattern"
    TERMS = "terms"  # words of the kinds that the rule's pattern names
    CODED = "coded"  # code value, scheme, meaning: by the item as a whole


@dataclass(frozen=True, slots=True)
class Rule:
    """The effective rule of an attribute.

    Attributes:
        fallback: what happens where the action cannot be carried out on the value at hand.
        vr: by the dictionary.
        source: the table row that it follows from, for people.
    """

    action: Action
    fallback: Action
    vr: str
    source: str
    pattern: re.Pattern[str] | None = None


# Column of E.1-1 → CID 7050 code and meaning. Options that are not listed are not offered in this version.
OPTIONS = {
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_device_identity": ("113109", "Retain Device Identity Option"),
    "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_longitudinal_modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
}
BASIC = ("113100", "Basic Application Confidentiality Profile")
PRESETS = {
    "basic": (),
    "longitudinal": (
        "retain_longitudinal_modified_dates",
        "retain_patient_characteristics",
        "retain_device_identity",
        "clean_descriptors",
    ),
}
DATES = "retain_longitudinal_modified_dates"
TEMPORAL = frozenset({"DA", "DT", "TM"})
DESCRIPTOR_TERMS = re.compile("anatomy|technique")


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with options.

    Args:
        name: of the preset, or of the project's own choice.
        options: columns of Table E.1-1, as in `OPTIONS`.

    Raises:
        ProfileError: an option that this version does not offer.
    """

    name: str
    options: tuple[str, ...] = ()
    _rules: dict[str, dict[int, Rule | None]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - set(OPTIONS))
        if unknown:
            raise ProfileError(
                f"Profile {self.name!r} asks for {', '.join(unknown)}. This version offers: {', '.join(OPTIONS)}."
            )

    @classmethod
    def preset(cls, name: str) -> Profile:
        """One of `PRESETS`."""
        if name not in PRESETS:
            raise ProfileError(f"There is no profile {name!r}. Use one of: {', '.join(PRESETS)}.")
        return cls(name, PRESETS[name])

    @property
    def shifts_dates(self) -> bool:
        """Whether dates are kept, moved by the patient's shift."""
        return DATES in self.options

    @property
    def keeps_safe_private(self) -> bool:
        """Whether the private elements of Table E.3.10-1 are kept."""
        return "retain_safe_private" in self.options

    def codes(self) -> list[tuple[str, str]]:
        """CID 7050 codes and meanings of what this profile does to every instance that it releases."""
        return [BASIC, *(OPTIONS[option] for option in OPTIONS if option in self.options)]

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the profile."""
        tables = edition()
        return {
            "name": self.name,
            "options": sorted(self.options),
            "codes": [code for code, _ in self.codes()],
            "standard": tables["standard"],
            "edition": tables["edition"],
            "tables_sha256": tables["tables_sha256"],
        }

    def rule(self, tag: int, iod: str) -> Rule | None:
        """The rule of a tag in an object of this IOD; None where nothing keeps it."""
        rules = self._rules.setdefault(iod, {})
        if tag not in rules:
            rules[tag] = self._find(tag, iod)
        return rules[tag]

    def _find(self, tag: int, iod: str) -> Rule | None:
        group = tag >> 16
        if group & 1 or group <= 0x0004 or not tag & 0xFFFF or 0x5000 <= group <= 0x50FF:
            return None
        if 0x6000 <= group <= 0x60FF:  # the whole overlay: descriptions and labels have no row of their own
            return None
        row = _first_layer().get(tag)
        return self._of_row(row, tag, iod) if row else _second_layer().get(tag)

    def _of_row(self, row: dict[str, str], tag: int, iod: str) -> Rule:
        basic = resolve(row["basic"], types(iod).get(tag))
        action = self._by_options(row, basic)
        vr = dictionary_vr(tag) or row["vr"]
        return Rule(action, basic, vr, f"E.1-1 {row['basic']}")

    def _by_options(self, row: dict[str, str], basic: Action) -> Action:
        """The options' action; the most reserved of those that apply.

        A date that describes the device (calibration, installation) is known outside: moved by the patient's
        shift it would tell the shift, kept it would be no modified date. Such rows keep the Basic action.
        """
        chosen = {option: row[option] for option in self.options if row[option]}
        if not chosen:
            return basic
        if row[DATES]:
            return Action.SHIFT if DATES in chosen and not row["retain_device_identity"] else basic
        if "C" in chosen.values():
            return Action.CLEAN if chosen.get("clean_descriptors") == "C" else basic
        return Action.KEEP


def resolve(basic: str, attribute_type: str | None) -> Action:
    """The one action of a Basic Profile code, by the attribute's Type in the IOD (PS3.15 E.1.1).

    A conditional Type counts as the unconditional one, since the condition is not machine-readable. An attribute that
    is not of the IOD, or whose IOD is unknown, may always be removed (note to E.1.1); codes without X then take D.
    """
    kind = (attribute_type or "").rstrip("C")
    if basic == "X/Z/U*":
        return {"1": Action.UID, "2": Action.EMPTY}.get(kind, Action.REMOVE)
    codes = basic.split("/")
    if codes == ["Z"]:
        return Action.DUMMY if kind == "1" else Action.EMPTY
    if len(codes) == 1:
        return Action(codes[0])
    if kind == "1":
        return Action.DUMMY
    if kind == "2":
        return Action.EMPTY if "Z" in codes else Action.DUMMY
    return Action.REMOVE if "X" in codes else Action.DUMMY if kind == "" else Action.EMPTY


@cache
def _first_layer() -> dict[int, dict[str, str]]:
    return {int(row["tag"], 16): row for row in table("basic_profile") if "x" not in row["tag"] and row["tag"] != "odd"}


@cache
def _second_layer() -> dict[int, Rule]:
    rules: dict[int, Rule] = {}
    for row in (*table("allowed"), *table("reviewed")):
        if row["kind"] == "refused":
            continue
        pattern = re.compile(row["pattern"]) if row.get("pattern") else None
        action = {"sequence": Action.RECURSE, "uid": Action.UID}.get(row["kind"]) or Action(row["kind"])
        rules[int(row["tag"], 16)] = Rule(action, Action.REMOVE, row["vr"], f"second layer: {row['reason']}", pattern)
    return rules


@lru_cache(maxsize=64)
def types(iod: str) -> dict[int, str]:
    """Type of each attribute with a compound action in an IOD."""
    return {int(row["tag"], 16): row["type"] for row in table("types") if row["iod"] == iod}


@cache
def sop_classes() -> dict[str, dict[str, str]]:
    """The SOP classes with a disposition; any other is held."""
    return {row["uid"]: row for row in table("sop_classes")}


@cache
def safe_private() -> dict[tuple[str, int, int], str]:
    """VR of each safe private element, by (creator, group, low byte of the element)."""
    return {
        (row["creator"], int(row["group"], 16), int(row["element"], 16)): row["vr"] for row in table("safe_private")
    }


@cache
def terms(kinds: re.Pattern[str]) -> frozenset[str]:
    """Words that cleaned text may keep, upper case, of the kinds that the pattern matches."""
    return frozenset(row["term"].upper() for row in table("terms") if kinds.fullmatch(row["kind"]))
