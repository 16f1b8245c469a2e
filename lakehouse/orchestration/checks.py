"""Asset checks that follow from a feed or a contract."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.contracts.contract import Contract
from lakehouse.ledger.api import Api
from lakehouse.ledger.feed import Feed
from lakehouse.naming import DEAD_LETTERS
from lakehouse.streaming.landing import Landing

ACCOUNT_CHECK = "every_offset_is_accounted_for"
SHOWN = 100
"""Rows of a table in metadata."""


def build_account_check(feed: Feed) -> dg.AssetChecksDefinition:
    """The invariant as a check on the feed's table."""

    @dg.asset_check(
        asset=dg.AssetKey(feed.contract.table.key),
        name=ACCOUNT_CHECK,
        description="Every offset up to the ledger's position is a row or a dead letter, exactly once.",
    )
    def every_offset_is_accounted_for(kafka: KafkaResource, iceberg: IcebergResource) -> dg.AssetCheckResult:
        return _audited(kafka, iceberg, feeds=[feed], source=feed.topic_name)

    return every_offset_is_accounted_for


def build_stream_check(pipeline: Landing) -> dg.AssetChecksDefinition:
    """The invariant as a check on the table that a stream lands."""

    @dg.asset_check(
        asset=dg.AssetKey(pipeline.contract.table.key),
        name=ACCOUNT_CHECK,
        description="Every offset is a row, a repeat or a dead letter, exactly once, after three checkpoints at most.",
    )
    def every_offset_is_accounted_for(kafka: KafkaResource, iceberg: IcebergResource) -> dg.AssetCheckResult:
        return _audited(kafka, iceberg, pipelines=[pipeline], source=pipeline.topic.name)

    return every_offset_is_accounted_for


def build_api_check(api: Api) -> dg.AssetChecksDefinition:
    """The invariant as a check on the table that an API is pulled into."""

    @dg.asset_check(
        asset=dg.AssetKey(api.contract.table.key),
        name="every_window_is_accounted_for",
        description="What the API said a window has is held or a dead letter, of the newest pull of every window.",
    )
    def every_window_is_accounted_for(kafka: KafkaResource, iceberg: IcebergResource) -> dg.AssetCheckResult:
        return _audited(kafka, iceberg, apis=[api], source=api.source)

    return every_window_is_accounted_for


def build_audit_check(
    feeds: Sequence[Feed], pipelines: Sequence[Landing], apis: Sequence[Api]
) -> dg.AssetChecksDefinition:
    """The whole audit as a check: it alone can remember what it verified, for all domains share some tables."""

    @dg.asset_check(
        asset=dg.AssetKey(DEAD_LETTERS.key),
        name="everything_is_accounted_for",
        description="The audit of every domain, as `lakehouse audit` makes it; the next ones read only what is new.",
    )
    def everything_is_accounted_for(kafka: KafkaResource, iceberg: IcebergResource) -> dg.AssetCheckResult:
        return _audited(kafka, iceberg, feeds=feeds, pipelines=pipelines, apis=apis)

    return everything_is_accounted_for


def _audited(
    kafka: KafkaResource,
    iceberg: IcebergResource,
    *,
    feeds: Sequence[Feed] = (),
    pipelines: Sequence[Landing] = (),
    apis: Sequence[Api] = (),
    source: str | None = None,
) -> dg.AssetCheckResult:
    """The verdict of an audit, with the numbers of one source, or of all."""
    from lakehouse.ledger.audit import audit
    from lakehouse.ledger.streamed import settled_before

    due = settled_before(settings_module.load())
    report = audit(
        iceberg.catalog(), feeds, kafka.topic, kafka.probe, pipelines=pipelines, apis=apis, settled_before=due
    )
    own = [account for account in report.accounts if source in (None, account.source)]
    return dg.AssetCheckResult(
        passed=report.verdict == "complete",
        metadata={
            "verdict": report.verdict,
            "bronze": sum(account.bronze for account in own),
            "duplicates": sum(account.duplicates for account in own),
            "dead_letters": sum(account.dead_letters for account in own),
            "in_flight": report.in_flight,
            "erased": dg.MetadataValue.json(report.erased),
            "gaps": [f"{account.name}: {gap}" for account in report.accounts for gap in account.gaps],
            # Of an API there are some hundred, of which most say the same: that they close.
            "accounts": dg.MetadataValue.json(
                [account for account in report.as_json()["accounts"] if account["gaps"] or not account["window"]]
            ),
        },
    )


def build_refusal_check(contracts: Sequence[Contract]) -> dg.AssetChecksDefinition:
    """A check that few of a day's records became dead letters."""

    @dg.asset_check(
        asset=dg.AssetKey(DEAD_LETTERS.key),
        name="few_records_are_refused",
        description="Of the last day's records no more became dead letters than the setting refused_share allows.",
    )
    def few_records_are_refused(iceberg: IcebergResource) -> dg.AssetCheckResult:
        from lakehouse.ledger.refusals import recent_refusals

        allowed = settings_module.load().refused_share
        tables = {contract.table for contract in contracts}
        day = recent_refusals(iceberg.catalog(), tables, datetime.now(UTC))
        columns = [dg.TableColumn(name) for name in day.by_hour.column_names]
        records = [dg.TableRecord({n: str(value) for n, value in row.items()}) for row in day.by_hour.to_pylist()]
        return dg.AssetCheckResult(
            passed=day.share <= allowed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "dead_letters": day.refused,
                "accepted": day.accepted,
                "share": day.share,
                "allowed_share": allowed,
                "by_hour": dg.MetadataValue.table(records[:SHOWN], schema=dg.TableSchema(columns)),
            },
        )

    return few_records_are_refused
