"""The S3 store that the settings name: Amazon's, one of the team's own, or that of the local stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from lakehouse.settings import Settings

CONNECT_SECONDS = 5
ATTEMPTS = 3
MISSING = ("NoSuchBucket", "404")
FORBIDDEN = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403")


def open_client(settings: Settings) -> Any:
    """A client; one for each store and key, for making one takes longer than most of what it is used for."""
    return _client(settings.s3_url, settings.s3_region, *settings.s3_keys)


@cache
def _client(url: str, region: str, key: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url or None,
        region_name=region,
        aws_access_key_id=key or None,
        aws_secret_access_key=secret or None,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # Stores other than Amazon's rarely have a host name a bucket.
            s3={"addressing_style": "path" if url else "auto"},
        ),
    )


def require_bucket(settings: Settings, bucket: str) -> None:
    """Ask for a bucket's list of objects.

    Raises:
        LakehouseError: saying in one line why there is no answer.
    """
    with explained(settings, bucket):
        # Asked for its head only, a store may not say what is wrong.
        open_client(settings).list_objects_v2(Bucket=bucket, MaxKeys=1)


@contextmanager
def explained(settings: Settings, bucket: str) -> Iterator[None]:
    """Turn what goes wrong with a bucket into one line that says what to do.

    Raises:
        LakehouseError: instead of the client's own errors.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise LakehouseError(_explanation(settings, bucket, error)) from None


def _explanation(settings: Settings, bucket: str, error: ClientError | BotoCoreError) -> str:
    store = settings.s3_url or "Amazon S3"
    if isinstance(error, NoCredentialsError):
        return f"no keys for {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if not isinstance(error, ClientError):
        advice = "is it up? `lakehouse status`, `lakehouse up`" if settings.runs_s3 else "check s3_endpoint"
        return f"{store} does not answer: {str(error).splitlines()[0]}; {advice}"
    code = error.response["Error"]["Code"]
    if code in MISSING:
        return f"there is no bucket {bucket} at {store}: make it, or name another one in the settings"
    if code in FORBIDDEN:
        advice = "`lakehouse up` repairs it" if settings.runs_s3 else "check the access key and its rights"
        return f"{store} refuses the keys for bucket {bucket} ({code}): {advice}"
    return f"{store} refuses for bucket {bucket}: {error}"
