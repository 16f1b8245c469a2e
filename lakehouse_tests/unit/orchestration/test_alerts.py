"""What an operator must hear of is posted once, and again where it was not taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from lakehouse.errors import LakehouseError
from lakehouse.orchestration.alerts import build_alerts
from lakehouse.orchestration.streams import TROUBLE_TAG

SECRET = "/hook/t0ken"


class Webhook(HTTPServer):
    """A server that takes what is posted, or not."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[dict[str, Any]] = []
        self.answer = 200


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.answer == 200 and self.path == SECRET:
            self.server.taken.append(document)
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("LAKEHOUSE_DAGSTER_PORT", "4000")
        monkeypatch.setenv("LAKEHOUSE_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}{SECRET}")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def look(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    (alerts,) = build_alerts().sensors or ()
    assert isinstance(alerts, dg.SensorDefinition)
    result = alerts(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


@dg.op
def fails() -> None:
    raise ValueError("disk full")


@dg.op
def works() -> None:
    """Do nothing."""


@dg.job
def failing() -> None:
    fails()


@dg.job
def working() -> None:
    works()


@dg.asset_check(asset=dg.AssetKey(["bronze", "t"]), name="every_offset")
def red() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"gaps": ["t[0]: 3 offsets are nowhere"]})


@dg.asset_check(asset=dg.AssetKey(["bronze", "t"]), name="green")
def green() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def happen(instance: dg.DagsterInstance) -> None:
    """One of everything that an operator must hear of, and of what he need not."""
    failing.execute_in_process(instance=instance, raise_on_error=False)
    working.execute_in_process(instance=instance, tags={TROUBLE_TAG: "no job runs: FAILED"})
    working.execute_in_process(instance=instance)
    definitions = dg.Definitions(
        asset_checks=[red, green], jobs=[dg.define_asset_job("checks", dg.AssetSelection.checks(red, green))]
    )
    definitions.resolve_job_def("checks").execute_in_process(instance=instance)
    for state in (FreshnessState.PASS, FreshnessState.FAIL):
        instance._report_runless_asset_event(
            asset_event=FreshnessStateChange(
                key=dg.AssetKey(["silver", "s"]),
                new_state=state,
                previous_state=FreshnessState.UNKNOWN,
                state_change_timestamp=0.0,
            )
        )


TOLD = {
    "PIPELINE_FAILURE": r"of failing failed: ",
    "PIPELINE_START": "working brings a stream back: no job runs: FAILED",
    "ASSET_CHECK_EVALUATION": "check every_offset of bronze/t failed: t[0]: 3 offsets are nowhere",
    "FRESHNESS_STATE_CHANGE": "silver/s was not made in time: FAIL",
}


def test_each_is_posted_once(instance: dg.DagsterInstance, webhook: Webhook) -> None:
    happen(instance)
    cursor = look(instance, None).cursor
    assert webhook.taken == [], "what happened before anyone listened is no news"
    happen(instance)
    cursor = look(instance, cursor).cursor
    told = {alert["kind"]: alert["text"] for alert in webhook.taken}
    assert len(webhook.taken) == len(TOLD)
    assert {kind: TOLD[kind] for kind, text in told.items() if TOLD[kind] in text} == TOLD
    assert {alert["dagster"] for alert in webhook.taken} == {"http://127.0.0.1:4000"}
    look(instance, cursor)
    assert len(webhook.taken) == len(TOLD)


def test_what_was_not_taken_is_posted_again_and_the_address_stays_secret(
    instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    cursor = look(instance, None).cursor
    happen(instance)
    webhook.answer = 500
    with pytest.raises(LakehouseError, match="answers 500") as refused:
        look(instance, cursor)
    assert SECRET not in str(refused.value)
    webhook.answer = 200
    look(instance, cursor)
    assert len(webhook.taken) == len(TOLD)


def test_a_webhook_that_is_away_is_told_without_its_address(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_ALERT_WEBHOOK", f"http://127.0.0.1:9{SECRET}")
    cursor = look(instance, None).cursor
    happen(instance)
    with pytest.raises(LakehouseError, match="does not answer: ConnectionError") as refused:
        look(instance, cursor)
    assert SECRET not in str(refused.value)
