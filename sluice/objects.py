"""The one path to object storage: a bucket behind a boto3 client, whoever made the client."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ObjectStoreError(RuntimeError):
    """The bucket cannot be used; the message says what to do."""


@dataclass(frozen=True)
class StoredObject:
    """An object as the bucket lists it: key and size in bytes."""

    key: str
    bytes: int


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
        """Store `body` under `key` and return its SHA-256 in hex; the server checks the MD5 of what it got."""
        digest = hashlib.sha256(body).hexdigest()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        with _Explained(self.bucket):
            self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                ContentMD5=md5,
                Metadata={"sha256": digest},
            )
        return digest

    def get(self, key: str) -> bytes:
        """Bytes of an object."""
        with _Explained(self.bucket):
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with _Explained(self.bucket):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects under a prefix."""
        with _Explained(self.bucket):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"])


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
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "max_attempts": 4}),
    )
    return ObjectStore(client, bucket)
