"""Negotiation as the acceptor: every storage class, known or not, and pynetdicom understands our answers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation

from sluice.pacs.pdu import MAX_PDU_BYTES, Violation
from sluice.pacs.receiver.negotiation import Agreed, Requested, agree, is_storage_class, read_request
from sluice.pacs.receiver.receive import Receiver
from tests.faults.hostile import associate_rq, item

PRIVATE = "1.2.840.113619.4.26"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
COMMITMENT = "1.2.840.10008.1.20.1"


def requested(*contexts: tuple[int, str, tuple[str, ...]], user: bytes = b"") -> Requested:
    information = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3") + user)
    return read_request(associate_rq(contexts, user=information)[6:])


def role(uid: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))


def answer_of(agreed: Agreed) -> A_ASSOCIATE_AC:
    """Our answer as pynetdicom reads it."""
    answer = A_ASSOCIATE_AC()
    answer.decode(agreed.answer)
    return answer


def results(agreed: Agreed) -> dict[int | None, tuple[int | None, str | None]]:
    return {c.context_id: (c.result, c.transfer_syntax) for c in answer_of(agreed).presentation_context}


def test_the_first_transfer_syntax_of_every_storage_class_is_taken() -> None:
    agreed = agree(
        requested(
            (1, CTImageStorage, (JPEG2000, ExplicitVRLittleEndian)),
            (3, PRIVATE, (ImplicitVRLittleEndian,)),
            (5, "1.2.3.4.5", ("1.2.840.113619.5.2", ExplicitVRLittleEndian)),
            (7, "1.2.840.10008.1.1", (ImplicitVRLittleEndian,)),
            (9, FIND, (ImplicitVRLittleEndian,)),
            (11, CTImageStorage, ("no uid", "../..", ExplicitVRLittleEndian)),
            (13, CTImageStorage, ()),
            (15, COMMITMENT, (ImplicitVRLittleEndian,)),
        )
    )
    assert {number: result for number, (result, _) in results(agreed).items()} == {
        1: 0, 3: 0, 5: 0, 7: 0, 9: 3, 11: 0, 13: 4, 15: 3,
    }  # fmt: skip
    assert {number: context.transfer_syntax for number, context in agreed.contexts.items()} == {
        1: JPEG2000,
        3: ImplicitVRLittleEndian,
        5: "1.2.840.113619.5.2",
        7: ImplicitVRLittleEndian,
        11: ExplicitVRLittleEndian,
    }
    assert results(agreed)[1][1] == JPEG2000
    assert answer_of(agreed).user_information.maximum_length == MAX_PDU_BYTES


def test_commitment_is_taken_where_it_is_offered() -> None:
    assert agree(requested((1, COMMITMENT, (ImplicitVRLittleEndian,))), commitment=True).contexts.keys() == {1}


@pytest.mark.parametrize(("scu", "scp", "taken"), [(1, 0, True), (1, 1, True), (0, 1, False)])
def test_we_are_the_scp_and_nothing_else(scu: int, scp: int, taken: bool) -> None:
    agreed = agree(requested((1, CTImageStorage, (ExplicitVRLittleEndian,)), user=role(CTImageStorage, scu, scp)))
    assert (1 in agreed.contexts) is taken
    answered = answer_of(agreed).user_information.role_selection[CTImageStorage]
    assert (answered.scu_role, answered.scp_role) == (scu, 0)


def test_unknown_items_are_passed_over() -> None:
    agreed = agree(requested((1, CTImageStorage, (ExplicitVRLittleEndian,)), user=item(0x77, b"?") + item(0x00, b"")))
    assert 1 in agreed.contexts


def test_pynetdicom_agrees_with_us_over_roles_extensions_and_identities(receiver: Receiver) -> None:
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CTImageStorage, b"\x02\x00\x00\x00\x00\x00"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"someone", True
    entity = AE(ae_title="SCANNER")
    association = entity.associate(
        "127.0.0.1",
        receiver.port,
        contexts=[build_context(CTImageStorage), build_context(PRIVATE), build_context(FIND)],
        ae_title="SLUICE",
        ext_neg=[extended, identity, build_role(CTImageStorage, scu_role=True, scp_role=True)],
    )
    assert association.is_established
    accepted = {c.abstract_syntax: (c.as_scu, c.as_scp) for c in association.accepted_contexts}
    assert accepted == {CTImageStorage: (True, False), PRIVATE: (True, False)}
    (answered,) = association.acceptor.sop_class_extended.values()
    assert answered == b"\x02\x00\x03\x00\x00\x00", "level 2, bit preserving, nothing coerced"
    association.release()
    assert association.is_released


@pytest.mark.parametrize(
    ("uid", "storage"),
    [
        (CTImageStorage, True), (PRIVATE, True), ("1.2.3", True), (FIND, False), (COMMITMENT, False),
        ("1.2.840.10008.1.1", False), ("1.2.840.10008.1.3.10", False), ("1.2.840.10008.5.1.4.1.1.481.2", True),
        ("1.2.840.10008.5.1.4.1.1.4", True), ("1.2.840.10008.3.1.2.3.3", False),
    ],
)  # fmt: skip
def test_what_counts_as_storage(uid: str, storage: bool) -> None:
    assert is_storage_class(uid) is storage


@given(st.binary(max_size=300))
@settings(max_examples=400)
def test_noise_is_a_violation_or_an_odd_request(noise: bytes) -> None:
    for body in (noise, associate_rq()[6:74] + noise, associate_rq()[6:-20] + noise):
        try:
            agreed = agree(read_request(body))
        except Violation:
            continue
        assert len(agreed.answer) - 6 == struct.unpack_from(">I", agreed.answer, 2)[0]


@given(st.integers(0, len(associate_rq()) - 7), st.integers(0, 255))
def test_a_damaged_request_is_a_violation_or_an_odd_request(at: int, value: int) -> None:
    body = bytearray(associate_rq()[6:])
    body[at] = value
    try:
        agree(read_request(bytes(body)))
    except Violation:
        pass
