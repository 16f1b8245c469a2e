"""What is said to Flink. That it does what it should is tested on a cluster (integration/test_stream.py)."""

import pytest

from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.domains.pipelines import PIPELINES
from lakehouse.streaming.statements import (
    duplicates_insert,
    fields_of,
    job_settings,
    refusals_insert,
    rows_insert,
    source_table,
    statements,
)


def columns_of(insert: str) -> list[str]:
    """Names of the columns between SELECT and FROM, in order."""
    selected = insert.split("SELECT\n")[1].split("\nFROM")[0]
    return [line.rsplit(" AS ", 1)[1] for line in selected.split(",\n")]


def test_each_sink_gets_every_column_of_its_contract_in_order() -> None:
    assert columns_of(rows_insert(PIPELINE)) == [column.name for column in CONVERSION_EVENT.columns]
    assert columns_of(duplicates_insert(PIPELINE)) == [column.name for column in DUPLICATE.columns]


def test_the_three_sinks_divide_the_records_among_them() -> None:
    assert "FROM numbered WHERE place = 1" in rows_insert(PIPELINE)
    assert "FROM numbered WHERE place > 1" in duplicates_insert(PIPELINE)
    assert "FROM records WHERE parsed.error_type IS NOT NULL" in refusals_insert(PIPELINE)
    view = next(s for s in statements(PIPELINE, {}, {}) if "VIEW numbered" in s)
    assert "FROM records WHERE parsed.error_type IS NULL" in view


def test_the_parser_is_told_every_field() -> None:
    told = fields_of(CONVERSION_EVENT).split(";")
    assert told[:4] == [
        "event_id:string:required:100",
        "event_time:timestamp:required:0",
        "event_type:string:required:100",
        "user_id:identifier:optional:100",
    ]
    assert "input_number:long:optional:0" in told
    assert len(told) == len(CONVERSION_EVENT.fields)


def test_values_cannot_end_their_quotes() -> None:
    table = source_table(PIPELINE, {"properties.bootstrap.servers": "a'b"}, passes_gaps=False)
    assert "'properties.bootstrap.servers' = 'a''b'" in table


def test_records_of_open_transactions_are_not_read() -> None:
    assert "'properties.isolation.level' = 'read_committed'" in source_table(PIPELINE, {}, passes_gaps=False)


@pytest.mark.parametrize(("passes_gaps", "reset"), [(False, "none"), (True, "earliest")])
def test_deleted_records_are_passed_only_when_asked(passes_gaps: bool, reset: str) -> None:
    table = source_table(PIPELINE, {}, passes_gaps=passes_gaps)
    assert f"'properties.auto.offset.reset' = '{reset}'" in table
    assert "'scan.startup.mode' = 'group-offsets'" in table, "in any other mode the connector passes them by itself"


def test_what_must_outlive_a_job_is_the_same_for_every_pipeline() -> None:
    for pipeline in PIPELINES:
        chosen = job_settings(pipeline, parallelism=3, checkpoint_seconds=7, restart_seconds=5, checkpoints="file:///c")
        assert chosen["pipeline.name"] == f"lakehouse-{pipeline.name}"
        assert chosen["pipeline.max-parallelism"] == "128"
        assert chosen["parallelism.default"] == "3"
        assert chosen["execution.checkpointing.interval"] == "7 s"
        assert chosen["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"
        assert chosen["table.exec.iceberg.use-v2-sink"] == "true"
    assert len({pipeline.name for pipeline in PIPELINES}) == len(PIPELINES)
