"""The profile: what happens to each attribute, by tag, for one kind of object. Deny by default.

Layer one is PS3.15 Table E.1-1 with the options of the profile. Layer two is the reviewed allow-list of
technical attributes that have no row there (`tables/allowed.csv`, `tables/reviewed.csv`). What neither layer
keeps is removed: private elements, retired groups, newer attributes, free text without a rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    CONTENT = "content"  # content items of structured content, by Table E.3.4-1
    GRAPHICS = "graphics"  # graphic annotations: vectors stay, text is cleaned
    LAYER = "layer"  # names of graphic layers, numbered anew


@dataclass(frozen=True, slots=True)
class Rule:
    """The effective rule of an attribute.

    Attributes:
        fallback: what happens where the action cannot be carried out on the value at hand.
        vr: by the dictionary.
        source: the table row that it follows from, for people.
        option: that decides, where one does; an instance claims it when something in it was treated so.
    """

    action: Action
    fallback: Action
    vr: str
    source: str
    pattern: re.Pattern[str] | None = None
    option: str | None = None


# Column of E.1-1 → CID 7050 code and meaning.
OPTIONS = {
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_device_identity": ("113109", "Retain Device Identity Option"),
    "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_longitudinal_full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain_longitudinal_modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "clean_structured_content": ("113104", "Clean Structured Content Option"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
}
BASIC = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
CLEAN_FACES = ("113102", "Clean Recognizable Visual Features Option")
OFFERED_ELSEWHERE = {"clean_pixel_data", "clean_recognizable_visual_features"}  # no columns: by treatment of the pixels
FULL_DATES, MODIFIED_DATES = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
DEVICE, CHARACTERISTICS = "retain_device_identity", "retain_patient_characteristics"
DESCRIPTORS, UIDS = "clean_descriptors", "retain_uids"
CONTENT, GRAPHICS, SCREENED = "clean_structured_content", "clean_graphics", "screened"
PRESETS = {
    "basic": (),
    "longitudinal": (MODIFIED_DATES, CHARACTERISTICS, DEVICE, DESCRIPTORS),
    "public": (MODIFIED_DATES, DESCRIPTORS, "retain_safe_private"),
}
TEMPORAL = frozenset({"DA", "DT", "TM"})
REQUIRED = frozenset({"1", "1C", "2", "2C"})
DESCRIPTOR_TERMS = re.compile("anatomy|technique")
NOTE_TERMS = re.compile("anatomy|technique|report|function")  # what a note in a picture or a report may say
ORIGIN_TERMS = re.compile("origin")  # of a person, in Ethnic Group
UNFORMATTED_TEXT = 0x00700006


class Place:
    """The rules at one place of the objects of an IOD: at the top level, or in the items of one sequence.

    The Type of an attribute depends on the place (PS3.3), and with it the action of a compound code. Rules are made
    the first time they are asked for, places that PS3.3 does not define share one of the strictest Types.
    """

    def __init__(self, profile: Profile, iod: str, path: tuple[int, ...] | None = ()) -> None:
        self._profile, self._iod, self._path = profile, iod, path
        places = types(iod)
        self._types = places["*"] if path is None else places.get(path, {})
        self._rules: dict[int, Rule | None] = {}
        self._below: dict[int, Place] = {}

    def rule(self, tag: int) -> Rule | None:
        """The rule of an attribute here; None where nothing keeps it."""
        try:
            return self._rules[tag]
        except KeyError:
            rule = self._rules[tag] = self._profile.find(tag, self._types.get(tag))
            return rule

    def below(self, tag: int) -> Place:
        """The place in the items of this sequence."""
        found = self._below.get(tag)
        if found is None:
            path = None if self._path is None else (*self._path, tag)
            if path is None or path not in types(self._iod):
                found = self if self._path is None else self._profile.place(self._iod, None)
            else:
                found = Place(self._profile, self._iod, path)
            self._below[tag] = found
        return found


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with options.

    Args:
        name: of the preset, or of the project's own choice.
        options: columns of Table E.1-1, as in `OPTIONS`.

    Raises:
        ProfileError: an option that there is not, or two that exclude each other.
    """

    name: str
    options: tuple[str, ...] = ()
    _places: dict[tuple[str, bool], Place] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        fault = fault_of_options(self.options)
        if fault:
            raise ProfileError(f"Profile {self.name!r}: {fault}")

    @classmethod
    def preset(cls, name: str) -> Profile:
        """One of `PRESETS`."""
        if name not in PRESETS:
            raise ProfileError(f"There is no profile {name!r}. Use one of: {', '.join(PRESETS)}.")
        return cls(name, PRESETS[name])

    @property
    def shifts_dates(self) -> bool:
        """Whether dates are kept, moved by the patient's shift."""
        return MODIFIED_DATES in self.options

    @property
    def keeps_dates(self) -> bool:
        """Whether dates are kept as they are."""
        return FULL_DATES in self.options

    @property
    def keeps_uids(self) -> bool:
        """Whether UIDs are kept as they are."""
        return UIDS in self.options

    @property
    def keeps_safe_private(self) -> bool:
        """Whether the private elements of Table E.3.10-1 are kept."""
        return "retain_safe_private" in self.options

    @property
    def edition(self) -> str:
        """Edition of PS3.15 that the rules rest on."""
        return str(edition()["edition"])

    def codes(self) -> list[tuple[str, str]]:
        """CID 7050 codes and meanings of what this profile may do; an instance claims those that were done to it."""
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

    def why_held(self, sop_class: str, screened: bool = False) -> str | None:
        """Why objects of a SOP class do not leave under this profile; None where they may.

        Args:
            screened: their pixels are looked at (`sluice.deid.pixels`).
        """
        row = sop_classes().get(sop_class)
        if row is None:
            return f"no rule for SOP class {sop_class}"
        if row["disposition"] == "release" or row["disposition"] in self.options:
            return None
        if row["disposition"] == SCREENED and screened:
            return None
        if row["disposition"] in OPTIONS:
            return f"{row['name']}: leaves only under the {OPTIONS[row['disposition']][1]}"
        return f"{row['name']}: {row['reason']}"

    def place(self, iod: str, path: tuple[int, ...] | None = ()) -> Place:
        """The rules at the top level of an IOD's objects; with None those of places that PS3.3 does not define."""
        key = (iod, path is None)
        if key not in self._places:
            self._places[key] = Place(self, iod, path)
        return self._places[key]

    def rule(self, tag: int, iod: str) -> Rule | None:
        """The rule of a tag at the top level of an object of this IOD; None where nothing keeps it."""
        return self.place(iod).rule(tag)

    def find(self, tag: int, attribute_type: str | None) -> Rule | None:
        """The rule of a tag whose Type is known; None where nothing keeps it. `Place` keeps what this finds."""
        group = tag >> 16
        if group & 1 or group <= 0x0004 or not tag & 0xFFFF or 0x5000 <= group <= 0x50FF:
            return None
        if 0x6000 <= group <= 0x60FF:  # the whole overlay: descriptions and labels have no row of their own
            return None
        row = _first_layer().get(tag)
        if row:
            return self._of_row(row, tag, attribute_type)
        rule = _second_layer(UIDS if self.keeps_uids else None).get(tag)
        return _required(rule, tag, attribute_type) if attribute_type in REQUIRED else rule

    def _of_row(self, row: dict[str, str], tag: int, attribute_type: str | None) -> Rule:
        basic = resolve(row["basic"], attribute_type)
        action, option = self._by_options(row, basic)
        vr = dictionary_vr(tag) or row["vr"]
        if action is Action.SHIFT and vr not in TEMPORAL:
            action, option = basic, None
        pattern = NOTE_TERMS if tag == UNFORMATTED_TEXT else None
        source = f"E.1-1 {row['basic']}" + (f", {option} {row[option]}" if option else "")
        return Rule(action, basic, vr, source, pattern, option)

    def _by_options(self, row: dict[str, str], basic: Action) -> tuple[Action, str | None]:
        """The options' action and the option that decides; the most reserved of those that apply.

        A date that describes the device (calibration, installation) is known outside: moved by the patient's
        shift it would tell the shift, kept it would be no modified date. Such rows keep the Basic action.
        Application entity titles (C under Retain Device Identity) hold words of people: they keep it as well.
        """
        chosen = {option: row[option] for option in self.options if row[option]}
        if row[FULL_DATES]:
            if FULL_DATES in chosen:
                return Action.KEEP, FULL_DATES
            return (Action.SHIFT, MODIFIED_DATES) if MODIFIED_DATES in chosen and not row[DEVICE] else (basic, None)
        cleaned = next((option for option, code in chosen.items() if code == "C"), None)
        match cleaned:
            case None:
                return (Action.KEEP, next(iter(chosen))) if chosen else (basic, None)
            case "clean_structured_content":
                return Action.CONTENT, cleaned
            case "clean_graphics":
                return Action.GRAPHICS, cleaned
            case "retain_device_identity":
                return basic, None
            case _:
                return Action.CLEAN, cleaned


def fault_of_options(options: Sequence[str]) -> str | None:
    """What is wrong with a choice of options, and what to do; None where it is legal."""
    elsewhere = sorted(OFFERED_ELSEWHERE & set(options))
    if elsewhere:
        return f"{', '.join(elsewhere)} is no option of the profile; the project's rule for pixels decides it."
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        return f"There is no option {', '.join(unknown)}. Use any of: {', '.join(OPTIONS)}."
    if len(set(options)) != len(options):
        return "An option stands in it twice. Name each once."
    if FULL_DATES in options and MODIFIED_DATES in options:
        return (
            f"{FULL_DATES} and {MODIFIED_DATES} exclude each other (PS3.15 E.3.6): dates are kept or moved. Choose one."
        )
    return None


def resolve(basic: str, attribute_type: str | None) -> Action:
    """The one action of a Basic Profile code, by the attribute's Type in the IOD (PS3.15 E.1.1).

    A conditional Type counts as the unconditional one, since the condition is not machine-readable. An attribute that
    is not of the IOD, or whose IOD is unknown, may always be removed (note to E.1.1); codes without X then take D.
    A few rows with X name attributes that an IOD requires unconditionally (Presentation Creation Date): there a dummy
    or an empty value takes the place of the removal, or the object would be none.
    """
    if basic == "X" and attribute_type in ("1", "2"):
        return Action.DUMMY if attribute_type == "1" else Action.EMPTY
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


def _required(rule: Rule | None, tag: int, attribute_type: str | None) -> Rule | None:
    """The rule of text without a row that PS3.3 requires here: what is not kept of it is emptied or a dummy."""
    basic = Action.DUMMY if (attribute_type or "").startswith("1") else Action.EMPTY
    if rule is not None:
        return replace(rule, fallback=basic)
    vr = dictionary_vr(tag)
    return Rule(basic, basic, vr, f"second layer: Type {attribute_type} in PS3.3") if vr else None


@cache
def _first_layer() -> dict[int, dict[str, str]]:
    return {int(row["tag"], 16): row for row in table("basic_profile") if "x" not in row["tag"] and row["tag"] != "odd"}


@cache
def _second_layer(keeps_uids: str | None) -> dict[int, Rule]:
    rules: dict[int, Rule] = {}
    for row in (*table("allowed"), *table("reviewed")):
        if row["kind"] == "refused":
            continue
        pattern = re.compile(row["pattern"]) if row.get("pattern") else None
        action = {"sequence": Action.RECURSE, "uid": Action.UID}.get(row["kind"]) or Action(row["kind"])
        source = f"second layer: {row['reason']}"
        if action is Action.UID and keeps_uids:
            rule = Rule(Action.KEEP, Action.UID, row["vr"], source, option=keeps_uids)
        else:
            rule = Rule(action, Action.REMOVE, row["vr"], source, pattern)
        rules[int(row["tag"], 16)] = rule
    return rules


@lru_cache(maxsize=128)
def types(iod: str) -> dict[Any, dict[int, str]]:
    """Types of the attributes with a compound action in an IOD, by path of sequence tags; `*` is the strictest."""
    places: dict[Any, dict[int, str]] = {"*": {}}
    for row in table("types"):
        if row["iod"] == iod and "?" not in row["path"]:
            path: Any = row["path"]
            if path != "*":
                path = tuple(int(tag, 16) for tag in path.split(">") if tag)
            places.setdefault(path, {})[int(row["tag"], 16)] = row["type"]
    return places


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


@cache
def code_words() -> frozenset[str]:
    """Words of the code strings of PS3.3."""
    return frozenset(row["word"] for row in table("code_words"))
