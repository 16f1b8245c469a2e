"""The contract of a service event, and what the rest of the project says of it."""

import re

import pyarrow as pa

from lakehouse.adapters.dbt.project import DBT_PROJECT
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.iceberg import iceberg_schema, incompatibilities, missing_columns
from lakehouse.contracts.validation import Validator
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse_tests.events import ABSENT, event


def test_a_derived_id_is_the_one_that_the_dbt_model_derives() -> None:
    """The same record stands in the unit test of the model, whose macro says the same in Trino's SQL."""
    text = (DBT_PROJECT / "models/silver/pgr/silver_pgr_events.yml").read_text()
    pinned = re.findall(r"event_id: ([0-9a-f]{64})", text)
    record = event(
        event_time="2026-03-01 00:00:00.000001", entity_id="c1", status=ABSENT, ward_id=ABSENT, attributes_json=ABSENT
    )
    verdict = Validator(SERVICE_EVENT).validate(pa.array([record], pa.binary()))
    assert verdict.accepted["event_id"].to_pylist() == pinned


def test_the_table_has_the_agreed_columns_in_order() -> None:
    assert arrow_schema(SERVICE_EVENT).names == [
        *("event_id", "event_date", "event_time", "tenant_id", "service", "entity_type", "entity_id", "event_type"),
        *("status", "actor_type", "actor_id", "channel", "ward_id", "locality_id", "attributes_json", "raw_payload"),
        *("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "ingested_at"),
        *("source_file", "source_row", "replayed_at"),
    ]


def test_a_table_fits_its_own_contract() -> None:
    schema = iceberg_schema(SERVICE_EVENT)
    assert incompatibilities(SERVICE_EVENT, schema) == []
    assert missing_columns(SERVICE_EVENT, schema) == []
