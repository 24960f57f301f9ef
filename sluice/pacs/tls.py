"""DICOM over TLS, both ways: our receiver as the server, and us as the client of a PACS.

Both sides keep to the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12): TLS 1.3 where the
peer has it, else 1.2 with ephemeral elliptic curves and AES-GCM, nothing older, no renegotiation, no compression.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from sluice.pacs.errors import PacsError
from sluice.pacs.node import PacsNode
from sluice.settings import Settings

log = logging.getLogger(__name__)

# RFC 9325 4.2. Level 2 refuses keys that are worth less than 112 bits (RSA below 2048) and SHA-1 signatures.
CIPHERS_1_2 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=2"
)
HANDSHAKE_S = 10.0
EXPIRES_SOON = timedelta(days=30)


class TlsError(PacsError):
    """TLS cannot be set up or was not agreed upon; the message says what happened and what to do."""

    reason_code = "pacs-unreachable"
    permanent = True


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """The receiver's side of TLS; None when no certificate is set and it speaks plainly.

    Raises:
        TlsError: a file is missing, unreadable, expired or does not fit to the others.
    """
    certificate, key, ca = (
        settings.receiver_tls_certificate,
        settings.receiver_tls_key,
        settings.receiver_tls_ca,
    )
    if certificate is None:
        if key or ca:
            raise TlsError(
                "SLUICE_RECEIVER_TLS_KEY or SLUICE_RECEIVER_TLS_CA is set, but SLUICE_RECEIVER_TLS_CERTIFICATE is not. "
                "Set it too, or none of them for a receiver without TLS."
            )
        return None
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, certificate, key, "the receiver")
    if settings.receiver_tls_clients != "none":
        if ca is None:
            raise TlsError(
                "Senders have to show certificates, but SLUICE_RECEIVER_TLS_CA does not say which authorities count. "
                "Set it, or SLUICE_RECEIVER_TLS_CLIENTS=none to take senders without a certificate."
            )
        _load_authorities(context, ca, "SLUICE_RECEIVER_TLS_CA")
        required = settings.receiver_tls_clients == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_tls(node: PacsNode) -> tuple[ssl.SSLContext, str] | None:
    """Our side of TLS to a PACS and the name that its certificate has to carry; None when it speaks plainly.

    Raises:
        TlsError: a file is missing, unreadable, expired or does not fit to the others.
    """
    if not node.tls:
        return None
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if node.tls_ca:
        _load_authorities(context, Path(node.tls_ca), f"The connection {node.name}")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if node.tls_certificate:
        key = Path(node.tls_key) if node.tls_key else None
        _load_own(context, Path(node.tls_certificate), key, f"the connection {node.name}")
    if node.tls_name == "*":
        context.check_hostname = False
    return context, node.host if node.tls_name in ("", "*") else node.tls_name


def secured(connection: socket.socket, context: ssl.SSLContext, limit_s: float = HANDSHAKE_S) -> ssl.SSLSocket:
    """The server's handshake on an accepted connection, within `limit_s` seconds however slowly the peer sends.

    The connection is closed when it fails. Afterwards the socket has the time limit that it had before.

    Raises:
        TlsError: the peer speaks no TLS, shows no certificate that counts, or is too slow.
    """
    patience = connection.gettimeout()
    sender = _address(connection)
    wrapped: ssl.SSLSocket | None = None
    try:
        connection.setblocking(False)
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        _shake_hands(wrapped, time.monotonic() + limit_s)
        wrapped.settimeout(patience)
    except (OSError, ValueError) as error:
        (wrapped or connection).close()
        raise TlsError(f"No TLS with the sender at {sender}: {_fault(error)}.") from error
    return wrapped


def why_not(node: PacsNode) -> str | None:
    """Why no association with `node` comes about, as far as TLS is the cause: a sentence; None when it is not.

    Asked after a failure, because what pynetdicom saw of it is lost. Opens a connection of its own and sends nothing
    but the handshake.
    """
    if not node.tls:
        if _speaks_tls(node):
            return (
                f"{node.host}:{node.port} speaks TLS, but the connection {node.name!r} does not ask for it. "
                "Switch TLS on in the connection."
            )
        return None
    context, name = client_tls(node) or (None, "")
    assert context is not None
    try:
        with (
            socket.create_connection((node.host, node.port), HANDSHAKE_S) as plain,
            context.wrap_socket(plain, server_hostname=name) as wrapped,
        ):
            wrapped.settimeout(1.0)  # with TLS 1.3 a server says only afterwards that our certificate does not count
            wrapped.recv(1)
    except OSError as error:
        return handshake_fault(node, error)
    return None


def handshake_fault(node: PacsNode, error: OSError) -> str | None:
    """What an error of the handshake, or of the first reading after it, means; None where it is not TLS's."""
    if isinstance(error, TimeoutError):
        return None  # nothing said after the handshake: it waits for us, as it should
    if isinstance(error, ssl.SSLError):
        return f"No TLS with the PACS {node.address}: {_fault(error)}. {_advice(error)}"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return f"No TLS with the PACS {node.address}: it closed the connection. Does it speak TLS on this port?"
    return None


def _speaks_tls(node: PacsNode) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # only to see whether it answers; nothing is sent
    try:
        with socket.create_connection((node.host, node.port), 2.0) as plain:
            context.wrap_socket(plain).close()
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # only who speaks TLS can say in TLS that it will not
    except OSError:
        return False
    return True


def _address(connection: socket.socket) -> str:
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return "an address that is gone"


def _shake_hands(wrapped: ssl.SSLSocket, deadline: float) -> None:
    waiting = select.poll()  # unlike select.select it takes descriptors above 1023
    waiting.register(wrapped, 0)
    while True:
        try:
            return wrapped.do_handshake()
        except ssl.SSLWantReadError:
            waiting.modify(wrapped, select.POLLIN)
        except ssl.SSLWantWriteError:
            waiting.modify(wrapped, select.POLLOUT)
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise TimeoutError


def _context(side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None, whose: str) -> None:
    """Our certificate with its chain, and its key (in the same file where `key` is None)."""
    _check_dates(certificate, whose)
    if key is not None:
        _read(key, f"key of {whose}")

    def no_password() -> str:
        raise TlsError(
            f"The key {key or certificate} of {whose} is locked by a password. Store it without one, mode 0600."
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        raise TlsError(
            f"Certificate {certificate} and key {key or certificate} of {whose} cannot be used ({_reason(error)}). "
            "They have to be PEM files that belong together, RSA from 2048 bits or an elliptic curve."
        ) from error


def _check_dates(certificate: Path, whose: str) -> None:
    data = _read(certificate, f"certificate of {whose}")
    try:
        own = x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise TlsError(f"{certificate} holds no certificate in PEM form. Give the certificate of {whose}.") from error
    now = datetime.now(UTC)
    if own.not_valid_after_utc < now:
        raise TlsError(
            f"The certificate {certificate} of {whose} expired on {own.not_valid_after_utc:%Y-%m-%d}. Renew it."
        )
    if own.not_valid_before_utc > now:
        raise TlsError(
            f"The certificate {certificate} of {whose} is valid only from {own.not_valid_before_utc:%Y-%m-%d %H:%M} "
            "UTC on. Check this machine's clock."
        )
    if own.not_valid_after_utc - now < EXPIRES_SOON:
        log.warning(
            "The certificate %s of %s expires on %s. Renew it; nothing has to be started again.",
            certificate, whose, f"{own.not_valid_after_utc:%Y-%m-%d}",
        )  # fmt: skip


def _load_authorities(context: ssl.SSLContext, ca: Path, whose: str) -> None:
    _read(ca, f"list of authorities of {whose}")
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise TlsError(f"{whose}: {ca} holds no certificate in PEM form. Give the authority's certificate.") from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(
            f"The {what} cannot be read: {path} ({error.strerror}). Check the path and its permissions."
        ) from error


_FAULTS = {
    "HTTP_REQUEST": "it speaks HTTP, not DICOM",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "RECORD_LAYER_FAILURE": "the other side does not speak TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "NO_SHARED_CIPHER": "it offers no cipher suite of the BCP 195 profile",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no TLS from 1.2 on",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority that signed our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours and got none",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke the handshake off; it may want a certificate, or other cipher suites",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection in the middle of the handshake",
}
_ADVICE = {
    "WRONG_VERSION_NUMBER": "Switch TLS off in the connection, or give the port on which the PACS speaks it.",
    "RECORD_LAYER_FAILURE": "Switch TLS off in the connection, or give the port on which the PACS speaks it.",
    "TLSV1_ALERT_UNKNOWN_CA": "Give the administrator of the PACS the certificate of our authority.",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "Name our certificate and key in the connection.",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "Name our certificate and key in the connection, if it wants one.",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "Renew the certificate that the connection names.",
}


def _fault(error: Exception) -> str:
    """What went wrong in a handshake, in words; never what the peer sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLEOFError):
        return _FAULTS["UNEXPECTED_EOF_WHILE_READING"]
    if isinstance(error, ssl.SSLError):
        return _FAULTS.get(error.reason or "", _reason(error))
    if isinstance(error, TimeoutError):
        return "the handshake took too long"
    return "the connection broke in the middle of the handshake"


def _advice(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return "Put the name that the certificate carries into the connection's TLS name (or *, to take any)."
        if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return "Ask the administrator of the PACS to renew it; check this machine's clock."
        return "Name the authority that signed it in the connection."
    return _ADVICE.get(error.reason or "", "Ask the administrator of the PACS which TLS profile it keeps to.")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or "TLS error").replace("_", " ").lower()
