"""Opening an association that asks: what is proposed, and what a person is told where it is not accepted."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE

from sluice.pacs import pdu
from sluice.pacs.association import FIND, MOVE, associate
from sluice.pacs.errors import (
    PacsAborted,
    PacsBusy,
    PacsError,
    PacsRefused,
    PacsTimedOut,
    PacsUnreachable,
    ServiceNotOffered,
)
from sluice.pacs.pdu import HEADER, item
from sluice.pacs.proposal import read_answer
from sluice.stack.processes import free_port
from tests.pacs.odd_pacs import (
    ASKED,
    EXPLICIT,
    FOUND,
    IMPLICIT,
    LIMIT_S,
    OddPacs,
    Peer,
    accepting,
    answered,
    ended_by,
    message,
    node,
    taking,
)


def test_the_request_is_what_another_implementation_reads() -> None:
    heard: list[A_ASSOCIATE] = []
    entity = AE(ae_title="ODD")
    entity.add_supported_context(FIND[0], ["1.2.840.10008.1.2"])
    server: Any = entity.start_server(
        ("127.0.0.1", 0), block=False,
        evt_handlers=[(evt.EVT_REQUESTED, lambda event: heard.append(event.assoc.requestor.primitive))],
    )  # fmt: skip
    try:
        with associate(node(server.server_address[1]), MOVE + FIND) as to:
            assert (to.offers(FIND[0]), to.offers(MOVE[0])) == (True, False)
            with pytest.raises(ServiceNotOffered, match="does not offer C-MOVE"):
                to.move(ASKED)
    finally:
        server.shutdown()
    (asked,) = heard
    assert (asked.called_ae_title, asked.calling_ae_title) == ("ODD", "SLUICE_TEST")
    assert asked.application_context_name == "1.2.840.10008.3.1.1.1"
    contexts: Any = asked.presentation_context_definition_list
    assert [(c.context_id, c.abstract_syntax) for c in contexts] == [(1, MOVE[0]), (3, FIND[0])]
    assert [str(uid).encode() for uid in contexts[0].transfer_syntax] == [EXPLICIT, IMPLICIT]
    assert asked.maximum_length_received == pdu.MAX_PDU_BYTES


@pytest.mark.parametrize(
    ("result", "source", "reason", "kind", "words"),
    [
        (1, 1, 3, PacsRefused, "does not know our AE title 'SLUICE_TEST'"),
        (1, 1, 7, PacsRefused, "does not answer to the AE title 'ODD'"),
        (2, 3, 2, PacsBusy, "busy"),
        (1, 3, 1, PacsBusy, "busy"),
        (2, 1, 1, PacsBusy, "source 1, reason 1"),
        (1, 2, 2, PacsRefused, "source 2, reason 2"),
    ],
)
def test_a_rejection_is_read_even_when_the_connection_closes_at_once(
    result: int, source: int, reason: int, kind: type[PacsError], words: str
) -> None:
    def reject(peer: Peer) -> None:
        peer.read()
        peer.send(pdu.associate_rj(result, source, reason))

    with OddPacs(reject) as odd:
        for _ in range(10):
            with pytest.raises(PacsError, match=words) as caught, associate(node(odd.port), FIND):
                pass
            assert type(caught.value) is kind


def test_a_rejection_unheard_is_read_too() -> None:
    def reject(peer: Peer) -> None:
        peer.send(pdu.associate_rj(2, 3, 2))
        select.select([peer.connection], [], [], 5)  # closing over what was not read resets the connection

    with OddPacs(reject) as odd:
        for _ in range(10):
            with pytest.raises(PacsBusy), associate(node(odd.port), FIND):
                pass


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed"),
        pytest.param(pdu.abort(2, 1), id="abort"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP"),
        pytest.param(b"\x02\x00\xff\xff\xff\xff", id="huge"),
        pytest.param(HEADER.pack(pdu.ASSOCIATE_AC, 70) + bytes(68) + b"\x21\x00", id="cut item"),
        pytest.param(HEADER.pack(pdu.ASSOCIATE_AC, 100) + bytes(20), id="cut PDU"),
        pytest.param(pdu.release_rq(), id="release"),
        pytest.param(pdu.HEADER.pack(pdu.ASSOCIATE_RJ, 0), id="empty rejection"),
        pytest.param(message(answered(FOUND, 0)), id="data"),
    ],
)
def test_whatever_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    def play(peer: Peer) -> None:
        if select.select([peer.connection], [], [], 5)[0] and peer.connection.recv(1, socket.MSG_PEEK) == b"\x01":
            peer.read()
            peer.send(answer)

    words = "before the association was made"
    with OddPacs(play) as odd, pytest.raises(PacsAborted, match=words), associate(node(odd.port), FIND):
        pass


@pytest.mark.parametrize("beginning", [b"", accepting()[:30]], ids=["nothing", "half an answer"])
def test_silence_runs_into_the_time_limit(beginning: bytes) -> None:
    started = time.monotonic()
    words = "did not answer the association request"
    with OddPacs(taking(beginning)) as odd, pytest.raises(PacsTimedOut, match=words), associate(node(odd.port), FIND):
        pass
    assert LIMIT_S <= time.monotonic() - started < LIMIT_S + 3


def test_nobody_and_an_unknown_host() -> None:
    with pytest.raises(PacsUnreachable, match="Nobody answers"), associate(node(free_port()), FIND):
        pass
    for host in ("pacs.invalid", "x" * 70 + ".example"):
        with pytest.raises(PacsUnreachable, match="is not known"), associate(node(1, host=host), FIND):
            pass


def test_an_answer_in_many_pieces_with_unknown_items_and_a_long_list() -> None:
    unknown = b"".join(item(0x70 + number, bytes(1000)) for number in range(100))

    def slowly(peer: Peer) -> None:
        peer.read()
        answer = accepting(3, 0, extra=unknown)
        for at in range(0, len(answer), 7_001):
            peer.send(answer[at : at + 7_001])
        assert len(answer) > 100_000
        peer.rest()

    with OddPacs(slowly) as odd, associate(node(odd.port), MOVE + FIND) as to:
        assert (to.offers(MOVE[0]), to.offers(FIND[0])) == (False, True)
    assert ended_by(odd, pdu.RELEASE_RQ)


@pytest.mark.parametrize("answer", [accepting(3), accepting(4), accepting(0, syntax=b"1.2.840.10008.1.2.2")])
def test_no_context_or_one_that_was_not_proposed_is_not_offered(answer: bytes) -> None:
    with OddPacs(taking(answer)) as odd:
        with pytest.raises(ServiceNotOffered, match="not the service asked for"), associate(node(odd.port), FIND):
            pass
        assert ended_by(odd, pdu.RELEASE_RQ)


def test_contexts_that_were_never_proposed_and_padded_uids() -> None:
    answer = read_answer(accepting(0, 0, 0, max_pdu=None, syntax=IMPLICIT + b"\0")[HEADER.size :], FIND)
    assert list(answer.contexts) == list(FIND)
    assert answer.max_pdu == 16_384
