"""De-identify one instance: read, hold or clean by the profile, write. Nothing of the input is carried blindly.

Whatever the rules do not keep is gone: at every depth, in sequences that were encoded as UN, in functional groups.
File meta and preamble are new. The output is a function of the input's bytes, the profile and the project's key,
so a second worker, or the same one after a crash, writes the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from pydicom._uid_dict import UID_dictionary

from sluice import __version__
from sluice.deid import gate, graphics, marks, text
from sluice.deid.elements import (
    PIXEL_DATA,
    WIDTH,
    DataSet,
    Element,
    File,
    Fragments,
    MalformedError,
    read_file,
    read_items,
    write_file,
)
from sluice.deid.held import Held
from sluice.deid.identities import Identities, cap_age, is_patient, shift_date
from sluice.deid.profile import (
    CHARACTERISTICS,
    CONTENT,
    DESCRIPTOR_TERMS,
    FULL_DATES,
    GRAPHICS,
    MODIFIED_DATES,
    ORIGIN_TERMS,
    TEMPORAL,
    Action,
    Place,
    Profile,
    Rule,
    safe_private,
)
from sluice.deid.structured import CONCEPT, ContentTree

EXPLICIT = "1.2.840.10008.1.2.1"
SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
PATIENT_NAME, PATIENT_ID, ISSUER, AGE, ACCESSION = 0x00100010, 0x00100020, 0x00100021, 0x00101010, 0x00080050
CHARACTER_SET, PER_FRAME, SHARED_GROUPS = 0x00080005, 0x52009230, 0x52009229
TIMEZONE = 0x00080201
LUT_DESCRIPTORS = {0x00283006: 0x00283002, 0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103}
LUT_DATA = frozenset(LUT_DESCRIPTORS)
TEXT = frozenset(["AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
PRINTED = frozenset(["CS", "DA", "TM", "DT", "AS", "DS", "IS", "UI"])  # beside TEXT: values made of characters
NUMBERS = frozenset(["US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT"])
TIME = re.compile(r"\d{2}(?:\d{2}){0,2}(?:\.\d{1,6})?")
UID_FORM = re.compile(r"[0-9]+(?:\.[0-9]+)+")
TEMPORAL_FORM = re.compile(rb"[0-9.+\-:\\ ]*\0?")
DUMMIES = {"DA": b"19000101", "TM": b"000000", "DT": b"19000101000000", "AS": b"000Y", "DS": b"0", "IS": b"0",
           "PN": b"REMOVED", "UR": b"urn:removed"}  # fmt: skip


class Treatment(Protocol):
    """What is done to the pixels of one instance, decided elsewhere (`sluice.deid.pixels`)."""

    @property
    def screened(self) -> bool:
        """Whether somebody looked at the pixels, so that a class that shows text by habit may leave."""

    @property
    def cleaned(self) -> bool:
        """Whether burned-in text was looked for and blanked: claims 113101."""

    @property
    def defaced(self) -> bool:
        """Whether faces were removed: claims 113102."""

    def apply(self, file: File) -> Element:
        """The pixel data that may leave; attributes of the pixels that change with it are changed in the file."""


@dataclass(frozen=True)
class Deidentified:
    """A de-identified instance.

    Attributes:
        data: the DICOM file.
        patient, study, series, sop_instance: its pseudonymous identities.
        shift_days: whole days that its dates were moved by, 0 where dates were kept; None where no date is left.
        codes: CID 7050 codes and meanings of what was done to this instance.
    """

    data: bytes
    patient: str
    study: str
    series: str
    sop_instance: str
    shift_days: int | None
    codes: tuple[tuple[str, str], ...]


def deidentify(
    data: bytes | File, profile: Profile, identities: Identities, treatment: Treatment | None = None
) -> Deidentified:
    """De-identify a DICOM file.

    Args:
        data: its bytes, or what `read_file` made of them; the latter is changed on the way.
        treatment: of the pixels; without one they leave as they are, but for comments and bits that are no pixels.

    Raises:
        Held: it must not leave, with the reason.
    """
    try:
        file = read_file(data) if isinstance(data, bytes) else data
    except MalformedError as error:
        raise Held("held-unreadable", f"cannot be read: {error}") from error
    row = gate.check(file, profile, screened=treatment is not None and treatment.screened)
    return _Instance(file, row, profile, identities).deidentified(treatment)


class _Instance:
    """One instance on its way through the rules."""

    def __init__(self, file: File, row: dict[str, str], profile: Profile, identities: Identities) -> None:
        elements = file.elements
        self.file = file
        self.sop_class, self.place = row["uid"], profile.place(row["iod"])
        self.kind = row["disposition"]
        self.profile = profile
        self.identities = identities
        self.character_sets = gate.text(elements.get(CHARACTER_SET))
        self.signed = gate.number(elements.get(0x00280103), 0) == 1
        self.needs_utf8 = self.has_layers = False
        self.used: set[str] = set()  # options that decided about something
        patient_id = _identity(elements.get(PATIENT_ID), self.character_sets)
        if patient_id is None or not is_patient(patient_id):
            raise Held("held-identity", "the Patient ID is missing, a placeholder, or cannot be decoded")
        issuer = _identity(elements.get(ISSUER), self.character_sets) or ""
        self.patient = identities.patient(patient_id, issuer)
        self.shift_days = identities.shift_days(patient_id, issuer)
        for tag, name in ((SOP_INSTANCE, "SOP Instance"), (SERIES, "Series Instance"), (STUDY, "Study Instance")):
            if not gate.text(elements.get(tag)):
                raise Held("held-unreadable", f"the {name} UID is missing")

    def deidentified(self, treatment: Treatment | None) -> Deidentified:
        original = self.file.elements
        has_pixels = self.kind not in (CONTENT, GRAPHICS)
        pixels = None
        if has_pixels:  # first: a treatment may change what the header says of the pixels
            pixels = treatment.apply(self.file) if treatment else gate.clean_pixels(self.file)
        cleaned = self.clean(original, self.place, self.character_sets)
        if pixels is not None:
            cleaned[PIXEL_DATA] = pixels
        if self.kind == CONTENT and CONCEPT not in cleaned:
            raise Held("held-class", "the title of the document is no known code")
        uids = {tag: self._uid(gate.text(original[tag])) for tag in (SOP_INSTANCE, SERIES, STUDY)}
        self._identify(cleaned, uids)
        codes = self._mark(cleaned, treatment if has_pixels else None)
        compressed = pixels is not None and isinstance(pixels.value, Fragments)
        syntax = self.file.transfer_syntax if compressed else EXPLICIT
        data = write_file(marks.file_meta(self.sop_class, uids[SOP_INSTANCE], syntax), cleaned)
        shift = self.shift_days if MODIFIED_DATES in self.used else 0 if FULL_DATES in self.used else None
        return Deidentified(data, self.patient, uids[STUDY], uids[SERIES], uids[SOP_INSTANCE], shift, codes)

    def _identify(self, cleaned: DataSet, uids: dict[int, str]) -> None:
        cleaned[SOP_CLASS] = Element(SOP_CLASS, "UI", self.sop_class.encode())
        cleaned[PATIENT_NAME] = Element(PATIENT_NAME, "PN", self.patient.encode())
        cleaned[PATIENT_ID] = Element(PATIENT_ID, "LO", self.patient.encode())
        for tag, uid in uids.items():
            cleaned[tag] = Element(tag, "UI", uid.encode())
        if self.has_layers:
            graphics.number_layers(cleaned)
        if self.needs_utf8:
            cleaned[CHARACTER_SET] = Element(CHARACTER_SET, "CS", b"ISO_IR 192")

    def _mark(self, cleaned: DataSet, treatment: Treatment | None) -> tuple[tuple[str, str], ...]:
        cleaned_pixels, defaced = (treatment.cleaned, treatment.defaced) if treatment else (False, False)
        codes = marks.codes_of(self.used, cleaned_pixels, defaced)
        method = f"Sluice {__version__} {self.profile.name}, PS3.15 {self.profile.edition}"
        marks.mark(cleaned, self.file, codes, method, self.used)
        return codes

    def claim(self, option: str | None) -> None:
        """Note that an option decided about something in this instance."""
        if option is not None:
            self.used.add(option)

    def clean(self, elements: DataSet, place: Place, character_sets: str) -> DataSet:
        """Elements of one data set or item that the profile keeps."""
        if CHARACTER_SET in elements:
            character_sets = gate.text(elements[CHARACTER_SET])
        cleaned: DataSet = text.coded_triplet(elements) if text.CODE_VALUE in elements else {}
        rule_of = place.rule
        for tag, element in elements.items():
            rule = rule_of(tag)
            if rule is None or rule.action is Action.REMOVE or tag == PIXEL_DATA:
                continue
            kept = self._apply(element, rule, rule.action, place, character_sets)
            if rule.option is not None and (kept is not None or rule.action is Action.CLEAN):
                self.used.add(rule.option)
            if kept is None and rule.fallback is not rule.action:
                kept = self._apply(element, rule, rule.fallback, place, character_sets)
            if kept is not None:
                cleaned[tag] = kept
        if not LUT_DATA.isdisjoint(cleaned):
            _cut_tables(cleaned)
        if self.profile.keeps_safe_private and (private := _safe_private_elements(elements)):
            self.used.add("retain_safe_private")
            cleaned |= private
        return cleaned

    def _apply(self, element: Element, rule: Rule, action: Action, place: Place, character_sets: str) -> Element | None:
        """The element after one action; None where it goes, or where the action does not fit its value."""
        vr = self._vr(element, rule.vr)
        if action in (Action.REMOVE, Action.CODED):
            return None
        if action is Action.EMPTY:
            return self._empty(element, vr)
        if action is Action.DUMMY:
            return self._dummy(element, vr, place, character_sets)
        if vr == "SQ":
            return self._sequence(element, place, character_sets, action)
        if not isinstance(element.value, bytes):
            return None  # items where the dictionary has a value
        if not (element.value.strip(b" \0") if vr in TEXT or vr in PRINTED else element.value):
            return Element(element.tag, vr, b"")  # nothing is said, and PS3.3 may ask for the attribute all the same
        value = self._value(element.value, vr, rule, action, character_sets)
        return None if value is None else Element(element.tag, vr, value)

    def _value(self, value: bytes, vr: str, rule: Rule, action: Action, character_sets: str) -> bytes | None:
        match action:
            case Action.UID | Action.CLASS_UID:
                return self._uids(value, action) if vr == "UI" else None
            case Action.SHIFT:
                return self.shifted(value, vr)
            case Action.NUMBER:
                return _numbers(value, vr)
            case Action.CODE:
                return text.known_code_strings(value)
            case Action.LAYER:
                self.has_layers = True
                return text.code_strings(value)
            case Action.BULK:
                return value
            case Action.PATTERN:
                return _matching(value, rule)
            case Action.TERMS | Action.CLEAN:
                return self._terms(value, vr, rule.pattern or DESCRIPTOR_TERMS, character_sets)
            case _ if vr == "CS" and rule.option == CHARACTERISTICS:
                return text.known_code_strings(value)  # typed by people, as the sex of a patient; not a device's name
            case _ if vr in TEXT and rule.option == CHARACTERISTICS:
                return self._terms(value, vr, ORIGIN_TERMS, character_sets)  # anything can stand in Ethnic Group
            case _:
                return self._kept(value, vr, character_sets)

    def _empty(self, element: Element, vr: str) -> Element:
        if element.tag == ACCESSION and isinstance(element.value, bytes) and element.value.strip(b" \0"):
            number = element.value.decode("latin-1")
            return Element(element.tag, vr, self.identities.accession(number).encode())
        return Element(element.tag, vr, [] if vr == "SQ" else b"")

    def _dummy(self, element: Element, vr: str, place: Place, character_sets: str) -> Element:
        if vr == "SQ":
            cleaned = self._sequence(element, place, character_sets, Action.RECURSE)
            return cleaned if cleaned is not None else Element(element.tag, "SQ", [])
        if vr == "UI":
            value = element.value if isinstance(element.value, bytes) else b""
            return Element(element.tag, vr, self._uids(value, Action.UID) or self.identities.uid("").encode())
        if element.tag == TIMEZONE:
            return Element(element.tag, vr, b"+0000")
        dummy = b"\0" * WIDTH.get(vr, 2) if vr in WIDTH or vr in ("OB", "UN") else DUMMIES.get(vr, b"REMOVED")
        return Element(element.tag, vr, dummy)

    def _sequence(self, element: Element, place: Place, character_sets: str, action: Action) -> Element | None:
        items = element.value if isinstance(element.value, list) else None
        if items is None and isinstance(element.value, bytes):
            items = [] if not element.value else read_items(element.value)
        if items is None:
            return None
        below = place.below(element.tag)
        if action is Action.CONTENT:
            return Element(element.tag, "SQ", ContentTree(self).cleaned(items, below, character_sets))
        cleaned = [self.clean(item, below, character_sets) for item in items]
        if any(text.SCHEME in item for item in items):  # a code of which nothing is left is no item
            pairs = zip(items, cleaned, strict=True)
            cleaned = [one for item, one in pairs if text.SCHEME not in item or text.CODE_VALUE in one]
            if not cleaned:
                return None
        if action is Action.GRAPHICS:
            cleaned = graphics.without_empty_text(cleaned)
        if items and not any(cleaned) and element.tag not in (PER_FRAME, SHARED_GROUPS):
            return None  # nothing in it had a rule
        return Element(element.tag, "SQ", cleaned)

    def _uid(self, original: str) -> str:
        return original if self.profile.keeps_uids else self.identities.uid(original)

    def mapped(self, value: bytes) -> bytes:
        """UIDs that stand for the given ones; the same where the profile keeps UIDs."""
        return self._uids(value, Action.UID) or b""

    def _uids(self, value: bytes, action: Action) -> bytes | None:
        """UIDs by role: what PS3.6 registers (classes, syntaxes, well-known instances) stays, any other is mapped."""
        originals = [part.strip(" \0") for part in value.decode("latin-1").split("\\")]
        if action is Action.CLASS_UID:
            known = [uid for uid in originals if uid in UID_dictionary]
            return "\\".join(known).encode() if known else None
        if self.profile.keeps_uids:
            originals = [uid if UID_FORM.fullmatch(uid) else "" for uid in originals]
        return "\\".join(uid if not uid or uid in UID_dictionary else self._uid(uid) for uid in originals).encode()

    def shifted(self, value: bytes, vr: str) -> bytes | None:
        """Dates moved by the patient's shift, times as they are; None where nothing of it is one."""
        parts = [part.strip(" \0") for part in value.decode("latin-1").split("\\")]
        if vr not in TEMPORAL:
            return None
        if vr == "TM":
            kept = [part if TIME.fullmatch(part) else "" for part in parts]
        else:
            kept = [shift_date(part, self.shift_days) or "" for part in parts]
        return "\\".join(kept).encode() if any(kept) or not any(parts) else None

    def _terms(self, value: bytes, vr: str, kinds: re.Pattern[str], character_sets: str) -> bytes | None:
        if vr == "CS":
            return text.code_strings(text.known_terms(value.decode("latin-1"), vr, kinds).encode()) or None
        if vr not in TEXT:
            return None
        decoded = text.decode(value, character_sets)
        return self.encoded(text.known_terms(decoded, vr, kinds)) or None if decoded is not None else None

    def _kept(self, value: bytes, vr: str, character_sets: str) -> bytes | None:
        """A value that an option keeps: text in UTF-8, the rest as it is where its form is right."""
        if vr == "AS":
            return (cap_age(value.decode("latin-1")) or "").encode() or None
        if vr in TEXT:
            return self.kept_text(value, character_sets)
        if vr == "UI":
            return self._uids(value, Action.UID)
        if vr in TEMPORAL:
            return value if TEMPORAL_FORM.fullmatch(value) else None
        if vr == "CS":
            return text.code_strings(value)
        return _numbers(value, vr)

    def kept_text(self, value: bytes, character_sets: str) -> bytes | None:
        """Text in the encoding of the produced object; None where it cannot be decoded for certain."""
        decoded = text.decode(value, character_sets)
        return None if decoded is None else self.encoded(decoded)

    def encoded(self, words: str) -> bytes:
        """Text as the produced object has it: in UTF-8, which the object then says."""
        self.needs_utf8 = self.needs_utf8 or not words.isascii()
        return words.encode()

    def _vr(self, element: Element, vr: str) -> str:
        """The VR that an element is written with: the dictionary's; of several, the one that was encoded."""
        if " or " not in vr:
            return vr
        several = vr.split(" or ")
        if element.vr in several:
            return element.vr
        if "SS" in several and self.signed:
            return "SS"
        return "OW" if "OW" in several and "SS" not in several else "US"


def _numbers(value: bytes, vr: str) -> bytes | None:
    if vr in ("DS", "IS"):
        return value if text.is_number_text(value, vr) else None
    if vr in NUMBERS or vr == "OW":
        return value if len(value) % WIDTH[vr] == 0 else None
    return None


def _matching(value: bytes, rule: Rule) -> bytes | None:
    parts = [part.strip(" \0") for part in value.decode("latin-1").split("\\")]
    if rule.pattern is None:
        return None
    kept = [part if rule.pattern.fullmatch(part) else "" for part in parts]
    return "\\".join(kept).encode() if any(kept) or not any(parts) else None


def _cut_tables(cleaned: DataSet) -> None:
    """Lookup tables no longer than their descriptor says (PS3.3 C.11.1.1); without one they go."""
    for data, descriptor in LUT_DESCRIPTORS.items():
        table = cleaned.get(data)
        if table is None or not isinstance(table.value, bytes):
            continue
        described = cleaned.get(descriptor)
        value = described.value if described is not None and isinstance(described.value, bytes) else b""
        entries = int.from_bytes(value[:2], "little") or 65536
        if len(value) != 6 or len(table.value) < entries:
            del cleaned[data]
        else:
            width = 1 if len(table.value) < 2 * entries else 2
            cleaned[data] = Element(data, table.vr, table.value[: entries * width + entries * width % 2])


def _safe_private_elements(elements: DataSet) -> DataSet:
    """Private elements of Table E.3.10-1 with their creators: numbers and code strings only, no sequences."""
    kept: DataSet = {}
    known = safe_private()
    for tag, element in elements.items():
        group, block = tag >> 16, tag >> 8 & 0xFF
        if not group & 1 or block < 0x10 or not isinstance(element.value, bytes):
            continue
        creator = elements.get(group << 16 | block)
        name = gate.text(creator)
        vr = known.get((name, group, tag & 0xFF))
        if vr is None or creator is None:
            continue
        value = text.known_code_strings(element.value) if vr == "CS" else _numbers(element.value, vr)
        if value is not None:
            kept[tag] = Element(tag, vr, value)
            kept[creator.tag] = Element(creator.tag, "LO", name.encode())
    return kept


def _identity(element: Element | None, character_sets: str) -> str | None:
    if element is None or not isinstance(element.value, bytes):
        return ""
    return text.decode(element.value, character_sets)
