"""A prefix of a bucket into which files are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lakehouse.adapters.files.staging import DONE, REFUSED, REPORT, Staging, State, is_finished
from lakehouse.adapters.s3.client import explained, open_client
from lakehouse.adapters.s3.objects import fetched
from lakehouse.settings import S3, bucket_and_key

if TYPE_CHECKING:
    from lakehouse.settings import Settings

REPLACED = ("PreconditionFailed", "412")


class StagingPrefix(Staging):
    """An object is there as a whole or not at all, and is moved only as the one that was looked at.

    Objects below the prefix are listed without what lies deeper, however much is in ``done`` by now.
    """

    def __init__(self, settings: Settings, uri: str) -> None:
        self._settings = settings
        self._bucket, prefix = bucket_and_key(uri)
        self._prefix = f"{prefix}/"
        self._client = open_client(settings)
        self._versions: dict[str, str] = {}

    def waiting(self) -> dict[str, State]:
        """As said there; one that was replaced has another entity tag."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
        )
        with explained(self._settings, self._bucket):
            objects = [found for page in pages for found in page.get("Contents", ())]
        names = {found["Key"].removeprefix(self._prefix): found for found in objects}
        oldest_first = sorted(names.items(), key=lambda item: item[1]["LastModified"])
        return {name: [found["ETag"]] for name, found in oldest_first if is_finished(name)}

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """As said there."""
        with fetched(self._settings, self._bucket, self._prefix + name) as (path, version):
            self._versions[name] = version
            yield path

    def accept(self, name: str) -> str:
        """As said there; where it was, when it was replaced meanwhile."""
        target = self._free(DONE, name)
        return self._uri(target if self._move(name, target) else self._prefix + name)

    def refuse(self, name: str, why: str) -> str:
        """As said there; the report alone, when it was replaced meanwhile."""
        target = self._free(REFUSED, name)
        self._move(name, target)
        with explained(self._settings, self._bucket):
            self._client.put_object(Bucket=self._bucket, Key=target + REPORT, Body=f"{why}\n".encode())
        return self._uri(target)

    def _move(self, name: str, target: str) -> bool:
        """Copy, then remove; one that was replaced meanwhile stays, to be taken in its turn."""
        source, version = self._prefix + name, self._versions.pop(name, None)
        copied, removed = ({"CopySourceIfMatch": version}, {"IfMatch": version}) if version else ({}, {})
        with explained(self._settings, self._bucket):
            try:
                self._client.copy({"Bucket": self._bucket, "Key": source}, self._bucket, target, ExtraArgs=copied)
                self._client.delete_object(Bucket=self._bucket, Key=source, **removed)
            except ClientError as error:
                if error.response["Error"]["Code"] not in REPLACED:
                    raise
                return False
        return True

    def _uri(self, key: str) -> str:
        return f"{S3}{self._bucket}/{key}"

    def _free(self, where: str, name: str) -> str:
        with explained(self._settings, self._bucket):
            folder = f"{self._prefix}{where}/"
            number, target = 1, folder + name
            while self._client.list_objects_v2(Bucket=self._bucket, Prefix=target, MaxKeys=1)["KeyCount"]:
                number += 1
                target = f"{folder}{number}-{name}"
        return target
