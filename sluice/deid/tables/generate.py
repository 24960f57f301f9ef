"""Generate the profile's tables from the standard's tables: `python -m sluice.deid.tables.generate SOURCE`.

SOURCE is a folder with `ps3.15_E.1-1_<edition>.csv`, and the same of E.3.4-1 and E.3.10-1. Types and the second
layer need PS3.3's module tables; `--iods` names a folder with the JSON files that the highdicom 0.28 wheel
carries in `highdicom/_standard` (MIT). highdicom is read here, at build time, and never at run time.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import keyword_dict

from sluice.deid.tables import FOLDER, table

# VR of rows of 2026c that pydicom 3.0.2's dictionary does not know.
NEWER_VR = {
    "00081301": "SQ", "00081302": "SQ", "00081303": "SQ", "00081304": "SQ", "00100011": "SQ", "00100012": "LT",
    "00100013": "UT", "00100014": "SQ", "00100015": "SQ", "00100016": "UT", "00100041": "SQ", "00100042": "UT",
    "00100043": "SQ", "00100044": "SQ", "00100045": "UT", "00100046": "SQ", "00100047": "UR", "00102162": "UC",
    "0040a034": "DT", "0040a035": "DT", "0040b034": "DT", "0040b036": "DT", "0040b03b": "UC", "0040b03f": "SH",
    "0040e012": "UR",
}  # fmt: skip
SEVERAL_VR = "UN"  # rows that stand for many attributes
NUMERIC = {"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT", "US or SS", "US or OW", "US or SS or OW"}
BULK = {"PixelData", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData"}  # fmt: skip
NEVER_GROUPS = {0x0002, 0x0004, 0x0072, 0x0400, 0xFFFA, 0xFFFC}
CLASS_UID = re.compile(r"Class|ContextUID|MappingResource|CodingSchemeUID")
NEVER_UID = re.compile(r"TransferSyntax|Community|Repository|RetrieveLocation|ExtensionCreator|AdministrationEvent")
# Columns of Table E.3.4-1, and the options as in E.1-1.
OPTIONS_OF_CONTENT = {
    "rtn_uids_opt": "retain_uids",
    "rtn_dev_id_opt": "retain_device_identity",
    "rtn_inst_id_opt": "retain_institution_identity",
    "rtn_pat_chars_opt": "retain_patient_characteristics",
    "rtn_long_full_dates_opt": "retain_longitudinal_full_dates",
    "rtn_long_modif_dates_opt": "retain_longitudinal_modified_dates",
    "clean_desc_opt": "clean_descriptors",
}
# Text without a row: where PS3.3 requires it, it stays as an empty value or a dummy.
TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "PN"}
CODE_WORD = re.compile(r"(?=\d*[A-Z])[A-Z0-9]{4,16}")  # shorter ones need no list
# Words of code strings that makers write, or that dciodvfy holds within longer strings.
MORE_CODE_WORDS = {
    "ORIGINAL", "TEXT", "NORM", "HELICAL", "MODE", "QUANTITY", "MEVISLAB", "ABDOM", "SLSENS", "SURVIEW", "CARDIOLOGY",
    "MODULATION", "CSAPARALLEL", "ACQUIRED", "SPIRAL", "TOPOGRAM", "PROCESSED", "REFORMATTED", "AVERAGE", "ROUTINE",
    "DIXON", "WATER", "OPPOSED", "MOSAIC", "PHYSIO", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "OTHER",
    "CODE", "CONTAINER", "PNAME", "UIDREF", "DATE", "TIME", "DATETIME", "IMAGE", "COMPOSITE", "WAVEFORM", "SCOORD",
    "SCOORD3D", "TCOORD", "TABLE", "POINT", "MULTIPOINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE", "POLYGON",
    "ELLIPSOID", "CONTAINS", "PROPERTIES", "CONTEXT", "CONCEPT", "INFERRED", "SELECTED", "FROM", "SEPARATE",
    "CONTINUOUS", "COMPLETE", "PARTIAL", "VERIFIED", "UNVERIFIED", "PRELIMINARY", "FINAL", "IDENTITY", "INVERSE",
    "SCALE", "TRUE", "SIZE", "MAGNIFY", "PIXEL", "DISPLAY", "MATRIX", "AREA", "SINGLE", "SING", "DYNAMIC", "STATIC",
    "GATED", "LEFT", "RIGHT", "BOTTOM", "CENTER", "SEGMENT", "MULTISEGMENT", "BEGIN", "DCMR",
}  # fmt: skip
NAMES_AMONG_TERMS = {
    "FLETCHER", "FLYNN", "FALCON", "JOSLIN", "JULIAN", "LEDO", "LIMA", "MANCHESTER", "NEBLETT", "RIMA", "SYED", "STERN",
    "WALTZ", "CHASE", "SLOOP", "HANNING",
}  # fmt: skip
CODED = {"CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "LongCodeValue", "TextValue"}
REQUIRED = {"1", "1C", "2", "2C"}
# Set by the engine itself, never copied.
OURS = {"SpecificCharacterSet", "PatientIdentityRemoved", "LongitudinalTemporalInformationModified",
        "DeidentificationMethodCodeSequence"}  # fmt: skip
TYPE_ORDER = {"1": 0, "1C": 1, "2": 2, "2C": 3, "3": 4, "4": 5}  # 4: not of the IOD


def tag_pattern(text: str) -> str:
    """`(0008,0050)` → `00080050`, `(60xx,3000)` → `60xx3000`, the private row → `odd`."""
    if text.startswith("(gggg"):
        return "odd"
    return text.strip("()").replace(",", "").lower()


def vr_of(pattern: str) -> str:
    """VR by pydicom's dictionary, else by `NEWER_VR`."""
    if "x" in pattern or pattern == "odd":
        for mask, entry in RepeatersDictionary.items():
            if mask.lower() == pattern:
                return str(entry[0])
        return SEVERAL_VR
    entry_ = DicomDictionary.get(int(pattern, 16))
    return str(entry_[0]) if entry_ else NEWER_VR[pattern]


def _write(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    ordered = [list(map(str, row)) for row in rows]
    with (FOLDER / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(ordered)
    return len(ordered)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def basic_profile(source: Path) -> int:
    """Write `basic_profile.csv`; return its row count."""
    rows = _read(source)
    options = list(rows[0])[5:]
    return _write(
        "basic_profile",
        ["tag", "vr", "name", "basic", *options],
        sorted(
            (
                (p := tag_pattern(row["tag"])),
                vr_of(p),
                row["name"],
                row["basic"],
                *(row[option] for option in options),
            )
            for row in rows
        ),
    )


def safe_private(source: Path) -> int:
    """Write `safe_private.csv` (`element` is the low byte of the element number); return its row count."""
    rows = [
        (row["private_creator"], row["data_element"][1:5].lower(), row["data_element"][8:10].lower(), row["vr"])
        for row in _read(source)
    ]
    return _write("safe_private", ["creator", "group", "element", "vr"], sorted(set(rows)))


def content_items(source: Path) -> int:
    """Write `content_items.csv`, the actions of content items of structured reports; return its row count."""
    rows = _read(source)
    return _write(
        "content_items",
        ["code", "scheme", "value_type", "meaning", "basic", *OPTIONS_OF_CONTENT.values()],
        (
            (
                row["code_value"],
                row["coding_scheme_designator"],
                row["value_type"],
                row["code_meaning"],
                row["basic_prof"],
                *(row[column] for column in OPTIONS_OF_CONTENT),
            )
            for row in rows
        ),
    )


def _load(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def types(iods: Path) -> int:
    """Write `types.csv`, a Type for each place of an attribute in an IOD; return its row count.

    It holds the attributes whose action depends on it: compound codes, required text and codes without a row in E.1-1,
    and text and dates that E.1-1 removes though PS3.3 requires them unconditionally.

    `path` names the sequences that lead to the attribute, from the outside in; it is empty at the top level. Of two
    modules that define one place, the stricter Type counts. The rows with path `*` give the strictest Type over all
    places of the IOD, for places that PS3.3 does not know: a dummy satisfies Types 2 and 3 as well.
    """
    by_iod, modules = _load(iods, "iod_module_map"), _load(iods, "module_attribute_map")
    ruled = {row["tag"] for row in table("basic_profile")}
    wanted = {row["tag"] for row in table("basic_profile") if ("/" in row["basic"] or row["basic"] == "Z")}
    removed = {
        row["tag"] for row in table("basic_profile") if row["basic"] == "X" and row["vr"] in TEXT | {"DA", "DT", "TM"}
    }
    wanted |= removed
    wanted |= {  # the character set is written as the texts that stay need it
        f"{number:08x}"
        for number, (vr, *_, keyword) in DicomDictionary.items()
        if vr in TEXT | {"CS"}
        and number != 0x00080005
        and f"{number:08x}" not in ruled
        and number >> 16 not in NEVER_GROUPS
        and keyword not in CODED
    }
    rows = []
    for iod in sorted({row["iod"] for row in table("sop_classes") if row["iod"]}):
        strictest: dict[tuple[str, str], str] = {}
        for module in by_iod[iod]:
            for attribute in modules.get(module["key"], []):
                tags = [_tag_of(keyword) for keyword in (*attribute["path"], attribute["keyword"])]
                *path, tag = tags
                if tag in removed and attribute["type"] not in ("1", "2"):
                    continue
                if tag not in wanted or (tag not in ruled and attribute["type"] not in REQUIRED):
                    continue
                kind = attribute["type"] if attribute["type"] in TYPE_ORDER else "3"
                for place in {">".join(path), "*"}:
                    if TYPE_ORDER[kind] < TYPE_ORDER[strictest.get((place, tag), "4")]:
                        strictest[place, tag] = kind
        rows += [(iod, place, tag, kind) for (place, tag), kind in sorted(strictest.items())]
    return _write("types", ["iod", "path", "tag", "type"], rows)


def _tag_of(keyword: str) -> str:
    number = keyword_dict.get(keyword)
    return f"{number:08x}" if number is not None else "?"


def allowed(iods: Path) -> int:
    """Write `allowed.csv`: what has no row in E.1-1 and cannot hold free text; return its row count."""
    by_iod, modules = _load(iods, "iod_module_map"), _load(iods, "module_attribute_map")
    ruled = {row["tag"] for row in table("basic_profile")} | {row["tag"] for row in table("reviewed")}
    where: dict[int, set[str]] = defaultdict(set)
    for iod in {row["iod"] for row in table("sop_classes") if row["iod"]}:
        for module in by_iod[iod]:
            for attribute in modules.get(module["key"], []):
                if (number := keyword_dict.get(attribute["keyword"])) is not None:
                    where[number].add(module["key"])
    rows = []
    for number in sorted(where):
        vr, _, name, _, keyword = DicomDictionary[number]
        if f"{number:08x}" in ruled or number >> 16 in NEVER_GROUPS or keyword in OURS:
            continue
        kind = _second_layer_kind(vr, keyword)
        if kind:
            module_names = " ".join(sorted(where[number])[:3])
            rows.append((f"{number:08x}", keyword, vr, kind, f"{name}: {module_names}"))
    return _write("allowed", ["tag", "keyword", "vr", "kind", "reason"], rows)


def code_words(dciodvfy: Path) -> int:
    """Write `code_words.csv`: words of the defined and enumerated terms of PS3.3; return its row count.

    The standard gives its terms in prose only. dciodvfy (dicom3tools, D. Clunie) checks against them, and has them as
    strings of its own: of those, each word of a code string is taken, but for surnames, which are `NAMES_AMONG_TERMS`.
    """
    found = re.findall(rb"(?<=\0)[A-Z0-9_ ]{2,16}(?=\0)", dciodvfy.read_bytes())
    words = {word for text in found for word in re.split(r"[ _]+", text.decode()) if CODE_WORD.fullmatch(word)}
    return _write("code_words", ["word"], [[word] for word in sorted((words | MORE_CODE_WORDS) - NAMES_AMONG_TERMS)])


def _second_layer_kind(vr: str, keyword: str) -> str | None:
    if vr in NUMERIC:
        return "number"
    if vr == "CS":
        return "code"
    if vr == "SQ":
        return "sequence"
    if keyword in BULK:
        return "bulk"
    if vr == "UI" and not NEVER_UID.search(keyword):
        return "class-uid" if CLASS_UID.search(keyword) else "uid"
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables and `edition.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder with ps3.15_E.1-1_<edition>.csv")
    parser.add_argument("--iods", type=Path, help="folder highdicom/_standard of an unpacked highdicom wheel")
    parser.add_argument("--dciodvfy", type=Path, help="the program dciodvfy of dicom3tools")
    chosen = parser.parse_args(arguments)
    profile = sorted(chosen.source.glob("ps3.15_E.1-1_*.csv"))[-1]
    edition = profile.stem.rsplit("_", 1)[1]
    private = chosen.source / f"ps3.15_E.3.10-1_{edition}.csv"
    content = chosen.source / f"ps3.15_E.3.4-1_{edition}.csv"
    counts = {
        "basic_profile": basic_profile(profile),
        "content_items": content_items(content),
        "safe_private": safe_private(private),
    }
    table.cache_clear()
    sources = [profile, content, private]
    if chosen.iods:
        counts |= {"types": types(chosen.iods), "allowed": allowed(chosen.iods)}
        sources += sorted(chosen.iods.glob("*_map.json"))
    else:
        counts |= {"types": len(table("types")), "allowed": len(table("allowed"))}
    counts["code_words"] = code_words(chosen.dciodvfy) if chosen.dciodvfy else len(table("code_words"))
    record = {
        "standard": "DICOM PS3.15 Annex E",
        "edition": edition,
        "iods": "PS3.3 as in highdicom 0.28.2",
        "rows": counts,
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources},
    }
    (FOLDER / "edition.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
