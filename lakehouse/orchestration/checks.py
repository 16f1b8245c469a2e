"""Asset checks that follow from a feed or a contract."""

import dagster as dg

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.ledger.feed import Feed


def build_account_check(feed: Feed) -> dg.AssetChecksDefinition:
    """The invariant as a check on the feed's table."""

    @dg.asset_check(
        asset=dg.AssetKey(feed.contract.table.key),
        name="every_offset_is_accounted_for",
        description="Every offset up to the ledger's position is a row or a dead letter, exactly once.",
    )
    def every_offset_is_accounted_for(kafka: KafkaResource, iceberg: IcebergResource) -> dg.AssetCheckResult:
        from lakehouse.ledger.audit import audit

        report = audit(iceberg.catalog(), [feed], kafka.topic, kafka.probe)
        own = [account for account in report.accounts if account.source == feed.topic_name]
        return dg.AssetCheckResult(
            passed=report.verdict == "complete",
            metadata={
                "verdict": report.verdict,
                "bronze": sum(account.bronze for account in own),
                "dead_letters": sum(account.dead_letters for account in own),
                "in_flight": report.in_flight,
                "gaps": [f"{account.name}: {gap}" for account in report.accounts for gap in account.gaps],
                "accounts": dg.MetadataValue.json(report.as_json()["accounts"]),
            },
        )

    return every_offset_is_accounted_for
