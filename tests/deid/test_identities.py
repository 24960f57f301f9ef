"""Pseudonyms, UIDs, shifts: the same everywhere, different between projects, and never the original."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.deid.identities import (
    Identities,
    cap_age,
    hkdf,
    is_patient,
    shift_date,
)

KEY = bytes(range(32))
PINNED = ("RAD-ILF2TTTFUR", "AQCMKHH7TZ5", -1114, "3e1d43594dd57e46", "2.25.229159181131812957093778568145982297179")


def test_hkdf_is_rfc_5869() -> None:
    # Test case 3: no salt, no info.
    assert hkdf(b"\x0b" * 22, "", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_identities_are_pinned() -> None:
    """Published data depend on these: a change here breaks the link between versions of every project."""
    ours = Identities(KEY, "RAD")
    assert ours.uid("1.2.3.4") == Identities(KEY, "XYZ").uid("1.2.3.4")
    assert (ours.patient("PID-1"), ours.accession("A1"), ours.shift_days("PID-1"), ours.key_id) == PINNED[:4]
    assert ours.uid("1.2.3.4") == PINNED[4]


@given(st.text(min_size=1, max_size=64), st.text(max_size=20))
def test_forms(patient_id: str, issuer: str) -> None:
    ours, others = Identities(KEY, "RAD"), Identities(KEY[::-1], "RAD")
    assert re.fullmatch(r"RAD-[A-Z2-7]{10}", ours.patient(patient_id, issuer))
    assert ours.patient(patient_id, issuer) != others.patient(patient_id, issuer)
    assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", ours.uid(patient_id))
    assert len(ours.accession(patient_id)) <= 16
    assert -1825 <= ours.shift_days(patient_id, issuer) <= -365
    assert ours.patient(f" {patient_id}\0 ", issuer) == ours.patient(patient_id.strip(" \0"), issuer)


def test_issuers_tell_patients_apart_and_no_concatenation_joins_them() -> None:
    ours = Identities(KEY, "RAD")
    assert len({ours.patient("1", "A"), ours.patient("1", "B"), ours.patient("1"), ours.patient("A1")}) == 4


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20240301", "20240229"), ("2024.03.01", "20240229"), ("20240101", "20231231"),
        ("20240301235959.999999+0200", "20240229235959.999999+0200"), ("2024030112", "2024022912"),
        ("202403", None), ("2024", None), ("20240230", None), ("00010101", None), ("", None), ("today", None),
        ("20240301-20240401", None),
    ],
)  # fmt: skip
def test_dates_move_by_whole_days(value: str, moved: str | None) -> None:
    assert shift_date(value, -1) == moved


@pytest.mark.parametrize(
    ("value", "capped"),
    [
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("104Y", "090Y"),
        ("999M", "999M"),
        ("012W", "012W"),
        ("45", None),
        ("", None),
    ],
)
def test_old_ages_are_one_class(value: str, capped: str | None) -> None:
    assert cap_age(value) == capped


@pytest.mark.parametrize("value", ["", "  ", "\0", "UNKNOWN", "anonymous", "0", None])
def test_placeholders_are_nobody(value: str | None) -> None:
    assert not is_patient(value)
