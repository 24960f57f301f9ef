"""What the environment may say, and what is said about the rest."""

from __future__ import annotations

import pytest

from sluice.settings import CHECKOUT, Settings, SettingsError, settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SLUICE_RECEIVER_PORT", "99999", "65535"),
        ("SLUICE_RECEIVER_AE_TITLE", "a\\b", "no backslash"),
        ("SLUICE_RECEIVER_AE_TITLE", "SEVENTEEN_LETTERS", "1 to 16"),
        ("SLUICE_TIME_ZONE", "Europe/Atlantis", "no such time zone"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(SettingsError, match=name) as caught:
        settings()
    assert said in str(caught.value)


def test_an_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOME", "")
    monkeypatch.setenv("SLUICE_AUDIT_AFTER_DAYS", "1,7")
    monkeypatch.setenv("SLUICE_MOVE_SOURCE_AE_TITLES", "PACS1,PACS2")
    read = Settings()
    assert (read.home, read.audit_after_days) == (CHECKOUT / "var", (1, 7))
    assert read.move_source_ae_titles == ("PACS1", "PACS2")
