"""The generated part of `docs/deidentification.md`: what the tables say, so the page cannot say anything else.

`python -m sluice.deid.statement` writes it anew.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sluice.deid.profile import BASIC, OPTIONS, PRESETS, Profile
from sluice.deid.tables import edition, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deidentification.md"
LEAVES = {"release": "yes", "screened": "screened, by a device's rule"}
BEGIN, END = "<!-- generated: python -m sluice.deid.statement -->", "<!-- end of generated part -->"


def statement() -> str:
    """The generated part, Markdown."""
    tables = edition()
    rows = table("basic_profile")
    codes = Counter(row["basic"] for row in rows)
    kinds = Counter(row["kind"] for row in table("allowed"))
    lines = [
        f"Tables: {tables['standard']}, edition {tables['edition']}: {len(rows)} rows of Table E.1-1 "
        f"({', '.join(f'{code} {count}' for code, count in codes.most_common())}), "
        f"{len(table('safe_private'))} safe private elements, {len(table('types'))} Types of {tables['iods']}.",
        f"Second layer: {len(table('allowed'))} technical attributes without a row "
        f"({', '.join(f'{kind} {count}' for kind, count in kinds.most_common())}), "
        f"{len(table('reviewed'))} reviewed by hand, {len(table('terms'))} terms.",
        "",
        "| profile | claims (CID 7050) | dates |",
        "| --- | --- | --- |",
    ]
    for name in PRESETS:
        profile = Profile.preset(name)
        claims = "; ".join(f"{code} {meaning}" for code, meaning in profile.codes())
        lines.append(f"| `{name}` | {claims} | {'moved' if profile.shifts_dates else 'removed'} |")
    offered = ", ".join(f"{meaning} ({code})" for code, meaning in (BASIC, *OPTIONS.values()))
    lines += ["", f"Offered: {offered}.", "", "| SOP class | leaves | why |", "| --- | --- | --- |"]
    lines += [
        f"| {row['name']} | {LEAVES.get(row['disposition'], 'held')} | {row['reason']} |"
        for row in table("sop_classes")
    ]
    return "\n".join([*lines, "| any other, any private one | held | no rule |"])


def page_with_statement(page: str) -> str:
    """The page with its generated part written anew."""
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{statement()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_statement(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
