"""Who may send to us: by calling AE title, network, and the name that we are called by."""

from __future__ import annotations

import logging

import pytest

from sluice.pacs.receiver.admission import NOT_US, UNKNOWN_CALLER, Admission, AdmissionError, allow_list
from sluice.settings import Settings, SettingsError, settings

ALLOW = ("MR1@10.1.0.0/16", "MR1@fd00:1::/48", "*@127.0.0.1", "CT2@*", "W@RD@10.9.9.9")


@pytest.mark.parametrize(
    ("calling", "address", "welcome"),
    [
        ("MR1", "10.1.255.3", True),
        ("  MR1   ", "10.1.0.1", True),
        ("MR1\0", "10.1.0.1", True),
        ("MR1", "10.2.0.1", False),
        ("mr1", "10.1.0.1", False),
        ("MR1", "fd00:1::9", True),
        ("MR1", "fd00:2::9", False),
        ("MR1", "::ffff:10.1.3.4", True),
        ("MR1", "::ffff:10.2.3.4", False),
        ("ANYTHING", "127.0.0.1", True),
        ("CT2", "203.0.113.9", True),
        ("CT2", "fe80::1%eth0", True),
        ("CT2", "", False),
        ("W@RD", "10.9.9.9", True),
        ("", "10.1.0.1", False),
        ("*", "10.1.0.1", False),
    ],
)
def test_title_and_network_have_to_go_together(calling: str, address: str, welcome: bool) -> None:
    refusal = Admission(allow_list(ALLOW), ["SLUICE"]).refusal(calling, "SLUICE", address)
    assert refusal is (None if welcome else UNKNOWN_CALLER)


def test_the_refusals_are_those_of_the_standard() -> None:
    assert (UNKNOWN_CALLER.result, UNKNOWN_CALLER.source, UNKNOWN_CALLER.reason) == (1, 1, 3)
    assert (NOT_US.result, NOT_US.source, NOT_US.reason) == (1, 1, 7)


def test_a_sender_that_calls_somebody_else_is_refused_even_without_a_list() -> None:
    assert Admission({}, ["SLUICE"]).refusal("MR1", "SLUCE", "10.0.0.1") is NOT_US
    assert Admission({}, ["SLUICE"]).refusal("MR1", "SLUICE  ", "10.0.0.1") is None
    assert Admission({}, None).refusal("MR1", "SLUCE", "10.0.0.1") is None


def test_more_titles_of_ours_are_answered_to_and_a_wrong_one_is_said() -> None:
    admission = Admission.of(Settings(receiver_also_called=("OLDARCHIVE", " RESEARCH ")))
    for called in ("SLUICE", "OLDARCHIVE", "RESEARCH", "RESEARCH    "):
        assert admission.refusal("MR1", called, "10.0.0.1") is None
    for called in ("", "OLD", "oldarchive", "SLUICE,OLDARCHIVE"):
        assert admission.refusal("MR1", called, "10.0.0.1") is NOT_US
    assert Admission.of(Settings(receiver_also_called=("X",), receiver_check_called_ae=False)).called is None
    for bad in ("A" * 17, "A\\B", "ÄE", " "):
        with pytest.raises(AdmissionError, match="SLUICE_RECEIVER_ALSO_CALLED is no AE title"):
            Admission.of(Settings(receiver_also_called=(bad,)))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("MR1", "no AE@network"),
        ("@10.0.0.1", "no AE@network"),
        ("MR1@", "no AE@network"),
        ("MR1@10.1.0.0/99", "no IP address or network"),
        ("MR1@10.1.2.3/16", "no IP address or network.*host bits"),
        ("MR1@mr.example", "host names are not looked up"),
        ("M" * 17 + "@*", "no AE title"),
        ("M\\R@*", "no AE title"),
    ],
)
def test_a_malformed_entry_says_what_is_wrong(entry: str, words: str) -> None:
    with pytest.raises(AdmissionError, match=f"(?s){words}"):
        allow_list(["MR1@10.0.0.1", entry])


def test_the_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for written in ("MR1@10.1.0.0/16, *@::1", '["MR1@10.1.0.0/16", "*@::1"]'):
        monkeypatch.setenv("SLUICE_RECEIVER_ALLOW", written)
        assert Settings().receiver_allow == ("MR1@10.1.0.0/16", "*@::1")
    monkeypatch.setenv("SLUICE_RECEIVER_ALLOW", '["MR1@10.1.0.0/16"')
    monkeypatch.setenv("SLUICE_DATABASE_URL", "postgresql://u:hidden@db/x")
    settings.cache_clear()
    with pytest.raises(SettingsError, match="SLUICE_RECEIVER_ALLOW") as caught:
        settings()
    assert "hidden" not in str(caught.value)
    settings.cache_clear()


def test_an_open_door_to_outside_is_said_at_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Admission.of(Settings(receiver_host="127.0.0.1")).called == {"SLUICE"}
        Admission.of(Settings(receiver_host="0.0.0.0", receiver_allow=("CT2@*",)))
        assert caplog.messages == []
        Admission.of(Settings(receiver_host="0.0.0.0", receiver_check_called_ae=False))
    (said,) = caplog.messages
    assert "SLUICE_RECEIVER_ALLOW is empty" in said


def test_refusals_are_logged_once_and_cannot_break_the_line(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission({}, ["SLUICE"])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            admission.refusal("MR1\nERROR x", "OTHER", "10.0.0.1")
        admission.refusal("MR2", "OTHER", "10.0.0.1")
    assert len(caplog.messages) == 2
    assert "\n" not in "".join(caplog.messages)
    assert "10.0.0.1 to 'OTHER' rejected: called AE title not recognized" in caplog.messages[0]
