"""What is said to Flink. That it does what it should is tested on a cluster (integration/test_stream.py)."""

import pytest

from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.domains.mtg.statistics import PIPELINE as MAGIC
from lakehouse.domains.mtg.statistics import STATISTICS as MAGIC_STATISTICS
from lakehouse.domains.mtg.statistics import messages_view, table_insert, topic_insert
from lakehouse.domains.pipelines import PIPELINES
from lakehouse.domains.players.boards import Period
from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.domains.players.statistics import PIPELINE as STATISTICS
from lakehouse.domains.players.statistics import events_view, scores_insert, statistics_insert
from lakehouse.domains.players.stream import PIPELINE as PLAYERS
from lakehouse.streaming.landing import duplicates_insert, processed_insert, refusals_insert, rows_insert
from lakehouse.streaming.statements import fields_of, job_settings, source_table, statements


def columns_of(insert: str) -> list[str]:
    """Names of the columns between SELECT and FROM, in order."""
    selected = insert.split("SELECT\n")[1].split("\nFROM")[0]
    return [line.rsplit(" AS ", 1)[1] for line in selected.split(",\n")]


def test_each_sink_gets_every_column_of_its_contract_in_order() -> None:
    assert columns_of(rows_insert(PIPELINE)) == [column.name for column in CONVERSION_EVENT.columns]
    assert columns_of(duplicates_insert(PIPELINE)) == [column.name for column in DUPLICATE.columns]


def test_what_was_processed_goes_on_once_with_the_fields_of_its_contract() -> None:
    insert = processed_insert(PLAYERS)
    assert columns_of(insert)[: len(PLAYER_EVENT.fields)] == [column.name for column in PLAYER_EVENT.fields]
    assert "FROM numbered WHERE place = 1" in insert


def test_the_job_that_counts_takes_the_table_as_it_was_at_one_snapshot() -> None:
    assert "'snapshot-id' = '7'" in events_view(PLAYER_EVENT, 7)
    assert "OPTIONS" not in events_view(PLAYER_EVENT, None)
    assert STATISTICS.reads_tables
    assert not PIPELINE.reads_tables


def test_the_statistics_of_cards_take_each_table_as_it_was_at_its_snapshot_and_its_topic() -> None:
    tables = [source.contract.table for source in MAGIC.sources]
    view = messages_view(MAGIC.sources, {tables[0]: 7, tables[1]: 8})
    for table, snapshot in zip(tables, (7, 8), strict=True):
        assert f"FROM {table.table}\n" in view
        assert f"FROM lake.bronze.{table.table} /*+ OPTIONS('snapshot-id' = '{snapshot}') */" in view
    assert "OPTIONS" not in messages_view(MAGIC.sources, {})
    assert MAGIC.reads_tables


def test_each_topic_of_cards_is_read_with_the_same_care() -> None:
    tables = [one for one in statements(MAGIC, {}, {}, passes_gaps=True) if "'connector' = 'kafka'" in one]
    assert [source.topic.name for source in MAGIC.sources] == ["mtg.cards", "mtg.prices"]
    for source, table in zip(MAGIC.sources, tables, strict=True):
        assert f"'topic' = '{source.topic.name}'" in table
        assert "'scan.startup.mode' = 'group-offsets'" in table
        assert "'properties.isolation.level' = 'read_committed'" in table
        assert "'properties.auto.offset.reset' = 'earliest'" in table


def test_what_is_known_of_a_card_never_expires() -> None:
    chosen = job_settings(MAGIC, parallelism=1, checkpoint_seconds=7, restart_seconds=5, checkpoints="file:///c")
    assert chosen["table.exec.state.ttl"] == "0 s"


def test_topic_and_table_of_statistics_get_every_field_of_their_contract() -> None:
    assert columns_of(table_insert()) == [column.name for column in MAGIC_STATISTICS.columns]
    told = topic_insert()
    assert [name for name in told.split("'") if name in {c.name for c in MAGIC_STATISTICS.fields}] == [
        column.name for column in MAGIC_STATISTICS.fields
    ]
    assert "'upsert-enabled'='true'" in table_insert()


def test_a_pipeline_of_several_topics_has_no_only_one() -> None:
    assert PIPELINE.source.topic is PIPELINE.topic
    with pytest.raises(ValueError, match="too many"):
        _ = MAGIC.source


@pytest.mark.parametrize(("period", "kept"), [("daily", "8 d"), ("weekly", "21 d"), ("alltime", "0 s")])
def test_scores_are_remembered_as_long_as_their_boards_are_open(period: str, kept: str) -> None:
    assert f"STATE_TTL('scores' = '{kept}')" in scores_insert(Period(period))
    assert "STATE_TTL('events' = '0 s')" in statistics_insert()


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
        assert chosen["execution.checkpointing.interval"] == ("10 s" if pipeline is STATISTICS else "7 s")
        assert chosen["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"
        # The sink that keeps its ids at another parallelism, but for rows that take the place of others.
        assert chosen["table.exec.iceberg.use-v2-sink"] == str(pipeline is not MAGIC).lower()
    assert len({pipeline.name for pipeline in PIPELINES}) == len(PIPELINES)
