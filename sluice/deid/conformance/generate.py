"""Generate the judge's tables: `python -m sluice.deid.conformance.generate FOLDER`.

FOLDER holds the JSON files that the highdicom 0.28 wheel carries in `highdicom/_standard` (MIT licence): the modules
of each IOD and the attributes of each module, read from PS3.3 by its authors. Facts only are taken. highdicom is
read here, at build time, and never at run time.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from sluice.deid.conformance.iods import FUNCTIONAL_GROUPS

FOLDER = Path(__file__).with_name("tables")
SOURCES = ("sop_class_iod_map.json", "iod_module_map.json", "module_attribute_map.json")
DEEPEST = 5  # tags of a path: what lies deeper are codes of codes
DEEPEST_CONDITIONAL = 2  # within a functional group one more


def main() -> None:
    """Write the tables of `sluice.deid.conformance`."""
    parser = argparse.ArgumentParser(description="Generate the tables of the conformance judge.")
    parser.add_argument("folder", type=Path, help="highdicom/_standard of the 0.28 wheel")
    folder: Path = parser.parse_args().folder
    classes, iods, modules = (json.loads((folder / name).read_text()) for name in SOURCES)
    classes = {uid: iod for uid, iod in classes.items() if iod in iods}
    used = {module["key"] for iod in classes.values() for module in iods[iod]} & set(modules)
    rows = {
        "classes": _write("classes", ("sop_class", "iod"), sorted(classes.items())),
        "modules": _write("modules", ("iod", "module", "usage"), _modules(iods, set(classes.values()), used)),
        "attributes": _write("attributes", ("module", "path", "type"), _attributes(modules, used)),
    }
    edition = {
        "source": "PS3.3 as in highdicom 0.28.2 (MIT licence, https://github.com/ImagingDataCommons/highdicom)",
        "sources": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SOURCES},
        "rows": rows,
    }
    (FOLDER / "edition.json").write_text(json.dumps(edition, indent=1) + "\n", encoding="utf-8")


def _modules(iods: dict[str, Any], wanted: set[str], used: set[str]) -> Iterable[Sequence[str]]:
    for iod in sorted(wanted):
        for module in iods[iod]:
            if module["key"] in used:
                yield iod, module["key"], module["usage"]


def _attributes(modules: dict[str, Any], used: set[str]) -> Iterable[Sequence[str]]:
    """Types 1 and 2, and the conditional ones near the top: the strictest where a module names one twice."""
    for module in sorted(used):
        strictest: dict[tuple[int, ...], str] = {}
        for row in modules[module]:
            keywords = [*row["path"], row["keyword"]]
            tags = tuple(int(tag_for_keyword(keyword) or 0) for keyword in keywords)
            within_groups = tags[0] in FUNCTIONAL_GROUPS
            depth = DEEPEST_CONDITIONAL + within_groups if row["type"].endswith("C") else DEEPEST
            if row["type"] in ("1", "1C", "2", "2C") and all(tags) and len(tags) <= depth:
                strictest[tags] = min(row["type"], strictest.get(tags, "3"))
        for tags in sorted(strictest):
            yield module, ".".join(f"{tag:08X}" for tag in tags), strictest[tags]


def _write(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    kept = list(rows)
    writer.writerows(kept)
    # Without a time in it, the same facts give the same bytes.
    (FOLDER / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    return len(kept)


if __name__ == "__main__":
    main()
