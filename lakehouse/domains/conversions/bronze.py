"""Bronze of the conversions: the topics, and the table that Flink lands them in."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.naming import CONVERSIONS_DLQ, CONVERSIONS_TOPIC
from lakehouse.orchestration.describe import describe_contract, topic_spec

conversions_topic = topic_spec(
    CONVERSIONS_TOPIC, "Conversions as the Roman numeral service reports them, keyed by event; kept for seven days."
)
conversion_events = dg.AssetSpec(
    **describe_contract(CONVERSION_EVENT), deps=[conversions_topic], kinds={"flink", "iceberg"}
)
refused_conversions = topic_spec(
    CONVERSIONS_DLQ, "Records that the contract refused: their exact bytes, with reason and origin in the headers."
).replace_attributes(deps=[conversions_topic])
