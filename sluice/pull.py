"""Fetch a release and prove that it is what the hospital signed. One file: it runs inside Sluice, or alone.

    python pull.py s3://bucket/project/v3/ DIR          needs: pip install cryptography boto3
    python pull.py https://host/bucket/project/v3/ DIR  needs: pip install cryptography

What is checked: `manifest.json` by its Ed25519 signature, `SHA256SUMS` by the digest in the manifest, every file by its
digest in `SHA256SUMS`. A file has its name only after its digest was right; what was cut goes on where it stopped. DIR
becomes a copy of the project's folder in the bucket, so versions share what they have in common. What was withdrawn
since is deleted. docs/pull.md says more, and how to check by hand. Nothing else of Sluice is imported here, on purpose.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import random
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Literal, Protocol

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None  # type: ignore[no-redef]

STATE = ".sluice-pull"
OURS = ("manifest.json", "manifest.json.sig")  # of a version's folder, written last
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
FORMAT = "sluice-release/2"
MISSING = 3  # exit code: done, and something could not be had
ATTEMPTS = 5  # of one file, with pauses that double from half a second
CHUNK = 1 << 20
SMALL_BYTES = 2 << 30  # of a file that is read whole: SHA256SUMS of ten million objects
TINY_BYTES = 64 << 10  # of a signature or a key
LONGEST = 900  # of a path below the project's folder; S3 keys end at 1024 bytes
LONGEST_PART = 200  # of a name: most disks end at 255 bytes, and `.part` and a dot have to fit
LOOKS = 3  # at a manifest that changes while its files are fetched
TIMEOUT_S = 60
SHOW_EVERY_S = 5.0
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired")
REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "401", "AllAccessDisabled")
ABSENT = ("NoSuchKey", "404", "NotFound")


class PullError(RuntimeError):
    """The release cannot be fetched, or is not what it should be; the message says what to do."""


class _Passing(Exception):  # noqa: N818
    """A failure that may pass: no answer, a cut, a busy server."""


@dataclass
class Pulled:
    """What was done.

    Attributes:
        fetched: files that came now, `bytes` in sum.
        present: files that were here already, and right.
        withdrawn: local copies that were deleted, because the hospital took the originals back.
        failed: path and reason of what could not be had.
    """

    project: str
    version: int
    key_id: str
    fetched: int = 0
    bytes: int = 0
    present: int = 0
    withdrawn: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """A line of SHA256SUMS: path below the project's folder, digest, and how many bytes it can have at most."""

    path: str
    sha256: str
    most: int

    @property
    def kind(self) -> str:
        """`dicom`, `png`, `nifti`, `tables`, or the name of a file of the version itself."""
        return _kind_of(self.path)


def _kind_of(path: str) -> str:
    first, *rest = path.split("/")[1:]
    return rest[0] if rest and re.fullmatch(r"r[0-9]+", first) else first


@dataclass(frozen=True)
class _Signed:
    """A manifest whose signature is right, and of what it says all that is gone by here.

    Attributes:
        pem: the key by which it is right.
        sizes: of the version's own files by name, and the sums of all objects by kind.
    """

    body: bytes
    signature: bytes
    key_id: str
    pem: bytes
    revision: int
    removed: tuple[str, ...]
    sums: dict[str, Any]
    sizes: dict[str, int]

    @classmethod
    def of(cls, said: dict[str, Any], body: bytes, signature: bytes, key_id: str, pem: bytes) -> _Signed:
        """Of a manifest.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it has another form.
        """
        sums = {"name": said["sums"]["name"], "bytes": int(said["sums"]["bytes"]), "sha256": said["sums"]["sha256"]}
        if not _is_inside(f"v{said['version']}/{sums['name']}"):
            raise ValueError("a list outside of the folder")
        sizes = {file["name"]: int(file["bytes"]) for file in said["files"]}
        sizes |= {f"{kind}/": int(one["bytes"]) for kind, one in said["objects"].items()}
        removed = tuple(path for path in said["removed"] if isinstance(path, str))
        return cls(body, signature, key_id, pem, int(said.get("revision", 1)), removed, sums, sizes)

    def most_of(self, place: str, path: str) -> int:
        """How many bytes a file can have: its own where the manifest names it, else all of its kind together."""
        own = self.sizes.get(path.removeprefix(place)) if path.startswith(place) else None
        return self.sizes.get(f"{_kind_of(path)}/", 0) if own is None else own


class _Remote(Protocol):
    def small(self, path: str, most: int) -> bytes | None:
        """A file of at most so many bytes whole; None where there is none."""

    def chunks(self, path: str, start: int) -> tuple[int, Iterator[bytes]]:
        """Bytes from `start`, or from 0 where the server knows no ranges; where they begin, and they themselves."""


class _Http:
    """A public bucket, or any web server that has the files."""

    def __init__(self, root: str) -> None:
        self.root = root

    def small(self, path: str, most: int) -> bytes | None:
        """As `_Remote`."""
        return _whole(self, path, most)

    def chunks(self, path: str, start: int) -> tuple[int, Iterator[bytes]]:
        """As `_Remote`."""
        request = urllib.request.Request(self.root + urllib.parse.quote(path))
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing after what we have
                return start, iter(())
            raise _told(str(error.code), self.root) from error
        except (OSError, HTTPException) as error:
            raise _Passing(str(error)) from error
        begins = start if answer.status == 206 else 0
        return begins, _read(answer, int(answer.headers.get("Content-Length") or -1))


class _S3:
    """A bucket, by the usual environment of AWS: keys, profile, role, AWS_ENDPOINT_URL."""

    def __init__(self, bucket: str, root: str) -> None:
        try:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise PullError("Fetching from s3:// needs boto3. Run: pip install boto3") from None
        try:
            session = boto3.Session()
        except BotoCoreError as error:
            raise PullError(f"{error}. Check AWS_PROFILE.") from error
        own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {"s3": {"addressing_style": "path"}} if own else {}
        if session.get_credentials() is None:
            options["signature_version"] = UNSIGNED
        region = session.region_name or "us-east-1"
        config = Config(retries={"mode": "standard", "max_attempts": 3}, read_timeout=TIMEOUT_S, **options)
        self.client: Any = session.client("s3", region_name=region, config=config)
        self.bucket, self.root = bucket, root

    def small(self, path: str, most: int) -> bytes | None:
        """As `_Remote`."""
        return _whole(self, path, most)

    def chunks(self, path: str, start: int) -> tuple[int, Iterator[bytes]]:
        """As `_Remote`."""
        from botocore.exceptions import BotoCoreError, ClientError

        asked = {"Range": f"bytes={start}-"} if start else {}
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.root + path, **asked)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in ("InvalidRange", "416"):
                return start, iter(())
            raise _told(code, f"s3://{self.bucket}") from error
        except BotoCoreError as error:
            raise _Passing(type(error).__name__) from error
        begins = start if "ContentRange" in answer else 0
        return begins, _read(answer["Body"], int(answer["ContentLength"]))


def _whole(remote: _Remote, path: str, most: int) -> bytes | None:
    """A file in memory.

    Raises:
        PullError: it has more than `most` bytes: nothing of it is signed yet, and it must not fill the memory.
    """
    body = bytearray()
    try:
        for chunk in remote.chunks(path, 0)[1]:
            body += chunk
            if len(body) > most:
                raise PullError(f"{path} has more than {most >> 20} MB. Somebody put it there; tell the hospital.")
    except FileNotFoundError:
        return None
    return bytes(body)


def _told(code: str, where: str) -> Exception:
    if code in ABSENT:
        return FileNotFoundError(code)
    if code in EXPIRED:
        return PullError(
            f"The credentials for {where} have expired ({code}). Renew them and run the same command again."
        )
    if code in REFUSED:
        return PullError(
            f"{where} refuses these credentials ({code}). Check AWS_ACCESS_KEY_ID, AWS_PROFILE and the policy."
        )
    return _Passing(code)


def _read(body: Any, length: int) -> Iterator[bytes]:
    """Chunks of an answer; one that ends before its length is a cut."""
    seen = 0
    while True:
        try:
            chunk = body.read(CHUNK)
        except Exception as error:  # each client has errors of its own for a connection that breaks
            raise _Passing(type(error).__name__) from error
        if not chunk:
            break
        seen += len(chunk)
        yield chunk
    if 0 <= seen < length:
        raise _Passing("the connection was cut")


def open_remote(address: str) -> tuple[_Remote, str, int]:
    """Where the project's folder is, its name, and the version that an address names.

    Raises:
        PullError: the address names no version.
    """
    parts = urllib.parse.urlsplit(address)
    match = re.fullmatch(r"(.*/)?([a-z0-9][a-z0-9-]*)/v([0-9]+)(/manifest\.json)?/?", parts.path)
    if parts.scheme not in ("s3", "http", "https") or not match or not parts.netloc:
        raise PullError(
            f"{address} names no release. Write s3://bucket/project/v3/ or https://host/bucket/project/v3/."
        )
    root = f"{(match[1] or '/').lstrip('/')}{match[2]}/"
    if parts.scheme == "s3":
        return _S3(parts.netloc, root), match[2], int(match[3])
    return _Http(f"{parts.scheme}://{parts.netloc}/{root}"), match[2], int(match[3])


def pull(
    address: str,
    folder: Path,
    key: Path | None = None,
    only: Sequence[str] = (),
    since: int | None = None,
    jobs: int = 8,
    check: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Pulled:
    """Fetch a version into `folder`, or what of it is missing there.

    Args:
        address: `s3://bucket/project/vN/` or `http(s)://…/project/vN/`.
        key: the hospital's public key (PEM); None trusts the one in the bucket the first time, and that one from then
            on.
        only: kinds to fetch (`dicom`, `png`, `nifti`, `tables`); all when empty.
        since: leave out what that version has.
        jobs: files at once.
        check: read files that are here already again, instead of believing their size and time.

    Raises:
        PullError: it is not what it should be, it cannot be reached, or the disk is full.
    """
    remote, project, version = open_remote(address)
    release = _Release(remote, project, folder, say)
    try:
        return release.fetch(version, key, tuple(only), since, jobs, check)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise PullError(
                f"The disk of {folder} is full. Make room and run the same command again: it goes on from here."
            ) from error
        if error.errno == errno.ELOOP:
            raise PullError(_is_link(str(error.filename or folder))) from error
        raise PullError(
            f"{error.filename or folder} cannot be used ({error.strerror}). Check whose it is, or take another folder."
        ) from error


class _Release:
    """One project's folder in a bucket, and its copy here."""

    def __init__(self, remote: _Remote, project: str, folder: Path, say: Callable[[str], None]) -> None:
        self.remote, self.project, self.folder, self.say = remote, project, folder, say
        self.state = folder / STATE
        self._verified = _Verified(self.state / "verified")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No second pull into this folder until this one ends, however it ends.

        Raises:
            PullError: there is one, or what was fetched into the folder meanwhile is of another project.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _inside(self.folder, self.state / "lock")
        self.state.mkdir(exist_ok=True)
        with os.fdopen(os.open(self.state / "lock", os.O_WRONLY | os.O_CREAT | NO_LINK, 0o666), "w") as lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise PullError(
                        f"Another pull into {self.folder} is under way. Let it end, or take another folder."
                    ) from None
            self._is_ours()
            yield

    def fetch(
        self, version: int, key: Path | None, only: tuple[str, ...], since: int | None, jobs: int, check: bool
    ) -> Pulled:
        self._is_ours()
        signed = self._manifest(version, key)
        with self._alone():
            for look in range(1, LOOKS + 1):
                self._trust(signed, key)
                try:
                    pulled = self._have(version, signed, key, only, since, jobs, check)
                    if not pulled.failed:
                        return pulled
                except _Changed as changed:
                    pulled, words = None, str(changed)
                again = self._manifest(version, key)  # a recall takes out files while we fetch them
                if again.body == signed.body or look == LOOKS:
                    break
                self.say(f"The hospital changed v{version} meanwhile. Once more, by what it says now.")
                signed = again
            if pulled is None:
                raise PullError(words)
            return pulled

    def _have(
        self,
        version: int,
        signed: _Signed,
        key: Path | None,
        only: tuple[str, ...],
        since: int | None,
        jobs: int,
        check: bool,
    ) -> Pulled:
        pulled = Pulled(self.project, version, signed.key_id)
        sums, entries = self._entries(version, signed)
        withdrawn = set(signed.removed)
        pulled.withdrawn = self._delete(sorted(filter(_is_inside, withdrawn)))
        self._note_revision(version, signed.revision)
        known = {entry.kind for entry in entries}
        if wrong := set(only) - known:
            raise PullError(f"v{version} has no {', '.join(sorted(wrong))}. It has: {', '.join(sorted(known))}.")
        wanted = [entry for entry in entries if entry.path not in withdrawn and (not only or entry.kind in only)]
        if since is not None:
            before = self._manifest(since, key)
            there = {entry.path for entry in self._entries(since, before)[1]}
            wanted = [entry for entry in wanted if entry.path not in there]
        self.say(f"{self.project} v{version}: {len(wanted)} files wanted, signed by {pulled.key_id}.")
        self._all(wanted, jobs, check, pulled)
        if not pulled.failed:
            place = f"v{version}/"
            self._write(f"{place}manifest.json.sig", signed.signature)
            self._write(f"{place}{signed.sums['name']}", sums)
            self._write(f"{place}manifest.json", signed.body)  # last: who finds it finds what it names
        return pulled

    def _write(self, path: str, body: bytes) -> None:
        _write(self.folder, self.folder / path, body)

    def _is_ours(self) -> None:
        path = self.state / "project"
        if path.is_file():
            here = path.read_text(encoding="utf-8").strip()
            if here != self.project:
                raise PullError(f"{self.folder} holds the project {here}. Take another folder for {self.project}.")
        elif self.folder.is_dir() and any(one.name != STATE for one in self.folder.iterdir()):
            raise PullError(f"{self.folder} is not empty, and nothing of {self.project}. Take an empty folder.")

    def _manifest(self, version: int, key: Path | None) -> _Signed:
        """The checked manifest of a version."""
        place = f"v{version}/"
        body = self._small(f"{place}manifest.json")
        if body is None:
            raise PullError(
                f"There is no release v{version} of {self.project} there: the address is wrong, or it is not "
                "published yet."
            )
        signature = self._small(f"{place}manifest.json.sig", TINY_BYTES)
        try:
            manifest = json.loads(body)
            key_id = str(manifest["signed_by"]["key_id"])
            format_ = manifest.get("format")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            key_id, format_ = "", None
        if format_ != FORMAT or signature is None or not re.fullmatch(r"[0-9a-f]{16}", key_id):
            raise PullError(
                f"The manifest of v{version} is not signed or of another format ({str(format_)[:40]}). "
                "Fetch a newer pull.py, or ask the hospital to release again."
            )
        pem = self._verified_by(body, signature, key_id, key, f"The manifest of v{version}")
        if (manifest.get("project"), manifest.get("version")) != (self.project, version):
            raise PullError(
                f"At v{version} of {self.project} stands the manifest of v{str(manifest.get('version'))[:9]} of "
                f"{str(manifest.get('project'))[:40]}. Somebody moved it; ask the hospital."
            )
        try:
            signed = _Signed.of(manifest, body, signature, key_id, pem)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PullError(f"The manifest of v{version} does not say what it should. Tell the hospital.") from None
        here = self._revision_here(version)
        if here > signed.revision:
            raise PullError(
                f"The bucket has an older manifest of v{version} (revision {signed.revision}) than this folder "
                f"({here}): what the hospital withdrew since stands in it again. Do not use it; tell the hospital."
            )
        return signed

    def _revision_here(self, version: int) -> int:
        """Of the manifest that was gone by last; a recall makes the next one. 0 where there is none."""
        seen = [0]
        for path in (self.folder / f"v{version}" / "manifest.json", self._revision_of(version)):
            with suppress(OSError, ValueError, TypeError, AttributeError):
                said = json.loads(path.read_bytes())
                seen.append(int(said if isinstance(said, int) else said.get("revision", 1)))
        return max(seen)

    def _note_revision(self, version: int, revision: int) -> None:
        """Kept by itself, since the manifest comes here only after the last of its files."""
        if self._revision_here(version) < revision:
            self._write(f"{STATE}/{self._revision_of(version).name}", b"%d" % revision)

    def _revision_of(self, version: int) -> Path:
        return self.state / f"v{version}.revision"

    def _verified_by(self, body: bytes, signature: bytes, key_id: str, given: Path | None, what: str) -> bytes:
        """The public key (PEM) by which a signature is right."""
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError:
            raise PullError("Checking the signature needs cryptography. Run: pip install cryptography") from None
        kept = self.state / "key.pem"
        if given is not None:
            pem, origin = given.read_bytes(), str(given)
        elif kept.is_file():
            pem, origin = kept.read_bytes(), f"{kept}, trusted at the first use"
        else:
            found = self._small(f"keys/{key_id}.pem", TINY_BYTES)
            if found is None:
                raise PullError(
                    f"The public key {key_id} is not in the bucket. Ask the hospital for it, and give --key."
                )
            pem, origin = found, f"keys/{key_id}.pem in the bucket"
        try:
            public = load_pem_public_key(pem)
        except ValueError:
            raise PullError(f"{origin} is no public key.") from None
        if not isinstance(public, Ed25519PublicKey):
            raise PullError(f"{origin} is no Ed25519 key.")
        own_id = hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]
        if own_id != key_id:
            raise PullError(
                f"{what} is signed by the key {key_id or 'of nobody'}, and {origin} is {own_id}. If the hospital says "
                "that it changed its key, give the new one with --key; else do not use this release."
            )
        if not any(_verifies(public.verify, one, body, InvalidSignature) for one in (signature[:64], signature[64:])):
            raise PullError(f"{what} is not what the hospital signed (key {key_id}). Do not use it; tell the hospital.")
        return pem

    def _trust(self, signed: _Signed, given: Path | None) -> None:
        """Keep the project and its key; nobody else pulls into this folder meanwhile.

        Raises:
            PullError: another pull trusted another key at its first use.
        """
        kept = self.state / "key.pem"
        before = kept.read_bytes() if kept.is_file() else None
        if before == signed.pem:
            return
        if given is None and before is not None:
            raise PullError(f"{kept} is another key by now than {signed.key_id}. Ask the hospital, and give --key.")
        if given is None:
            self.say(
                f"Trusting key {signed.key_id} from now on. Compare it with what the hospital says "
                "(sluice release key)."
            )
        self._write(f"{STATE}/project", self.project.encode() + b"\n")
        self._write(f"{STATE}/key.pem", signed.pem)

    def _entries(self, version: int, signed: _Signed) -> tuple[bytes, list[_Entry]]:
        """`SHA256SUMS` as it stands there, and what it names.

        Raises:
            _Changed: it is not what the manifest says.
        """
        name = f"v{version}/{signed.sums['name']}"
        body = self._small(name, signed.sums["bytes"])
        if body is None or hashlib.sha256(body).hexdigest() != signed.sums["sha256"]:
            raise _Changed(f"{name} is missing or not what the manifest says. Tell the hospital.")
        entries = []
        for line in body.decode("ascii", "replace").split("\n")[:-1]:
            digest, _, path = line.partition("  ")
            if not re.fullmatch(r"[0-9a-f]{64}", digest) or not _is_inside(path):
                raise PullError(f"{name} has a line that names no file of this project. Tell the hospital.")
            entries.append(_Entry(path, digest, signed.most_of(f"v{version}/", path)))
        _are_apart([*(entry.path for entry in entries), name, *(f"v{version}/{one}" for one in OURS)], name)
        return body, entries

    def _delete(self, paths: list[str]) -> list[str]:
        """Delete local copies of what was taken back, whole or begun; those that were here."""
        gone = []
        for path in paths:
            _inside(self.folder, self.folder / path)
            for copy in (self.folder / path, _part(self.folder / path)):
                with suppress(FileNotFoundError, NotADirectoryError):
                    copy.unlink()
                    gone.append(path)
        gone = sorted(set(gone))
        if gone:
            self.say(
                f"The hospital withdrew {len(gone)} files that were here. They are deleted; delete your copies too."
            )
            with _opened(self.state / "withdrawn.txt", os.O_APPEND, "a") as log:
                log.writelines(f"{time.strftime('%Y-%m-%dT%H:%M:%S')}\t{path}\n" for path in gone)
        return gone

    def _small(self, path: str, most: int = SMALL_BYTES) -> bytes | None:
        body: bytes | None = _patiently(lambda: self.remote.small(path, min(most, SMALL_BYTES)), path)
        return body

    def _all(self, wanted: list[_Entry], jobs: int, check: bool, pulled: Pulled) -> None:
        counted, shown_at = threading.Lock(), [time.monotonic()]
        stop = threading.Event()

        def one(entry: _Entry) -> None:
            if stop.is_set():
                return
            try:
                came = self._one(entry, check)
            except _Failed as error:
                with counted:
                    pulled.failed[entry.path] = str(error)
                return
            except BaseException:
                stop.set()
                raise
            with counted:
                pulled.present += came is None
                pulled.fetched += came is not None
                pulled.bytes += came or 0
                if time.monotonic() - shown_at[0] > SHOW_EVERY_S:
                    shown_at[0] = time.monotonic()
                    self.say(f"{pulled.present + pulled.fetched} of {len(wanted)} files, {pulled.bytes / 1e6:.0f} MB")

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            for _ in pool.map(one, wanted):
                pass

    def _one(self, entry: _Entry, check: bool) -> int | None:
        """Have one file; its bytes where it came now, None where it was here."""
        path = self.folder / entry.path
        _inside(self.folder, path)
        if path.is_symlink():
            path.unlink()  # what it leads to is not ours
        if path.is_file():
            if (not check and self._verified.has(path, entry)) or _digest(path) == entry.sha256:
                self._verified.add(path, entry)
                return None
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        if part.is_symlink():
            part.unlink()
        for last in (False, True):
            size: int | None = _patiently(lambda: self._download(entry, part), entry.path, lambda: _size(part))
            if size is None:
                raise _Failed("it is not in the bucket any more")
            if size > entry.most:
                part.unlink()
                raise _Failed("it is larger than anything that the hospital signed")
            if _digest(part) == entry.sha256:
                part.replace(path)
                self._verified.add(path, entry)
                return size
            part.unlink()  # damaged on the way, or begun from other bytes: once more from the start
            if last:
                raise _Failed("its bytes are not what the hospital signed")
        return None

    def _download(self, entry: _Entry, part: Path) -> int | None:
        """Go on where `part` ends; its size, None where there is no such file. What is larger than it can be is not
        read to its end."""
        start = _size(part)
        try:
            begins, chunks = self.remote.chunks(entry.path, start)
        except FileNotFoundError:
            return None
        has = begins if begins == start else 0
        with _opened(part, os.O_APPEND if has else os.O_TRUNC) as file:
            for chunk in chunks:
                has += len(chunk)
                if has > entry.most:
                    return has
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return _size(part)


class _Changed(PullError):  # noqa: N818
    """The manifest names what is not there: it changes in this moment, or somebody changed the bucket."""


class _Failed(Exception):  # noqa: N818
    """One file cannot be had; the others go on."""


class _Verified:
    """Which files were right when they were last read: digest, size and time of each, so that a second run is quick."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] | None = None
        self._lock = threading.Lock()

    def has(self, path: Path, entry: _Entry) -> bool:
        """Whether nothing happened to a file since."""
        with self._lock:
            return self._load().get(entry.path) == self._mark(path, entry)

    def add(self, path: Path, entry: _Entry) -> None:
        """It is right."""
        mark = self._mark(path, entry)
        with self._lock:
            if self._load().get(entry.path) == mark:
                return
            self._load()[entry.path] = mark
            with _opened(self.path, os.O_APPEND, "a") as log:
                log.write(f"{mark}\t{entry.path}\n")

    def _load(self) -> dict[str, str]:
        if self._known is None:
            self._known = {}
            with suppress(FileNotFoundError):
                for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                    mark, _, path = line.partition("\t")
                    self._known[path] = mark
        return self._known

    @staticmethod
    def _mark(path: Path, entry: _Entry) -> str:
        found = path.stat()
        return f"{entry.sha256} {found.st_size} {found.st_mtime_ns}"


def _patiently(step: Callable[[], Any], what: str, came: Callable[[], int] = lambda: 0) -> Any:
    """What `step` gives, tried again while that may help; as long as more `came` each time, without end."""
    attempt, had = 1, came()
    while True:
        try:
            return step()
        except _Passing as error:
            has = came()
            attempt, had = (1, has) if has > had else (attempt + 1, had)
            if attempt > ATTEMPTS:
                raise PullError(
                    f"The server does not give {what} ({error}). Run the same command again: it goes on from here."
                ) from error
            time.sleep(min(8.0, 0.5 * 2 ** max(0, attempt - 2)) * random.uniform(0.5, 1.0))


def _verifies(verify: Callable[[bytes, bytes], None], signature: bytes, body: bytes, wrong: type[Exception]) -> bool:
    """While a manifest is being revised two signatures stand one after the other, 64 bytes each."""
    try:
        verify(signature, body)
    except wrong:
        return False
    return True


def _is_inside(path: str) -> bool:
    """Whether it names a file of a version, by names that every disk can hold, and nothing outside of the project's
    folder nor of our own there."""
    if not isinstance(path, str) or len(path) > LONGEST or not re.fullmatch(r"v[0-9]+(/[A-Za-z0-9_@=+,.-]+)+", path):
        return False
    return all(
        len(part) <= LONGEST_PART and not part.startswith(".") and not part.endswith(".") for part in path.split("/")
    )


def _are_apart(paths: Sequence[str], name: str) -> None:
    """That no two paths can be one file, on a disk that does not tell letters by case too, and none is a folder.

    Raises:
        PullError: two are not.
    """
    files = {path.lower() for path in paths}
    folders = {folder for path in files for folder in _above(path)}
    if len(files) < len(paths) or files & folders:
        raise PullError(f"{name} has two names that cannot both be files of one folder. Tell the hospital.")


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _inside(folder: Path, path: Path) -> None:
    """That no folder between `folder` and a file in it is a link, which could lead anywhere.

    Raises:
        PullError: one is.
    """
    here = folder
    for part in path.relative_to(folder).parts[:-1]:
        here /= part
        if here.is_symlink():
            raise PullError(_is_link(str(here)))


def _is_link(path: str) -> str:
    return f"{path} is a link, which may lead out of the folder. Remove it, and run the same command again."


def _opened(path: Path, how: int, mode: Literal["a", "wb"] = "wb") -> IO[Any]:
    """A file to write to, never the one that a link of this name leads to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how | NO_LINK | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(descriptor, mode, encoding="utf-8" if mode == "a" else None)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(folder: Path, path: Path, body: bytes) -> None:
    _inside(folder, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    if part.is_symlink():
        part.unlink()
    with _opened(part, os.O_TRUNC) as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `sluice pull`."""
    parser.add_argument("address", help="s3://bucket/project/vN/ or https://host/bucket/project/vN/")
    parser.add_argument("folder", type=Path, help="where to; one folder for all versions of a project")
    parser.add_argument(
        "--key", type=Path, help="the hospital's public key (PEM); default: trust the bucket's at first use"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="dicom, png, nifti or tables; again for more"
    )
    parser.add_argument("--since", type=_version, metavar="vN", help="leave out what version N has")
    parser.add_argument("--jobs", type=int, default=8, help="files at once (default %(default)s)")
    parser.add_argument("--check", action="store_true", help="read every file that is here again")


def _version(text: str) -> int:
    if not re.fullmatch(r"v?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version; write v2")
    return int(text.removeprefix("v"))


def run(options: argparse.Namespace) -> int:
    """Do it, say what happened; return the exit code: 0 all of it is here, 3 something could not be had."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    done = pull(
        options.address, options.folder, options.key, options.only, options.since, options.jobs, options.check, say
    )
    for path, reason in sorted(done.failed.items()):
        say(f"{path}: {reason}")
    print(
        f"{done.project} v{done.version}: {done.fetched} files fetched ({done.bytes / 1e6:.1f} MB), "
        f"{done.present} were here, {len(done.withdrawn)} withdrawn, {len(done.failed)} missing. "
        f"Signed by {done.key_id}."
    )
    return MISSING if done.failed else 0


def main() -> int:
    """`python pull.py`."""
    parser = argparse.ArgumentParser(prog="pull.py", description="Fetch a release and check what the hospital signed.")
    add_options(parser)
    try:
        return run(parser.parse_args())
    except PullError as error:
        print(f"pull: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
