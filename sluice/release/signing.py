"""The key that signs manifests: one of the whole house, Ed25519, outside the database like the projects' keys.

Readers check a manifest without us: the public key is PEM, the signature 64 raw bytes over the manifest as stored, so
`openssl pkeyutl -verify -rawin` does it (docs/pull.md). Private key: PKCS #8 PEM in `settings().keys`, mode 0600.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sluice.database import Database

FILE_NAME = "release-signing.pem"


class SigningKeyError(RuntimeError):
    """The signing key cannot be used; the message says what to do."""


@dataclass(frozen=True)
class SigningKey:
    """The house's signing key.

    Attributes:
        key_id: first 16 hex digits of the SHA-256 of the raw public key; manifests name it.
        public_pem: what readers pin, SubjectPublicKeyInfo in PEM.
    """

    key_id: str
    public_pem: bytes
    _private: Ed25519PrivateKey

    def sign(self, body: bytes) -> bytes:
        """Signature of `body`, 64 bytes (RFC 8032)."""
        return self._private.sign(body)

    def signed(self, body: bytes, signature: bytes) -> bool:
        """Whether we signed `body`."""
        return verifies(self._private.public_key(), body, signature)


def verifies(key: Ed25519PublicKey, body: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s of `body`."""
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True


def signing_key(folder: Path) -> SigningKey:
    """The house's key, generated the first time it is asked for; of two that ask at once both get the same.

    Raises:
        SigningKeyError: the file is readable by others, damaged, or the folder cannot be written.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            _generate(path)
        if path.stat().st_mode & 0o077:
            raise SigningKeyError(f"The signing key is open to others. Run: chmod 600 {path}")
        private = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SigningKeyError(
            f"The signing key cannot be used ({error.strerror}: {path}). "
            "Make the folder writable for this user, or restore the key from its backup."
        ) from error
    except ValueError as error:
        raise SigningKeyError(f"{path} holds no private key. Restore it from its backup.") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} holds another kind of key than Ed25519. Restore it from its backup.")
    public = private.public_key()
    return SigningKey(key_id_of(public), public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), private)


def house_key(database: Database, folder: Path) -> SigningKey:
    """The key that signs: generated for the first release of the house, never put in the place of one that is missing
    or another, as on a worker that lacks the folder. Its readers would refuse what such a key signs.

    Raises:
        SigningKeyError: as `signing_key`, or it is not the one that releases were signed with.
    """
    known = database.rows("house_key")
    key = signing_key(folder) if (folder / FILE_NAME).exists() or not known else None
    if known and (key is None or key.key_id != known[0]["key_id"]):
        here = "" if key is None else f", where {key.key_id} is"
        raise SigningKeyError(
            f"The key {known[0]['key_id']} that signs this house's releases is not in {folder}{here}. Restore it from "
            "its backup, or mount it on this worker. Only where it is lost for good, or others know it: "
            "`sluice release key --replace WHY` has the one in the folder, or a new one, take its place; tell all "
            "readers."
        )
    return key or signing_key(folder)


def announce(database: Database, folder: Path, why: str, by: str) -> SigningKey:
    """Have the key in the folder, made where there is none, sign from now on in the place of the one before.

    Raises:
        SigningKeyError: as `signing_key`.
    """
    key = signing_key(folder)
    database.execute(
        "insert into signing_key (key_id, why, announced_by) values (%s, %s, %s)", (key.key_id, why.strip(), by)
    )
    return key


def key_id_of(key: Ed25519PublicKey) -> str:
    """The id by which manifests name a key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _generate(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        temporary.unlink()
