"""Who may send to us: which calling AE titles from which networks, and whether we are the one that was called.

A sender that is not let in is told so by an A-ASSOCIATE-RJ (PS3.8 9.3.4), before a presentation context is looked
at. An AE title is no password: whoever may reach the port can use any. The networks, and TLS with client
certificates (`sluice.pacs.tls`), are what keeps others out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sluice.settings import Settings, is_ae_title

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network
ANYBODY = "*"
EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
SAY_AGAIN_S = 60.0  # the same refusal is logged once in so long
MOST_REMEMBERED = 1000


class AdmissionError(RuntimeError):
    """The allow-list cannot be used; the message says which entry and how it should look."""


@dataclass(frozen=True)
class Refusal:
    """Why an association is rejected, as A-ASSOCIATE-RJ says it (PS3.8 table 9-21).

    Attributes:
        result: 1 rejected for good, 2 for now.
        source: 1 service user, 2 service provider (ACSE), 3 service provider (presentation).
        reason: what it means depends on `source`.
        words: the same in words, for counts and logs.
    """

    result: int
    source: int
    reason: int
    words: str


UNKNOWN_CALLER = Refusal(1, 1, 3, "calling AE title not recognized")
NOT_US = Refusal(1, 1, 7, "called AE title not recognized")


class Admission:
    """Decides about each association request; safe to ask from many threads.

    Args:
        aes: networks from which each calling AE title may come; the title `*` stands for all. Empty: everybody may.
        called: the AE titles that senders may call us by; None: any.
    """

    def __init__(self, aes: Mapping[str, Sequence[Network]] | None = None, called: Iterable[str] | None = None) -> None:
        self.aes = {title.strip(): tuple(networks) for title, networks in (aes or {}).items()}
        self.called = None if called is None else frozenset(title.strip() for title in called)
        self._said: dict[tuple[str, str, str], float] = {}

    @classmethod
    def of(cls, settings: Settings) -> Admission:
        """What `receiver_allow`, `receiver_check_called_ae` and `receiver_also_called` say; warns when they let
        everybody in from outside.

        Raises:
            AdmissionError: an entry is malformed.
        """
        admission = cls(
            allow_list(settings.receiver_allow),
            _titles_of_ours(settings) if settings.receiver_check_called_ae else None,
        )
        if not admission.aes and not _is_loopback(settings.receiver_host):
            log.warning(
                "Everybody who reaches %s:%d may send: SLUICE_RECEIVER_ALLOW is empty. "
                "Set it to the senders you know, e.g. MR1@10.1.0.0/16,*@127.0.0.1.",
                settings.receiver_host,
                settings.receiver_port,
            )
        return admission

    def refusal(self, calling_ae: str, called_ae: str, address: str) -> Refusal | None:
        """Why this association request is rejected; None when it is welcome.

        Args:
            calling_ae, called_ae: as the A-ASSOCIATE-RQ says; blanks around them mean nothing (PS3.8 table 9-11).
            address: IP address of the sender.
        """
        calling, called = calling_ae.strip(" \0"), called_ae.strip(" \0")
        refusal = None
        if self.called is not None and called not in self.called:
            refusal = NOT_US
        elif self.aes and not self._is_known(calling, address):
            refusal = UNKNOWN_CALLER
        if refusal is not None:
            self._say(refusal, calling, called, address)
        return refusal

    def _is_known(self, calling: str, address: str) -> bool:
        try:
            host = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
            host = host.ipv4_mapped  # an IPv4 sender on a socket that takes both
        networks = (*self.aes.get(calling, ()), *self.aes.get(ANYBODY, ()))
        return any(host in network for network in networks)

    def _say(self, refusal: Refusal, calling: str, called: str, address: str) -> None:
        """Log a refusal, but not every time: a sender that is refused tries again and again."""
        now = time.monotonic()
        key = (refusal.words, calling, address)
        if now - self._said.get(key, -SAY_AGAIN_S) < SAY_AGAIN_S:
            return
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[key] = now
        log.warning(
            "Association from %s at %s to %s rejected: %s.", _shown(calling), address, _shown(called), refusal.words
        )


def allow_list(entries: Iterable[str]) -> dict[str, tuple[Network, ...]]:
    """Entries `AE@network` as networks by AE title; `*` is any title or any network.

    Raises:
        AdmissionError: an entry is malformed.
    """
    found: dict[str, tuple[Network, ...]] = {}
    for entry in entries:
        title, at, place = (part.strip() for part in entry.rpartition("@"))
        if not at or not title or not place:
            raise AdmissionError(
                f"{entry!r} in SLUICE_RECEIVER_ALLOW is no AE@network. Write for example MR1@10.1.0.0/16, "
                "CT2@* (that title from anywhere) or *@127.0.0.1 (any title from there)."
            )
        _check_title(title, "SLUICE_RECEIVER_ALLOW")
        found[title] = (*found.get(title, ()), *_networks(place, entry))
    return found


def _titles_of_ours(settings: Settings) -> tuple[str, ...]:
    """The AE titles that we answer to, the main one first."""
    for title in settings.receiver_also_called:
        _check_title(title, "SLUICE_RECEIVER_ALSO_CALLED")
    return settings.receiver_ae_title, *settings.receiver_also_called


def _check_title(title: str, where: str) -> None:
    if not is_ae_title(title):
        raise AdmissionError(f"{title!r} in {where} is no AE title: 1 to 16 ASCII characters, no backslash.")


def _networks(place: str, entry: str) -> tuple[Network, ...]:
    if place == ANYBODY:
        return EVERYWHERE
    try:
        return (ip_network(place),)
    except ValueError as error:
        raise AdmissionError(
            f"{place!r} of the entry {entry!r} in SLUICE_RECEIVER_ALLOW is no IP address or network ({error}). "
            "Write an address (10.1.2.3, fd00::7), a network (10.1.0.0/16, fd00:1::/48) or *; host names are not "
            "looked up."
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(title: str) -> str:
    """An AE title as a log line may show it: what a stranger sends must not break the line."""
    return repr(title[:16]) if title.isprintable() else ascii(title[:16])
