"""Pseudonyms, UIDs, shifts: the same everywhere, different between projects, and never the original."""

from __future__ import annotations

import re
import uuid
from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.deid.held import Held
from sluice.deid.identities import (
    Identities,
    Subject,
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
        ("20240301-20240401", None), ("2024030125", None), ("202403011260", None), ("20240301+2500", None),
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


@pytest.mark.parametrize(
    "value", ["", "  ", "\0", "UNKNOWN", "anonymous", "0", "000", "99999", "xxx", "--", "??", None]
)
def test_placeholders_are_nobody(value: str | None) -> None:
    assert not is_patient(value)


DAYS = st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 12, 31))


@given(DAYS, DAYS, st.text(min_size=1, max_size=20), st.booleans())
def test_intervals_and_with_whole_weeks_weekdays_stay(one: date, other: date, patient_id: str, weeks: bool) -> None:
    days = Identities(KEY, "RAD", whole_weeks=weeks).shift_days(patient_id)
    moved = [shift_date(f"{day:%Y%m%d}", days) for day in (one, other)]
    first, second = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved if text)
    assert first - second == one - other
    assert first < one
    if weeks:
        assert days % 7 == 0
        assert first.weekday() == one.weekday()


@given(DAYS, st.times(), st.integers(-12 * 4, 14 * 4), st.integers(-1825, -365))
def test_time_of_day_and_zone_stay_also_around_midnight(day: date, at: time, quarters: int, days: int) -> None:
    sign, minutes = "-" if quarters < 0 else "+", abs(quarters) * 15
    rest = f"{at:%H%M%S.%f}{sign}{minutes // 60:02d}{minutes % 60:02d}"
    moved = shift_date(f"{day:%Y%m%d}{rest}", days)
    assert moved is not None
    assert moved[8:] == rest


@given(st.text(max_size=30))
def test_what_is_no_full_date_is_not_kept(text: str) -> None:
    moved = shift_date(text, -400)
    assert moved is None or re.fullmatch(r"\d{8}(\d{2}){0,3}(\.\d{1,6})?([+-]\d{4})?", moved)


@given(st.integers(0, 999), st.sampled_from("DWMY"))
def test_nobody_is_above_89_but_in_one_class(number: int, unit: str) -> None:
    capped = cap_age(f"{number:03d}{unit}")
    assert capped == ("090Y" if unit == "Y" and number > 89 else f"{number:03d}{unit}")


@given(st.lists(st.from_regex(r"[12](\.(0|[1-9]\d{0,8})){2,6}", fullmatch=True), min_size=2, unique=True))
def test_uids_are_valid_distinct_and_do_not_depend_on_order(originals: list[str]) -> None:
    ours = Identities(KEY, "RAD")
    given_ = [ours.uid(uid) for uid in originals]
    assert len(set(given_)) == len(originals)
    assert [Identities(KEY, "RAD").uid(uid) for uid in reversed(originals)] == given_[::-1]
    for uid in given_:
        value = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert len(uid) <= 44
        assert value.version == 4
    assert ours.uid(originals[0] + "\0") == given_[0]


def test_identities_of_certain_patients_know_nobody_else() -> None:
    ours = Identities(KEY, "RAD")
    index = ours.patient_index("PID-1")
    frozen = ours.knowing({index: Subject("RAD-KEPT", -400)})
    assert (frozen.patient(" PID-1 "), frozen.shift_days("PID-1")) == ("RAD-KEPT", -400)
    assert frozen.uid("1.2.3.4") == ours.uid("1.2.3.4")
    with pytest.raises(Held, match="held-identity"):
        frozen.patient("PID-1", "another issuer")
    assert KEY.hex() not in repr(vars(ours)["_keys"]) + repr(ours)
