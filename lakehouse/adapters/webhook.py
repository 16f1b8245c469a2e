"""Telling a webhook, which any chat or pager has."""

from __future__ import annotations

from collections.abc import Mapping

import requests
from pydantic import SecretStr

from lakehouse.errors import LakehouseError

TIMEOUT_SECONDS = 10


def post(url: SecretStr, document: Mapping[str, str]) -> None:
    """Post a JSON object.

    Raises:
        LakehouseError: it was not taken. The address, which is a secret, is not in the message.
    """
    try:
        answer = requests.post(url.get_secret_value(), json=dict(document), timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise LakehouseError(f"the webhook (alert_webhook) does not answer: {type(error).__name__}") from None
    if not answer.ok:
        raise LakehouseError(f"the webhook (alert_webhook) answers {answer.status_code} {answer.reason}")
