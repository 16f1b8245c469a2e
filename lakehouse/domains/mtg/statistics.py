"""The always-on job that counts Magic's cards by set and rarity, and what shops ask for them.

Messages may come late, in any order, and again: of a card the newest build's word holds, so of the same messages the
same statistics come. Each carries a version, how many messages it is made of (all about cards that are, or were, of
its set and rarity): of several the one with the highest version holds, of the same version the last. A job without
state takes what bronze holds first, and the topics from there on; what it says meanwhile has a lower version.

The cards with their newest prices are a view, for nobody asks for them but the statistics: they are served from silver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_DATE, PRICE_MESSAGE, SET_CODE
from lakehouse.naming import (
    MTG_CARDS_TOPIC,
    MTG_PRICES_TOPIC,
    MTG_STATISTICS,
    MTG_STATISTICS_GROUP_ID,
    MTG_STATISTICS_TOPIC,
    TableName,
    Topic,
)
from lakehouse.streaming.statements import (
    Pipeline,
    Source,
    acknowledged,
    options_of,
    quoted,
    source_options,
    table_of,
    together,
)

READER, NEWEST, STATISTICS_OF = ("lakehouse.ReadMagic", "lakehouse.NewestOfCard", "lakehouse.StatisticsOfCards")
"""Classes of the functions."""
TEXT = {"value.format": "raw"}
"""Values as texts."""

STATISTICS = Contract(
    name="mtg_statistics",
    table=MTG_STATISTICS,
    version=1,
    description=(
        "Magic's cards by set and rarity: how many, their mana and colours, what shops ask for them, and whose price"
        " moved. One row a set and rarity that ever had a card; each face is a card. Flink keeps it up to date, within"
        " a commit of the topics."
    ),
    fields=(
        SET_CODE,
        Column("rarity", Type.STRING, "Rarity; `unknown` where MTGJSON says none.", required=True),
        Column(
            "cards",
            Type.LONG,
            "Cards that the newest builds have; 0 where all are gone, or of another rarity now.",
            required=True,
            unit="cards",
        ),
        Column("average_mana_value", Type.DECIMAL, "Average of their mana values, rounded half up to six digits."),
        Column("median_mana_value", Type.DECIMAL, "Median; of an even number the average of the two in the middle."),
        Column(
            "colors",
            Type.JSON_OBJECT,
            "Cards of one colour by that (`W`, `U`, `B`, `R`, `G`), of none (`colorless`) and of several"
            " (`multicolor`): together all cards.",
        ),
        Column(PRICE_DATE.name, Type.DATE, "Newest day that any of them has prices of."),
        Column(
            "prices",
            Type.JSON_OBJECT,
            "What shops ask on paper, by currency (empty where MTGJSON says none): `prices`, their number, `average`,"
            " `minimum`, `maximum`, `total`. Of each card those of its own newest day, each provider and finish one.",
        ),
        Column(
            "movers",
            Type.JSON_OBJECT,
            "By currency the at most five cards that rose (`up`) and fell (`down`) most in such a price, on"
            " `price_date` against the last day before that the card has prices of (`previous_date`).",
        ),
        Column("version", Type.LONG, "Messages that it is made of; it only grows.", required=True, unit="messages"),
    ),
    lineage=(Column("computed_at", Type.TIMESTAMP, "When Flink computed it (UTC)."),),
    partition_by=(),
    key=(SET_CODE.name, "rarity"),
)


@dataclass(frozen=True)
class Statistics(Pipeline):
    """Cards and prices, counted."""

    reads_tables: ClassVar[bool] = True

    @property
    def written_topics(self) -> Sequence[Topic]:
        """One message a set and rarity, whenever it changes."""
        return (MTG_STATISTICS_TOPIC,)

    @property
    def written_tables(self) -> Sequence[Contract]:
        """The same as rows."""
        return (STATISTICS,)

    @property
    def settings(self) -> dict[str, str]:
        """What is known of a card never expires; changes of a second go on together."""
        return {
            "table.exec.state.ttl": "0 s",
            "table.exec.mini-batch.enabled": "true",
            "table.exec.mini-batch.allow-latency": "1 s",
            "table.exec.mini-batch.size": "20000",
            "table.exec.sink.upsert-materialize": "NONE",
            # The newer sink puts what came before and after a checkpoint that was given up into one commit, in which
            # a deletion does not reach the row that it replaces: the row is there twice.
            "table.exec.iceberg.use-v2-sink": "false",
        }

    def reading(self, client: Mapping[str, str], *, passes_gaps: bool) -> list[str]:
        """A table a topic."""
        return [self._topic_table(source, client, passes_gaps=passes_gaps) for source in self.sources]

    def work(self, client: Mapping[str, str], snapshots: Mapping[TableName, int]) -> list[str]:
        """Know the newest of each card, and count the cards of each set and rarity."""
        functions = {"read_magic": READER, "newest_of_card": NEWEST, "statistics_of_cards": STATISTICS_OF}
        return [
            *(f"CREATE TEMPORARY FUNCTION {name} AS {quoted(one)} LANGUAGE JAVA" for name, one in functions.items()),
            messages_view(self.sources, snapshots),
            cards_view(),
            statistics_view(),
            topic_table(client),
            together([topic_insert(), table_insert()]),
        ]

    def _topic_table(self, source: Source, client: Mapping[str, str], *, passes_gaps: bool) -> str:
        options = source_options(source.topic, self.group_id, client, passes_gaps=passes_gaps, formats=TEXT)
        return f"""CREATE TEMPORARY TABLE {source.contract.table.table} (
  payload STRING,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH ({options})"""


PIPELINE = Statistics(
    "mtg",
    (Source(CARD_MESSAGE, MTG_CARDS_TOPIC), Source(PRICE_MESSAGE, MTG_PRICES_TOPIC)),
    MTG_STATISTICS_GROUP_ID,
)


def messages_view(sources: Sequence[Source], snapshots: Mapping[TableName, int]) -> str:
    """What the tables held at their snapshots, and what comes, as far as it can be read."""
    parts = []
    for source in sources:
        table = source.contract.table
        at = f" /*+ OPTIONS('snapshot-id' = '{snapshots[table]}') */" if table in snapshots else ""
        parts.append(f"  SELECT payload, kafka_timestamp, kafka_offset FROM {table.table}")
        parts.append(
            f"  SELECT raw_payload, CAST(kafka_timestamp AS TIMESTAMP_LTZ(3)), kafka_offset FROM {table_of(table)}{at}"
        )
    every = "\n  UNION ALL\n".join(parts)
    return f"""CREATE TEMPORARY VIEW messages AS
SELECT read_magic(payload) AS told, kafka_timestamp, kafka_offset
FROM (
{every}
)"""


def cards_view() -> str:
    """After each message what is known of its card: as the newest build has it, with its newest prices."""
    return """CREATE TEMPORARY VIEW cards AS
SELECT uuid, card, card.`groups` AS belongings
FROM (
  SELECT uuid, newest_of_card(told, kafka_timestamp, kafka_offset)
    OVER (PARTITION BY uuid ORDER BY came_at ROWS UNBOUNDED PRECEDING) AS card
  FROM (
    SELECT told.uuid AS uuid, told, kafka_timestamp, kafka_offset, PROCTIME() AS came_at
    FROM messages WHERE told IS NOT NULL
  )
)"""


def statistics_view() -> str:
    """The cards of each set and rarity, counted; a card is told to each that it was ever of."""
    return """CREATE TEMPORARY VIEW statistics AS
SELECT of_set AS set_code, of_rarity AS rarity, statistics_of_cards(of_set, of_rarity, uuid, card) AS found
FROM cards CROSS JOIN UNNEST(cards.belongings) AS belonging (of_set, of_rarity)
GROUP BY of_set, of_rarity"""


def topic_table(client: Mapping[str, str]) -> str:
    """The topic of statistics: the value is written as it is, for it is JSON already."""
    options = {
        "connector": "upsert-kafka",
        "topic": MTG_STATISTICS_TOPIC.name,
        "key.format": "json",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        **acknowledged(client),
    }
    return f"""CREATE TEMPORARY TABLE statistics_topic (
  set_code STRING,
  rarity STRING,
  message STRING,
  PRIMARY KEY (set_code, rarity) NOT ENFORCED
) WITH ({options_of(options)})"""


def topic_insert() -> str:
    """One JSON object a set and rarity, of all fields of the contract."""
    keys = STATISTICS.key
    members = [f"KEY {quoted(name)} VALUE {name}" for name in keys]
    for column in STATISTICS.fields[len(keys) :]:
        value = f"found.{column.name}"
        members.append(f"KEY {quoted(column.name)} VALUE {f'JSON({value})' if _is_json(column) else value}")
    return f"INSERT INTO statistics_topic\nSELECT set_code, rarity, JSON_OBJECT({', '.join(members)})\nFROM statistics"


def table_insert() -> str:
    """The same as a row, which takes the place of the one before."""
    lineage = {"computed_at": "CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(6))", PRICE_DATE.name: _DATE}
    lineage |= {name: name for name in STATISTICS.key}
    columns = ",\n  ".join(f"{lineage.get(c.name, f'found.{c.name}')} AS {c.name}" for c in STATISTICS.columns)
    into = f"{table_of(MTG_STATISTICS)} /*+ OPTIONS('upsert-enabled'='true') */"
    return f"INSERT INTO {into}\nSELECT\n  {columns}\nFROM statistics"


_DATE = f"CAST(found.{PRICE_DATE.name} AS DATE)"


def _is_json(column: Column) -> bool:
    return column.type is Type.JSON_OBJECT
