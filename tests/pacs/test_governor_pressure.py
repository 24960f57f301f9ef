"""What a PACS bears, learned: halved by complaints, won back step by step, never above policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sluice.pacs.governor.leases import AGEING_S, TURN_S, Claim, Priority, entitled
from sluice.pacs.governor.pressure import Bearing, Tempo, Usual, complaint, recovered, slowed

TEMPO = Tempo()
NOW = datetime(2026, 10, 26, 3, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_pacs_that_bears_two_is_driven_at_two_and_asked_for_more_ever_more_rarely() -> None:
    """A model of days: it complains whenever more than two are in use; policy would allow four."""
    bears, policy = 2, 4
    bearing, good, now, bytes_above = Bearing(), 0, NOW, 0
    at_level = dict.fromkeys(range(1, policy + 1), 0)
    for second in range(86_400):
        now = later(second)
        level = bearing.within(policy)
        assert 1 <= level <= policy
        at_level[level] += 1
        if level > bears:
            bytes_above += 1
            bearing, good = Bearing(**vars(slowed(bearing, level, TEMPO)) | {"since": now}), 0
            continue
        good += level
        step = recovered(bearing, level, good, policy, now, TEMPO)
        if step:
            bearing, good = Bearing(**vars(step[2]) | {"since": now}), 0
    assert at_level[2] > 0.95 * 86_400
    assert bytes_above < 20, "it was asked too much only now and then"
    assert bearing.ceiling == 2

    bears = 4  # it was given more memory
    for second in range(86_400, 2 * 86_400):
        now = later(second)
        level = bearing.within(policy)
        good += level
        step = recovered(bearing, level, good, policy, now, TEMPO)
        if step:
            bearing, good = Bearing(**vars(step[2]) | {"since": now}), 0
        if level == policy:
            break
    assert bearing.within(policy) == policy


def test_a_complaint_halves_and_pauses_and_one_association_only_pauses() -> None:
    once = slowed(Bearing(), 8, TEMPO)
    assert (once.concurrency, once.ceiling, once.pause_s) == (4, 7, 1.0)
    alone = slowed(Bearing(), 1, TEMPO)
    assert (alone.concurrency, alone.ceiling, alone.pause_s) == (1, None, 1.0)
    for _ in range(20):
        alone = slowed(alone, 1, TEMPO)
    assert alone.pause_s == TEMPO.longest_pause_s


def test_recovery_takes_time_and_good_answers_and_ends_at_policy() -> None:
    bearing = Bearing(concurrency=1, pause_s=2.0, since=NOW)
    assert recovered(bearing, 1, 99, 4, later(1), TEMPO) is None, "too early"
    assert recovered(bearing, 1, 1, 4, later(99), TEMPO) is None, "too few good answers"
    seen = []
    now = NOW
    while step := recovered(bearing, 4, 99, 2, now := now + timedelta(seconds=30), TEMPO):
        bearing = Bearing(**vars(step[2]) | {"since": now})
        seen.append((bearing.pause_s, bearing.concurrency))
    assert seen == [(1.0, 1), (0.0, 1), (0.0, 2), (0.0, None)]
    assert recovered(Bearing(), 1, 99, 4, later(99), TEMPO) is None, "nothing to recover from"


def test_lower_hours_do_not_make_it_forget_what_the_pacs_bears() -> None:
    learned = Bearing(concurrency=2, ceiling=2, since=NOW)
    assert recovered(learned, 2, 99, 2, later(99_999), TEMPO) is None
    assert learned.within(2) == learned.within(8) == 2


def test_answers_that_take_far_longer_than_usual_are_a_complaint_once_usual_is_known() -> None:
    usual = Usual(0.0, 0.0, 0)
    for _ in range(TEMPO.learn):
        usual = usual.after(50.0, TEMPO)
        assert not usual.is_slow(TEMPO)
    for _ in range(500):
        usual = usual.after(60.0, TEMPO)
    assert not usual.is_slow(TEMPO)
    slow = usual
    for _ in range(12):
        slow = slow.after(600.0, TEMPO)
    assert slow.is_slow(TEMPO)
    assert slow.usual_ms < 80, "what is slow does not become usual at once"
    assert not slow.forgiven().is_slow(TEMPO)


def test_what_is_quick_anyway_is_never_slow() -> None:
    usual = Usual(0.0, 0.0, 0)
    for _ in range(100):
        usual = usual.after(2.0, TEMPO)
    for _ in range(20):
        usual = usual.after(60.0, TEMPO)
    assert not usual.is_slow(TEMPO)


@pytest.mark.parametrize(
    ("status", "may_be_cap", "complains"),
    [
        ("A702", False, True),
        ("A700", False, True),
        ("A700", True, False),
        ("FE00", False, True),
        ("FE00", True, False),
        ("503", False, True),
        ("0000", False, False),
        ("B000", False, False),
        ("A801", False, False),
        ("A900", False, False),
        ("C001", False, False),
        (None, False, False),
    ],
)
def test_which_answers_say_that_it_is_too_much(status: str | None, may_be_cap: bool, complains: bool) -> None:
    assert (complaint("C-MOVE", status, may_be_cap) is not None) is complains


def claim(lease_id: int, priority: Priority, waited_s: float = 0, held_s: float | None = None, rank: int = 9) -> Claim:
    granted = None if held_s is None else NOW - timedelta(seconds=held_s)
    return Claim(lease_id, priority, NOW - timedelta(seconds=waited_s), granted, None if held_s is None else rank)


def test_urgent_goes_before_routine_before_backfill_and_who_waits_longer_first() -> None:
    backfill, routine = claim(1, Priority.BACKFILL, 30), claim(2, Priority.ROUTINE, 20)
    urgent, older = claim(3, Priority.URGENT, 10), claim(4, Priority.URGENT, 11)
    everybody = [backfill, routine, urgent, older]
    assert entitled(everybody, 1, NOW) == {4}
    assert entitled(everybody, 2, NOW) == {3, 4}
    assert entitled(everybody, 3, NOW) == {2, 3, 4}
    assert entitled(everybody, 9, NOW) == {1, 2, 3, 4}


def test_a_holder_stays_among_equals_and_gives_way_to_the_more_urgent() -> None:
    holder = claim(1, Priority.ROUTINE, 900, held_s=800, rank=1)
    assert entitled([holder, claim(2, Priority.ROUTINE, AGEING_S - 1)], 1, NOW) == {1}
    assert entitled([holder, claim(2, Priority.URGENT)], 1, NOW) == {2}
    assert entitled([holder, claim(2, Priority.BACKFILL)], 1, NOW) == {1}


def test_nobody_starves_and_a_turn_lasts_long_enough_to_be_of_use() -> None:
    urgent = claim(1, Priority.URGENT, 10, held_s=10, rank=0)
    patient = claim(2, Priority.BACKFILL, 3 * AGEING_S)
    assert entitled([urgent, patient], 1, NOW) == {2}, "endless urgent work lets a patient backfill through"
    begun = claim(2, Priority.BACKFILL, 3 * AGEING_S, held_s=TURN_S - 1, rank=-1)
    waiting = claim(1, Priority.URGENT, 60)
    assert entitled([begun, waiting], 1, NOW) == {2}
    ended = claim(2, Priority.BACKFILL, 3 * AGEING_S, held_s=TURN_S + 1, rank=-1)
    assert entitled([ended, waiting], 1, NOW) == {1}


def test_urgent_work_waits_two_turns_at_most_however_much_has_waited_long() -> None:
    backfills = [claim(number, Priority.BACKFILL, 100 * AGEING_S) for number in range(10, 74)]
    assert 1 not in entitled([*backfills, claim(1, Priority.URGENT, TURN_S)], 2, NOW)
    assert 1 in entitled([*backfills, claim(1, Priority.URGENT, 2 * TURN_S)], 2, NOW)
