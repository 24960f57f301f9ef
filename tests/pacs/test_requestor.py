"""Our requestor against PACS that answer oddly: each association ends with a word that somebody can act on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode

from sluice.pacs import pdu, requestor
from sluice.pacs.association import ECHO, FIND, GET, MOVE, associate, identifier_of
from sluice.pacs.errors import (
    PacsAborted,
    PacsTimedOut,
    ServiceNotOffered,
)
from sluice.pacs.fetch.get import Fetching
from sluice.pacs.outcomes import Found
from sluice.pacs.pdu import HEADER, PIECE, Gone
from tests.pacs.odd_pacs import (
    ASKED,
    ECHOED,
    FOUND,
    LIMIT_S,
    MOVED,
    OddPacs,
    Peer,
    accepting,
    answer_of,
    answered,
    asking,
    elements,
    encoded,
    ended_by,
    message,
    node,
    p_data,
    piece,
    short,
    taking,
    uids,
)
from tests.pacs.pretend import PretendPacs, make_study

# --- C-FIND ------------------------------------------------------------------------------------------------------

TWO = answer_of("1.1") + answer_of("1.2") + message(answered(FOUND, 0))


def in_bytes(peer: Peer) -> None:
    for at in range(len(TWO)):
        peer.send(TWO[at : at + 1])


def crowded() -> bytes:
    """Both answers, in fragments, in one PDU."""
    pieces = []
    for uid in ("1.1", "1.2"):
        command, dataset = answered(FOUND, 0xFF00, dataset=True), encoded(StudyInstanceUID=uid)
        pieces += [piece(command[:9], True, False), piece(command[9:], True), piece(dataset[:3], False, False),
                   piece(dataset[3:], False, False), piece(b"", False)]  # fmt: skip
    return p_data(*pieces, piece(answered(FOUND, 0), True))


@pytest.mark.parametrize("said", [TWO, in_bytes, crowded()], ids=["plain", "byte by byte", "in one PDU"])
def test_answers_are_read_however_they_are_cut(said: Any) -> None:
    with asking(said, timeout_s=10) as (to, odd):
        found = to.find(ASKED)
        assert (uids(found), found.status, found.unreadable) == (["1.1", "1.2"], "0000", 0)
    assert ended_by(odd, pdu.RELEASE_RQ)


@pytest.mark.parametrize("most", [20, 64, 0])
def test_a_long_identifier_is_cut_to_what_the_pacs_takes(most: int) -> None:
    asked: list[tuple[bytes, bytes]] = []

    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting(max_pdu=most))
        asked.append(peer.request())
        peer.send(message(answered(FOUND, 0xA700)))
        peer.rest()

    many = [f"1.2.{number}" for number in range(3000)]
    with OddPacs(play) as odd, associate(node(odd.port, timeout_s=10), FIND) as to:
        assert to.find(identifier_of("STUDY", {"StudyInstanceUID": many})).status == "A700"
    ((command, identifier),) = asked
    assert list(decode(BytesIO(identifier), False, True).StudyInstanceUID) == many
    assert elements((0x0100, short(0x0020))) in command


def test_an_unreadable_answer_is_counted_and_the_others_are_kept() -> None:
    garbage = message(answered(FOUND, 0xFF00, dataset=True), b"\x20\x00\x0d\x00UI\xff\xff1.2")
    none = message(answered(FOUND, 0xFF01))
    with asking(answer_of("1.1"), garbage, none, message(answered(FOUND, 0xB001))) as (to, _):
        found = to.find(ASKED)
    assert (uids(found)[0], found.unreadable + len(found.answers), found.status) == ("1.1", 3, "B001")
    assert found.unreadable >= 1


def abort(peer: Peer) -> None:
    peer.send(pdu.abort(0, 0))


def close(peer: Peer) -> None:
    peer.connection.shutdown(socket.SHUT_RDWR)


def end(peer: Peer) -> None:
    peer.send(pdu.release_rq())
    assert peer.read()[0] == pdu.RELEASE_RP


BREAKS: dict[str, tuple[bytes | Callable[[Peer], None], int | None]] = {
    "abort": (abort, None),
    "close": (close, None),
    "release": (end, pdu.RELEASE_RP),
    "garbage": (b"\xff" * 100, pdu.ABORT),
    "huge PDU": (HEADER.pack(pdu.P_DATA_TF, 0xFFFFFFF0), pdu.ABORT),
    "empty PDU": (p_data(), pdu.ABORT),
    "piece too long": (HEADER.pack(pdu.P_DATA_TF, 8) + PIECE.pack(500, 1, 3) + b"xx", pdu.ABORT),
    "cut command": (p_data(piece(answered(FOUND, 0)[:-1], True)), pdu.ABORT),
    "no status": (message(answered(FOUND, None)), pdu.ABORT),
    "answer to a move": (message(answered(MOVED, 0)), pdu.ABORT),
    "dataset of nothing": (p_data(piece(b"\0" * 8, False)), pdu.ABORT),
    "dataset elsewhere": (
        p_data(piece(answered(FOUND, 0xFF00, dataset=True), True), piece(b"\0" * 8, False, context=3)), pdu.ABORT,
    ),
    "command in a command": (
        p_data(piece(answered(FOUND, 0xFF00, dataset=True), True), piece(answered(FOUND, 0), True)), pdu.ABORT,
    ),
    "second request for an association": (accepting(), pdu.ABORT),
    "endless command": (p_data(piece(bytes(60_000), True, False)) * 2, pdu.ABORT),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_an_association_that_breaks_off_keeps_what_came_before(name: str) -> None:
    how, last = BREAKS[name]
    with OddPacs(taking(accepting(), answer_of("1.1"), how)) as odd:
        with associate(node(odd.port), FIND) as to:
            with pytest.raises(PacsAborted, match="broke the association off during C-FIND") as caught:
                to.find(ASKED)
            assert not to.is_open
        assert isinstance(caught.value.partial, Found)
        assert uids(caught.value.partial) == ["1.1"]
        assert last is None or ended_by(odd, last)


def test_a_dataset_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestor, "MOST_IDENTIFIER_BYTES", 100_000)
    endless = (
        p_data(piece(answered(FOUND, 0xFF00, dataset=True), True)) + p_data(piece(bytes(60_000), False, False)) * 2
    )
    with asking(endless) as (to, odd):
        with pytest.raises(PacsAborted):
            to.find(ASKED)
        assert ended_by(odd, pdu.ABORT)


def test_half_an_answer_and_then_silence_is_a_time_out() -> None:
    started = time.monotonic()
    with asking(answer_of("1.1"), answer_of("1.2")[:40]) as (to, odd):
        with pytest.raises(PacsTimedOut, match="no sign of life for 1 s during C-FIND") as caught:
            to.find(ASKED)
        assert uids(caught.value.partial) == ["1.1"]  # type: ignore[arg-type]
        assert ended_by(odd, pdu.ABORT)
    assert LIMIT_S <= time.monotonic() - started < LIMIT_S + 3


def test_each_answer_starts_the_time_limit_anew() -> None:
    def slowly(peer: Peer) -> None:
        for number in range(4):
            time.sleep(0.5)
            peer.send(answer_of(f"1.{number}"))
        peer.send(message(answered(FOUND, 0)))

    with asking(slowly) as (to, _):
        assert len(to.find(ASKED).answers) == 4


def test_answers_to_other_requests_are_passed_over_and_do_not_count_as_life() -> None:
    def chatter(peer: Peer) -> None:
        peer.connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(100):
                peer.send(message(answered(FOUND, 0, number=77)))
                time.sleep(0.1)

    with asking(message(answered(FOUND, 0, number=9)), answer_of("1.1"), message(answered(FOUND, 0))) as (to, _):
        assert uids(to.find(ASKED)) == ["1.1"]
    started = time.monotonic()
    with asking(chatter) as (to, _), pytest.raises(PacsTimedOut):
        to.find(ASKED)
    assert time.monotonic() - started < 15


def test_what_the_pacs_asks_of_us_is_refused() -> None:
    refusals: list[bytes] = []

    def ask(peer: Peer) -> None:
        store = elements((0x0002, b"1.2\0"), (0x0100, short(1)), (0x0110, short(5)), (0x0800, short(1)),
                         (0x1000, b"1.9\0"))  # fmt: skip
        peer.send(message(store, bytes(1000)))
        refusals.append(peer.request()[0])

    with asking(ask, TWO) as (to, _):
        assert uids(to.find(ASKED)) == ["1.1", "1.2"]
    assert elements((0x0100, short(0x8001)), (0x0120, short(5))) in refusals[0]
    assert elements((0x0900, short(0x0211))) in refusals[0]


def test_many_requests_over_one_association() -> None:
    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting())
        for number in range(1, 6):
            peer.request()
            peer.send(message(answered(FOUND, 0, number=number)))
        peer.rest()

    with OddPacs(play) as odd, associate(node(odd.port), FIND) as to:
        for _ in range(5):
            assert to.find(ASKED).status == "0000"


# --- between requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [abort, close, end])
def test_an_association_that_ends_between_requests_is_seen(how: Callable[[Peer], None]) -> None:
    ended = threading.Event()

    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting())
        peer.request()
        peer.send(TWO)
        try:
            how(peer)
        finally:
            ended.set()

    with OddPacs(play) as odd, associate(node(odd.port), FIND + MOVE) as to:
        to.find(ASKED)
        if how is not end:  # who releases waits for our answer, which comes when we look
            assert ended.wait(10)
        deadline = time.monotonic() + 10
        while to.is_open:
            assert time.monotonic() < deadline
        assert ended.wait(10)
        with pytest.raises(PacsAborted, match="during C-FIND"):
            to.find(ASKED)
        assert isinstance(to.move(ASKED).error, PacsAborted)


def test_late_answers_and_requests_between_do_no_harm() -> None:
    echo = elements(
        (0x0002, b"1.2.840.10008.1.1\0"), (0x0100, short(0x30)), (0x0110, short(3)), (0x0800, short(0x0101))
    )

    def between(peer: Peer) -> None:
        peer.send(TWO + message(answered(FOUND, 0)) + message(echo))
        peer.request()  # the refusal of the C-ECHO
        peer.request()
        peer.send(message(answered(FOUND, 0, number=2)))

    with asking(between) as (to, _):
        to.find(ASKED)
        assert to.is_open
        assert to.find(ASKED).status == "0000"


@pytest.mark.parametrize("how", [b"", pdu.release_rq(), TWO, b"\xff" * 20], ids=["none", "both", "data", "garbage"])
def test_a_release_ends_whatever_the_pacs_makes_of_it(how: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestor, "RELEASE_S", 0.5)

    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting())
        assert peer.read()[0] == pdu.RELEASE_RQ
        peer.send(how)
        if how == pdu.release_rq():
            assert peer.read()[0] == pdu.RELEASE_RP
            peer.send(pdu.release_rp())
        with contextlib.suppress(Gone):
            peer.read()

    started = time.monotonic()
    with OddPacs(play) as odd, associate(node(odd.port), FIND) as to:
        pass
    assert not to.is_open
    assert time.monotonic() - started < 5


# --- C-MOVE and C-ECHO -------------------------------------------------------------------------------------------


def test_a_move_counts_what_the_pacs_counts() -> None:
    failed = encoded(FailedSOPInstanceUIDList=["1.5", "1.6"])
    said = [
        message(answered(MOVED, 0xFF00)),
        message(answered(MOVED, 0xFF00, remaining=3, completed=1, failed=0, warnings=0)),
        message(answered(MOVED, 0xFF00, dataset=True), encoded(PatientID="not asked for")),
        message(answered(MOVED, 0xFF00)),
        message(answered(MOVED, 0xB000, dataset=True, completed=2, failed=2, warnings=1), failed),
    ]
    asked: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.read()
        peer.send(accepting())
        asked.append(peer.request()[0])
        peer.send(b"".join(said))
        peer.rest()

    with OddPacs(play) as odd, associate(node(odd.port), MOVE) as to:
        moved = to.move(ASKED)
    assert (moved.status, moved.completed, moved.failed, moved.warnings) == ("B000", 2, 2, 1)
    assert (moved.failed_uids, moved.error) == ({"1.5", "1.6"}, None)
    assert elements((0x0600, b"SLUICE")) in asked[0]


def test_a_move_without_any_count_or_with_an_unreadable_list() -> None:
    with asking(message(answered(MOVED, 0xFF00)), message(answered(MOVED, 0)), contexts=MOVE) as (to, _):
        moved = to.move(ASKED)
    assert (moved.status, moved.completed, moved.failed_uids, moved.error) == ("0000", 0, frozenset(), None)
    with asking(message(answered(MOVED, 0xC000, dataset=True), b"\x08\x00\x58\x00UI\xff\xff1"), contexts=MOVE) as (
        to,
        _,
    ):
        assert to.move(ASKED).status == "C000"


def test_a_silent_move_lasts_as_long_as_something_arrives() -> None:
    arrived = [0]

    def arriving(peer: Peer) -> None:
        for _ in range(10):
            time.sleep(0.2)
            arrived[0] += 1
        peer.send(message(answered(MOVED, 0, completed=10)))

    with asking(arriving, contexts=MOVE) as (to, _):
        moved = to.move(ASKED, lambda: arrived[0])
    assert (moved.status, moved.completed, moved.error) == ("0000", 10, None)


@pytest.mark.parametrize("last", [1, 10])
def test_a_move_of_which_nothing_comes_any_more_times_out(last: int) -> None:
    def broken() -> object:
        raise RuntimeError("the ledger is away")

    started = time.monotonic()
    with asking(message(answered(MOVED, 0xFF00, completed=last)), contexts=MOVE) as (to, odd):
        moved = to.move(ASKED, broken if last == 1 else lambda: 5)
        assert isinstance(moved.error, PacsTimedOut)
        assert (moved.status, moved.completed) == (None, last)
        assert ended_by(odd, pdu.ABORT)
        assert not to.is_open
    assert LIMIT_S <= time.monotonic() - started < 2 * LIMIT_S + 3


def test_a_move_that_is_aborted_says_what_was_counted() -> None:
    with asking(message(answered(MOVED, 0xFF00, completed=3)), abort, contexts=MOVE) as (to, _):
        moved = to.move(ASKED)
    assert isinstance(moved.error, PacsAborted)
    assert moved.completed == 3


def test_an_echo_and_its_failures() -> None:
    with asking(message(answered(ECHOED, 0)), contexts=ECHO) as (to, _):
        assert to.echo() == "0000"
    with asking(message(answered(ECHOED, 0x0122)), contexts=ECHO) as (to, _):
        assert to.echo() == "0122"
    with asking(contexts=ECHO) as (to, _), pytest.raises(PacsTimedOut):
        to.echo()
    with asking(contexts=FIND) as (to, _), pytest.raises(ServiceNotOffered):
        to.echo()


def test_who_leaves_in_an_error_aborts() -> None:
    with OddPacs(taking(accepting())) as odd:
        with pytest.raises(KeyError), associate(node(odd.port), FIND):
            raise KeyError
        assert ended_by(odd, pdu.ABORT)


# --- beside pynetdicom -------------------------------------------------------------------------------------------


def test_both_requestors_say_the_same_of_the_same_answers() -> None:
    class Nothing(Fetching):
        def __init__(self) -> None:
            self.contexts, self.roles, self.handlers = [], [], []

    holds = make_study(2, 3) + make_study(1, 1)
    with PretendPacs(holds, offers_get=True, cap=1, cap_status=0xA700) as pacs:
        keys: tuple[str, ...] = ("StudyInstanceUID", "PatientID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
        query = identifier_of("STUDY", {"PatientID": "P1"}, keys[:1] + keys[2:])
        with associate(pacs.node(), FIND) as ours, associate(pacs.node(), FIND + GET, fetching=Nothing()) as theirs:
            mine, other = ours.find(query), theirs.find(query)
            with pytest.raises(TypeError, match="fetching"):
                theirs.echo()
            with pytest.raises(TypeError, match="fetching"):
                ours.event_report("1.2", "1.3", 1, Dataset())  # type: ignore[arg-type]
    assert mine.answers == other.answers
    assert len(mine.answers) == 1
    assert (mine.status, mine.unreadable) == (other.status, other.unreadable) == ("A700", 0)
