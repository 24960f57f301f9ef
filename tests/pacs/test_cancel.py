"""C-CANCEL-RQ over an association: a PACS that honours it, ignores it, aborts, or is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from sluice.pacs import interruption, pdu
from sluice.pacs.association import MOVE, associate
from sluice.pacs.errors import PacsAborted
from tests.pacs.odd_pacs import (
    ASKED,
    MOVED,
    OddPacs,
    Peer,
    accepting,
    answered,
    asking,
    elements,
    ended_by,
    message,
    node,
    short,
)

CANCEL = (elements((0x0100, short(0x0FFF))), elements((0x0120, short(1))), elements((0x0800, short(0x0101))))


def cancelled(peer: Peer) -> None:
    """Hear the C-CANCEL-RQ."""
    command, _ = peer.request()
    assert all(element in command for element in CANCEL)


def test_a_pacs_that_honours_the_cancel_says_so_and_stays() -> None:
    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting())
        peer.request()
        peer.send(message(answered(MOVED, 0xFF00, remaining=7, completed=2)))
        cancelled(peer)
        peer.send(message(answered(MOVED, 0xFF00, remaining=6, completed=3)))
        peer.send(message(answered(MOVED, 0xFE00, remaining=6, completed=3)) * 2)
        peer.request()
        peer.send(message(answered(MOVED, 0, number=2, completed=6)))
        peer.rest()

    with OddPacs(play) as odd, associate(node(odd.port, timeout_s=10), MOVE) as to:
        moved = to.move(ASKED, has_to_end=lambda: True)
        assert (moved.interrupted, moved.status, moved.completed, moved.error) == (True, "FE00", 3, None)
        again = to.move(ASKED, has_to_end=lambda: False)
        assert (again.interrupted, again.status, again.completed) == (False, "0000", 6)
    assert ended_by(odd, pdu.RELEASE_RQ)


def silent(peer: Peer) -> None:
    cancelled(peer)


def chatting(peer: Peer) -> None:
    cancelled(peer)
    for number in range(1000):
        peer.send(message(answered(MOVED, 0xFF00, remaining=1000 - number, completed=number)))
        time.sleep(0.02)


@pytest.mark.parametrize("ignores", [silent, chatting])
def test_a_pacs_that_ignores_the_cancel_is_left(
    ignores: Callable[[Peer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 0.5)
    started = time.monotonic()
    with asking(ignores, contexts=MOVE, timeout_s=20) as (to, odd):
        moved = to.move(ASKED, lambda: time.monotonic(), lambda: True)
        assert (moved.interrupted, moved.status, moved.error) == (True, None, None)
        assert not to.is_open
        if ignores is silent:
            assert ended_by(odd, pdu.ABORT)
    assert 0.5 <= time.monotonic() - started < 10


def test_a_pacs_that_aborts_for_the_cancel_is_not_blamed() -> None:
    def abort(peer: Peer) -> None:
        cancelled(peer)
        peer.send(pdu.abort(2, 0))

    with asking(abort, contexts=MOVE) as (to, _):
        moved = to.move(ASKED, has_to_end=lambda: True)
    assert (moved.interrupted, moved.status, moved.error) == (True, None, None)


def test_without_an_interruption_an_abort_is_one() -> None:
    with asking(lambda peer: peer.send(pdu.abort(2, 0)), contexts=MOVE) as (to, _):
        moved = to.move(ASKED, has_to_end=lambda: False)
    assert (moved.interrupted, type(moved.error)) == (False, PacsAborted)


def test_a_silent_move_is_interrupted_long_before_its_time_limit() -> None:
    due = threading.Event()

    def stand(peer: Peer) -> None:
        due.set()
        cancelled(peer)
        peer.send(message(answered(MOVED, 0xFE00)))

    started = time.monotonic()
    with asking(stand, contexts=MOVE, timeout_s=60) as (to, _):
        assert to.move(ASKED, lambda: 1, due.is_set).status == "FE00"
    assert time.monotonic() - started < 10
