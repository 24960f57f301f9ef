"""The one path to object storage: a bucket behind a boto3 client, whoever made the client.

Failures that pass (no answer, 500, 503, throttling) are tried again with growing pauses by botocore, each request and
each part of a large object by itself; what still fails is an `ObjectStoreError`. The SHA-256 of a body goes along with
it: a server that knows `x-amz-checksum-sha256` refuses other bytes; one that does not still compares the MD5.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


DELETED_AT_ONCE = 1_000  # the most that S3 takes in one request
NO_VERSIONS = ("NotImplemented", "MethodNotAllowed", "NoSuchVersioningConfiguration")
PART_BYTES = 16 << 20  # of a large object
LARGE_BYTES = 64 << 20  # from here on an object is sent in parts
READ_BYTES = 1 << 20
PARTS_AT_ONCE = 4
ATTEMPTS = 6  # of one request, with pauses that double from half a second, 20 s at most
NO_OBJECT = ("NoSuchKey", "404", "NotFound")
FULL = ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "StorageFull", "507")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired")


class ObjectStoreError(RuntimeError):
    """The bucket cannot be used; the message says what to do."""


class NoSuchObjectError(ObjectStoreError):
    """Nothing stands under that key."""


@dataclass(frozen=True)
class StoredObject:
    """An object as the bucket lists it: key, size in bytes, and the server's tag, which other bytes do not have."""

    key: str
    bytes: int
    etag: str


@dataclass(frozen=True)
class ReadBack:
    """Bytes of an object as they were read back: SHA-256 in hex, and the server's tag for them."""

    sha256: str
    etag: str


class ObjectStore:
    """One bucket.

    Args:
        client: boto3 S3 client; `connect` makes one from keys, `operators.connections` from Airflow.
        bucket: its name.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def ensure(self) -> None:
        """Create the bucket where it does not exist, and prove that we may use it.

        Raises:
            ObjectStoreError: wrong keys, no such host, no permission.
        """
        with _Explained(self.bucket):
            names = {entry["Name"] for entry in self.client.list_buckets()["Buckets"]}
            if self.bucket not in names:
                self.client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store `body` under `key` and return its SHA-256 in hex; the server checks what it got. From `LARGE_BYTES` on
        it goes in parts."""
        digest = hashlib.sha256(body).hexdigest()
        if len(body) >= LARGE_BYTES:
            self._put_in_parts(key, io.BytesIO(body), digest, content_type)
            return digest
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with _Explained(self.bucket):
            self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                ContentMD5=md5,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
                Metadata={"sha256": digest},
            )
        return digest

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> str:
        """Store a file under `key`, as `put` does, without having a large one in memory."""
        if path.stat().st_size < LARGE_BYTES:
            return self.put(key, path.read_bytes(), content_type)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            self._put_in_parts(key, file, digest, content_type)
        return digest

    def _put_in_parts(self, key: str, body: BinaryIO, digest: str, content_type: str) -> None:
        """A multipart upload: each part is tried again by itself; where one fails for good nothing stands under the
        key."""
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        in_parts = TransferConfig(LARGE_BYTES, max_concurrency=PARTS_AT_ONCE, multipart_chunksize=PART_BYTES)
        extra = {"ContentType": content_type, "Metadata": {"sha256": digest}, "ChecksumAlgorithm": "SHA256"}
        with _Explained(self.bucket):
            try:
                self.client.upload_fileobj(body, self.bucket, key, ExtraArgs=extra, Config=in_parts)
            except S3UploadFailedError as error:  # it wraps what our explanation looks for
                raise (error.__cause__ or error.__context__ or error) from error

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        from botocore.exceptions import ClientError

        with _Explained(self.bucket):
            try:
                return self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in NO_OBJECT:
                    return None
                raise

    def digest(self, key: str) -> str:
        """SHA-256 in hex of what stands under a key, read back whole, in little memory."""
        return self.read_back(key).sha256

    def read_back(self, key: str) -> ReadBack:
        """What stands under a key, read whole, in little memory.

        Raises:
            NoSuchObjectError: nothing stands there.
        """
        from botocore.exceptions import IncompleteReadError

        seen = hashlib.sha256()
        with _Explained(self.bucket):
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            try:
                for chunk in answer["Body"].iter_chunks(READ_BYTES):
                    seen.update(chunk)
            except IncompleteReadError:  # once more from the start; a second time it is an error
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                seen = hashlib.sha256(answer["Body"].read())
        return ReadBack(seen.hexdigest(), answer["ETag"].strip('"'))

    def abandon_uploads(self, prefix: str) -> int:
        """End uploads in parts that somebody who died left half done, so that nobody pays for them; how many."""
        from botocore.exceptions import ClientError

        ended = 0
        try:
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    ended += 1
        except ClientError:  # a policy that does not allow it, or a server that does not know it
            return ended
        return ended

    def get(self, key: str) -> bytes:
        """Bytes of an object."""
        with _Explained(self.bucket):
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects under a prefix."""
        with _Explained(self.bucket):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"], entry["ETag"].strip('"'))

    def delete(self, keys: str | Sequence[str]) -> None:
        """Delete an object or several; in a bucket with versions all versions of each, so that none can be read again.

        Raises:
            ObjectStoreError: some could not be deleted: no permission, or an object lock or legal hold is on them.
        """
        keys = [keys] if isinstance(keys, str) else keys
        if not keys:
            return
        if self.keeps_versions():
            self._delete(list(self._versions(set(keys))))
        else:
            self._delete([{"Key": key} for key in keys])

    def delete_older(self, key: str) -> None:
        """Delete what the bucket keeps of an object besides its newest version."""
        if self.keeps_versions():
            self._delete(list(self._versions({key}, newest=False)))

    def keeps_versions(self) -> bool:
        """Whether an object that is deleted or overwritten can still be read by its version."""
        from botocore.exceptions import ClientError

        with _Explained(self.bucket):
            try:
                status = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status")
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in NO_VERSIONS:
                    raise
                status = None  # a server that does not know what versions are
        return status in ("Enabled", "Suspended")

    def left_of(self, prefix: str) -> set[str]:
        """Keys under a prefix of which anything can still be read, be it an old version."""
        if not self.keeps_versions():
            return {entry.key for entry in self.list(prefix)}
        with _Explained(self.bucket):
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
            return {version["Key"] for page in pages for version in page.get("Versions", [])}

    def _versions(self, keys: set[str], newest: bool = True) -> Iterator[ObjectIdentifierTypeDef]:
        together = os.path.commonprefix(sorted(keys))  # noqa: RUF071 - by characters, as S3 has no folders
        with _Explained(self.bucket):
            for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=together):
                for kept in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                    if kept["Key"] in keys and (newest or not kept["IsLatest"]):
                        yield {"Key": kept["Key"], "VersionId": kept["VersionId"]}

    def _delete(self, targets: Sequence[ObjectIdentifierTypeDef]) -> None:
        refused: dict[str, int] = {}
        for first in range(0, len(targets), DELETED_AT_ONCE):
            with _Explained(self.bucket):
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": targets[first : first + DELETED_AT_ONCE], "Quiet": True}
                )
            for error in answer.get("Errors", []):
                if error.get("Code") != "NoSuchKey":
                    refused[error.get("Code", "unknown")] = refused.get(error.get("Code", "unknown"), 0) + 1
        if refused:
            said = ", ".join(f"{count} with {code}" for code, count in sorted(refused.items()))
            raise ObjectStoreError(
                f"Object storage did not delete {sum(refused.values())} objects of bucket {self.bucket!r} ({said}). "
                "The key in the Airflow connection sluice_s3 needs s3:DeleteObject and s3:DeleteObjectVersion, and an "
                "object lock or legal hold on them has to end or be lifted. Then run it again."
            )


class _Explained:
    """Turn botocore's errors into ones a person can act on."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in EXPIRED:
                raise ObjectStoreError(
                    f"The credentials for bucket {self.bucket!r} have expired ({code}). Renew those of the Airflow "
                    "connection sluice_s3, then clear the red tile: it goes on where it stopped."
                ) from error
            if code in FULL:
                raise ObjectStoreError(
                    f"Bucket {self.bucket!r} is full ({code}). Make room or raise its quota, then clear the red tile: "
                    "it goes on where it stopped."
                ) from error
            if code in NO_OBJECT:
                raise NoSuchObjectError(f"An object of bucket {self.bucket!r} is not there ({code}).") from error
            raise ObjectStoreError(
                f"Object storage refused bucket {self.bucket!r} ({code}). "
                "Check access key, secret and bucket policy in the Airflow connection sluice_s3."
            ) from error
        if isinstance(error, BotoCoreError):
            raise ObjectStoreError(
                f"Object storage for bucket {self.bucket!r} cannot be reached ({type(error).__name__}). "
                "Check endpoint_url in the Airflow connection sluice_s3."
            ) from error


def connect(endpoint_url: str, access_key: str, secret_key: str, bucket: str) -> ObjectStore:
    """A bucket by explicit keys (path-style addressing, as embedded and most on-premises servers want it)."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": ATTEMPTS}),
    )
    return ObjectStore(client, bucket)
