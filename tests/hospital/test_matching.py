"""C-FIND matching as PS3.4 C.2.2.2 has it."""

from __future__ import annotations

import pytest

from sluice.hospital.matching import matches

CASES = [
    ("LO", [], ["anything"], True),
    ("LO", [], [], True),
    ("LO", ["*"], [], True),
    ("LO", ["x"], [], False),
    ("SH", ["A26*"], ["A2612345"], True),
    ("SH", ["A26?2345"], ["A2612345"], True),
    ("SH", ["a26*"], ["A2612345"], False),
    ("SH", ["A.6*"], ["A2612345"], False),
    ("PN", ["müller*"], ["Müller^Jürgen"], True),
    ("PN", ["*山田*"], ["Yamada^Tarou=山田^太郎=やまだ^たろう"], True),
    ("PN", ["Yamada^Tarou"], ["Yamada^Tarou=山田^太郎"], True),
    ("PN", ["Yamada"], ["Yamada^Tarou"], False),
    ("DA", ["20261026"], ["20261026"], True),
    ("DA", ["20261026-"], ["20261027"], True),
    ("DA", ["-20261025"], ["20261026"], False),
    ("DA", ["20261020-20261026"], ["20261026"], True),
    ("DA", ["20261026"], ["2026.10.26"], True),
    ("TM", ["0800-1200"], ["120059.999999"], True),
    ("TM", ["0800-1200"], ["120100"], False),
    ("TM", ["0800-115959"], ["115959.5"], True),
    ("TM", ["08"], ["083000"], True),
    ("TM", ["-075959"], ["080000"], False),
    ("TM", ["120000-120000.499999"], ["120000.4"], True),
    ("TM", ["120000-120000.499999"], ["120000.5"], False),
    ("UI", ["1.2", "1.3"], ["1.3"], True),
    ("UI", ["1.*"], ["1.3"], False),
    ("CS", ["CT", "MR"], ["SR", "MR"], True),
    ("CS", ["CT", "MR"], ["SR"], False),
    ("IS", ["01"], ["1"], True),
]


@pytest.mark.parametrize(("vr", "wanted", "stored", "answer"), CASES)
def test_matching(vr: str, wanted: list[str], stored: list[str], answer: bool) -> None:
    assert matches(vr, wanted, stored) is answer
