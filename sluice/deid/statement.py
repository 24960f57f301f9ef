"""The generated documents: what the tables say, so that the pages cannot say anything else.

`python -m sluice.deid.statement` writes them anew: the generated part of `docs/deidentification.md`, the table of every
row of PS3.15 E.1-1 in `docs/profile-table.md`, and the conformance statement in `docs/conformance-deid.md`.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

from sluice.deid import bitstream, marks
from sluice.deid.elements import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from sluice.deid.engine import ACCESSION, PATIENT_ID, PATIENT_NAME, TEXT
from sluice.deid.profile import BASIC, CHARACTERISTICS, OPTIONS, PRESETS, Action, Profile, Rule
from sluice.deid.tables import edition, table

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, TABLE, CONFORMANCE = (DOCS / name for name in ("deidentification.md", "profile-table.md", "conformance-deid.md"))
BEGIN, END = "<!-- generated: python -m sluice.deid.statement -->", "<!-- end of generated part -->"
DONE = {
    Action.REMOVE: "removed",
    Action.EMPTY: "emptied",
    Action.DUMMY: "dummy",
    Action.UID: "new UID",
    Action.KEEP: "kept",
    Action.CLEAN: "words of the list",
    Action.SHIFT: "date moved",
    Action.CONTENT: "items by E.3.4-1",
    Action.GRAPHICS: "graphics kept, text cleaned",
}
SET = {PATIENT_NAME: "pseudonym", PATIENT_ID: "pseudonym", ACCESSION: "pseudonym"}
RANGES = {
    "50xxxxxx": "removed, the whole group",
    "60xx3000": "removed, the whole group",
    "60xx4000": "removed, the whole group",
}
TYPES = ("1", "2", "3")


def statement() -> str:
    """The generated part of the page for the data protection officer, Markdown."""
    tables = edition()
    rows = table("basic_profile")
    codes = Counter(row["basic"] for row in rows)
    kinds = Counter(row["kind"] for row in table("allowed"))
    lines = [
        f"Tables: {tables['standard']}, edition {tables['edition']}: {len(rows)} rows of Table E.1-1 "
        f"({', '.join(f'{code} {count}' for code, count in codes.most_common())}), "
        f"{len(table('content_items'))} rows of Table E.3.4-1, {len(table('safe_private'))} safe private elements, "
        f"{len(table('types'))} Types of {tables['iods']}.",
        f"Second layer: {len(table('allowed'))} technical attributes without a row "
        f"({', '.join(f'{kind} {count}' for kind, count in kinds.most_common())}), "
        f"{len(table('reviewed'))} reviewed by hand, {len(table('terms'))} terms, of which "
        f"{sum(bool(row['name']) for row in table('terms'))} are names as well.",
        "",
        "| profile | may claim (CID 7050) | dates |",
        "| --- | --- | --- |",
    ]
    for name in PRESETS:
        profile = Profile.preset(name)
        claims = "; ".join(f"{code} {meaning}" for code, meaning in profile.codes())
        lines.append(f"| `{name}` | {claims} | {'moved' if profile.shifts_dates else 'removed'} |")
    offered = ", ".join(f"{meaning} ({code}) `{option}`" for option, (code, meaning) in OPTIONS.items())
    lines += ["", f"Options: {offered}. Full and Modified Dates exclude each other."]
    lines += ["", "| SOP class | leaves | why |", "| --- | --- | --- |"]
    lines += [f"| {row['name']} | {_leaves(row)} | {row['reason']} |" for row in table("sop_classes")]
    return "\n".join([*lines, "| any other, any private one | held | no rule |"])


def _leaves(row: dict[str, str]) -> str:
    if row["disposition"] in OPTIONS:
        return f"under {OPTIONS[row['disposition']][1].removesuffix(' Option')}"
    return {"release": "yes", "screened": "screened, by a device's rule"}.get(row["disposition"], "held")


def profile_table() -> str:
    """Every row of Table E.1-1 and what serves it under each preset, Markdown."""
    profiles = [Profile.preset(name) for name in PRESETS]
    lines = [
        "# Every row of PS3.15 Table E.1-1, and what serves it",
        "",
        BEGIN,
        "",
        f"Edition {edition()['edition']}, {len(table('basic_profile'))} rows. A cell says what happens to the "
        "attribute; "
        "where that depends on its Type in the IOD (1C counts as 1, 2C as 2), the Type stands before it. `–` is an "
        "attribute that is not of the IOD. The engine recurses into every sequence that stays.",
        "",
        "| tag | attribute | code | " + " | ".join(f"`{profile.name}`" for profile in profiles) + " |",
        "| --- | --- | --- |" + " --- |" * len(profiles),
    ]
    for row in table("basic_profile"):
        cells = " | ".join(_served(row, profile) for profile in profiles)
        lines.append(f"| {_written(row['tag'])} | {row['name']} | {row['basic']} | {cells} |")
    return "\n".join([*lines, "", END, ""])


def _written(tag: str) -> str:
    return "private" if tag == "odd" else f"({tag[:4]},{tag[4:]})"


def _served(row: dict[str, str], profile: Profile) -> str:
    """What one preset does to one row, in words."""
    tag = row["tag"]
    if tag == "odd":
        return "those of E.3.10-1 kept, others removed" if profile.keeps_safe_private else "removed"
    if tag in RANGES:
        return RANGES[tag]
    number = int(tag, 16)
    if number in SET:
        return SET[number]
    if number >> 16 == 2:
        return "file meta written anew"
    if row["basic"] in ("D", "U") or (row["basic"] == "X" and tag not in _typed()):
        return _done(profile.find(number, None), row["vr"])
    done = {kind: _done(profile.find(number, kind), row["vr"]) for kind in (*TYPES, None)}
    if len(set(done.values())) == 1:
        return done[None]
    return "; ".join(f"{kind or '–'}: {what}" for kind, what in done.items())


@cache
def _typed() -> frozenset[str]:
    """Tags whose action depends on the Type somewhere."""
    return frozenset(row["tag"] for row in table("types"))


def _done(rule: Rule | None, vr: str) -> str:
    if rule is None:
        return "removed"
    if rule.action is Action.SHIFT and vr == "TM":
        return "time kept"
    if vr == "SQ" and rule.action in (Action.KEEP, Action.CLEAN, Action.DUMMY):
        return "items cleaned"
    if rule.action is Action.KEEP and rule.option == CHARACTERISTICS and vr in TEXT:
        return DONE[Action.CLEAN]
    return DONE[rule.action]


def conformance() -> str:
    """The conformance statement for de-identification (PS3.15 E.1.3), Markdown."""
    tables = edition()
    rows = table("basic_profile")
    compound = sorted({row["basic"] for row in rows if "/" in row["basic"]})
    released = [row for row in table("sop_classes") if row["disposition"] != "hold"]
    creators = Counter(row["creator"] for row in table("safe_private"))
    read = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, *bitstream.JPEG, *bitstream.JPEG_2000, bitstream.RLE)
    return "\n".join(
        [
            "# Conformance statement: de-identification",
            "",
            BEGIN,
            "",
            f"After PS3.15 E.1.3. Sluice is a De-identifier by the Basic Application Level Confidentiality Profile "
            f"({BASIC[0]}) of {tables['standard']}, edition {tables['edition']}. It is no Re-identifier: no "
            "Encrypted "
            "Attributes Sequence is written, incoming ones are removed, and nothing in a file leads back without the "
            "project's key.",
            "",
            "## Attributes",
            "",
            f"Removed, emptied, replaced or kept: the {len(rows)} rows of E.1-1 as "
            "[profile-table.md](profile-table.md) "
            f"lists them. Compound codes ({', '.join(compound)}) follow the Type at the place of the attribute in "
            "its IOD "
            f"({tables['iods']}); a conditional Type counts as the unconditional one where the attribute is "
            "present; at a "
            "place that the IOD does not define, the strictest Type of the IOD counts.",
            "Attributes without a row, private ones and unknown ones are removed, unless they stand on the second "
            "layer "
            "of technical attributes. Text that PS3.3 requires and no rule keeps is emptied (Type 2) or `REMOVED` "
            "(Type "
            "1). Dummy values:",
            "",
            "| VR | dummy |",
            "| --- | --- |",
            "| DA, DT, TM | 19000101, 19000101000000, 000000 |",
            "| DS, IS, binary numbers | 0 |",
            "| AS | 000Y |",
            "| UR | urn:removed |",
            "| other text | REMOVED |",
            "",
            "Set in every object: Patient's Name and ID (pseudonym), Patient Identity Removed, De-identification "
            "Method "
            "and its Code Sequence (added to what it holds), Longitudinal Temporal Information Modified, "
            "Contributing "
            f"Equipment ({marks.DEIDENTIFYING_EQUIPMENT[0]} {marks.DEIDENTIFYING_EQUIPMENT[2]}), file meta and a "
            "preamble "
            "of zeros. Burned In Annotation and Recognizable Visual Features become NO only where the pixels were "
            "treated.",
            "",
            "## Options",
            "",
            "An object claims the codes of the options that decided about something in it, and no other.",
            "",
            "| option | code | rows of E.1-1 | actions |",
            "| --- | --- | --- | --- |",
            *(_option_line(option) for option in OPTIONS),
            "| by treatment of the pixels | 113101, 113102 | – | [deidentification.md](deidentification.md) |",
            "",
            "Stricter than the standard: under Retain Device Identity application entity titles are removed, device "
            "UIDs "
            "are replaced, and dates of the device are not kept unless Full Dates are. Overlays are removed under "
            "Clean "
            "Graphics as well. Values of 90 years and more are one class.",
            "",
            "## Integrity scope",
            "",
            "One project: the same original UID, patient and accession number give the same replacement in every "
            "object, "
            "worker and release of a project, by HMAC-SHA256 under the project's key; no two projects share any.",
            "",
            "## SOP classes",
            "",
            ", ".join(f"{row['name']} ({row['uid']})" for row in released) + ". Any other is held.",
            "",
            "## Transfer syntaxes",
            "",
            f"Read: {', '.join(read)}. Written: {EXPLICIT}, and the compressed ones as they came, with their "
            "comments "
            "removed.",
            "",
            "## Private attributes",
            "",
            "Under the Retain Safe Private Option those of Table E.3.10-1 whose values are numbers or code strings, "
            "matched by creator: "
            + ", ".join(f"{creator} ({count})" for creator, count in sorted(creators.items()))
            + ".",
            "",
            "## Character sets",
            "",
            "Values are decoded by the Specific Character Set of their item before they are judged; one that cannot "
            "be "
            "decoded for certain is not kept. Objects are written in ASCII, or in ISO_IR 192 where kept text needs "
            "it.",
            "",
            END,
            "",
        ]
    )


def _option_line(option: str) -> str:
    code, meaning = OPTIONS[option]
    counted = Counter(row[option] for row in table("basic_profile") if row[option])
    actions = ", ".join(f"{action} {count}" for action, count in sorted(counted.items()))
    return f"| {meaning} `{option}` | {code} | {sum(counted.values())} | {actions} |"


def page_with_statement(page: str) -> str:
    """The page with its generated part written anew."""
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{statement()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_statement(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    TABLE.write_text(profile_table(), encoding="utf-8")
    CONFORMANCE.write_text(conformance(), encoding="utf-8")
