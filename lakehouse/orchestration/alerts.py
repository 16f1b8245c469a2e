"""What an operator must hear of: posted to a webhook as soon as Dagster's event log says it."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, EventLogEntry, EventRecordsFilter
from dagster._core.definitions.freshness import FreshnessState

from lakehouse import settings as settings_module
from lakehouse.orchestration.streams import TROUBLE_TAG

SECONDS = 30
"""Between two looks at the event log."""
AT_ONCE = 100
"""Events of a kind that are looked at in one go; the rest follows with the next look."""

Look = Callable[[dg.DagsterInstance, EventLogEntry], str | None]
"""What an event tells the operator; None where it is nothing to hear of."""


def build_alerts() -> dg.Definitions:
    """The sensor that tells the webhook of failed runs, failed checks, stale assets and streams that are brought back.

    An alert was taken before the cursor moves: one that could not be posted is posted again, and none is passed over.
    """

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts failed runs and checks, stale assets and troubled streams to the webhook (alert_webhook).",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from lakehouse.adapters.webhook import post
        from lakehouse.stack.dagster import Dagster

        settings = settings_module.load()
        newest = context.instance.event_log_storage.get_maximum_record_id() or 0
        if not settings.alert_webhook.get_secret_value() or not context.cursor:
            # What happened before anyone listened is no news.
            cursor = dict.fromkeys((kind.value for kind in LOOKS), newest)
            return dg.SensorResult(skip_reason="nothing is posted yet: alert_webhook", cursor=json.dumps(cursor))
        cursor = json.loads(context.cursor)
        count = 0
        for alert in news(context.instance, cursor):
            post(settings.alert_webhook, alert | {"dagster": Dagster().address(settings)})
            count += 1
        return dg.SensorResult(skip_reason=f"{count} alerts", cursor=json.dumps(cursor))

    return dg.Definitions(sensors=[alerts])


def news(instance: dg.DagsterInstance, cursor: dict[str, int]) -> Iterator[dict[str, str]]:
    """Alerts of the events since the cursor, which moves on to the last one of each kind."""
    for kind, look in LOOKS.items():
        wanted = EventRecordsFilter(kind, after_cursor=cursor.get(kind.value))
        for record in instance.event_log_storage.get_event_records(wanted, limit=AT_ONCE, ascending=True):
            entry = record.event_log_entry
            if text := look(instance, entry):
                yield {"text": text, "kind": kind.value, "at": datetime.fromtimestamp(entry.timestamp, UTC).isoformat()}
            cursor[kind.value] = record.storage_id


def _failed_run(instance: dg.DagsterInstance, entry: EventLogEntry) -> str:
    event = entry.get_dagster_event()
    return f"run {entry.run_id[:8]} of {event.job_name} failed: {event.message}"


def _troubled_stream(instance: dg.DagsterInstance, entry: EventLogEntry) -> str | None:
    run = instance.get_run_by_id(entry.run_id)
    trouble = run.tags.get(TROUBLE_TAG) if run else None
    return f"{run.job_name} brings a stream back: {trouble}" if run and trouble else None


def _failed_check(instance: dg.DagsterInstance, entry: EventLogEntry) -> str | None:
    found = entry.get_dagster_event().asset_check_evaluation_data
    if found.passed:
        return None
    return f"check {found.check_name} of {found.asset_key.to_user_string()} failed{_said(found.metadata)}"


def _stale_asset(instance: dg.DagsterInstance, entry: EventLogEntry) -> str | None:
    found: Any = entry.get_dagster_event().event_specific_data
    if found.new_state not in (FreshnessState.WARN, FreshnessState.FAIL):
        return None
    return f"{found.key.to_user_string()} was not made in time: {found.new_state.value}"


def _said(metadata: Mapping[str, dg.MetadataValue[Any]]) -> str:
    """The first of what a check lists, where it lists something."""
    listed = [value.value for value in metadata.values() if isinstance(value.value, list) and value.value]
    return f": {listed[0][0]}" if listed else ""


LOOKS: dict[DagsterEventType, Look] = {
    DagsterEventType.RUN_FAILURE: _failed_run,
    DagsterEventType.RUN_START: _troubled_stream,
    DagsterEventType.ASSET_CHECK_EVALUATION: _failed_check,
    DagsterEventType.FRESHNESS_STATE_CHANGE: _stale_asset,
}
