"""The vocabulary: layers, tables, topics, consumer groups, owners and tags.

Every name another system sees is written here once. Standard library only, so that any environment can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CATALOG = "lake"
"""Name of the Iceberg catalog in every engine: it is part of the key of the catalog's own tables."""

TRINO_CATALOG = "iceberg"
"""Where the catalog is mounted in Trino."""

DATA_PLATFORM = "team:data-platform"
ANALYTICS = "team:analytics"

BRONZE_GROUP_ID = "bronze-ingestion"
"""Consumer group whose offsets hint at progress for lag tools; the truth is the ledger in the table."""


FLINK_GROUP_ID = "flink-bronze-ingestion"
"""The same for what Flink lands; its truth is the checkpoint."""
STATISTICS_GROUP_ID = "flink-player-statistics"
"""The same for what Flink counts."""
MTG_STATISTICS_GROUP_ID = "flink-mtg-statistics"
"""The same for Magic's cards and prices."""
SERVING_GROUP_ID = "player-serving"
"""The same for what the serving sink reads; its truth is in PostgreSQL."""


class Layer(StrEnum):
    """The stages a record passes through."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class Domain(StrEnum):
    """The systems that live in the lakehouse, one asset group each; ``platform`` holds what they share."""

    PLATFORM = "platform"
    PGR = "pgr"
    PLAYERS = "players"
    CONVERSIONS = "conversions"
    RAWG = "rawg"
    MTG = "mtg"


@dataclass(frozen=True)
class TableName:
    """An Iceberg table: its asset key, its identifier in the catalog and its name in SQL follow from it."""

    layer: Layer
    table: str
    domain: Domain

    @property
    def key(self) -> list[str]:
        """Asset key, ``[layer, table]``, as plain strings."""
        return [str(self.layer), self.table]

    @property
    def identifier(self) -> tuple[str, str]:
        """Namespace and table, as PyIceberg takes them."""
        return (str(self.layer), self.table)

    @property
    def sql(self) -> str:
        """Fully qualified name in Trino."""
        return f"{TRINO_CATALOG}.{self.layer}.{self.table}"

    @property
    def spark(self) -> str:
        """Fully qualified name in Spark."""
        return f"{CATALOG}.{self.layer}.{self.table}"

    def __str__(self) -> str:
        return f"{self.layer}.{self.table}"


FOREVER = -1
"""Retention of a topic whose messages do not go by their age."""


@dataclass(frozen=True)
class Topic:
    """A Kafka topic as it should exist."""

    name: str
    domain: Domain
    key: str
    """What the producer puts into the message key."""
    partitions: int
    retention_hours: int
    """`FOREVER` where only newer messages take the place of older ones."""
    is_compacted: bool = False
    """Whether of each key the newest message is enough."""
    compaction_lag_hours: int = 0
    """How long every message stays all the same."""

    @property
    def asset_key(self) -> list[str]:
        """Asset key of the topic: ``["kafka", name]`` with ``_`` for ``.`` and ``-``."""
        return ["kafka", self.name.replace(".", "_").replace("-", "_")]


MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""Largest message that broker, topics, producers and consumers agree on."""

SERVICE_EVENTS = TableName(Layer.BRONZE, "service_events_raw", Domain.PGR)
PLAYER_EVENTS = TableName(Layer.BRONZE, "player_events", Domain.PLAYERS)
CONVERSION_EVENTS = TableName(Layer.BRONZE, "conversion_events", Domain.CONVERSIONS)
RAWG_GAMES = TableName(Layer.BRONZE, "rawg_games", Domain.RAWG)
PULLS = TableName(Layer.BRONZE, "pulls", Domain.PLATFORM)
DUPLICATES = TableName(Layer.BRONZE, "duplicates", Domain.PLATFORM)
DELIVERIES = TableName(Layer.BRONZE, "deliveries", Domain.PLATFORM)
REPLAYS = TableName(Layer.BRONZE, "replays", Domain.PLATFORM)
EXPIRED_SNAPSHOTS = TableName(Layer.BRONZE, "expired_snapshots", Domain.PLATFORM)
DEAD_LETTERS = TableName(Layer.BRONZE, "dead_letters", Domain.PLATFORM)
PGR_EVENTS = TableName(Layer.SILVER, "pgr_events", Domain.PGR)
PGR_CASE_LIFECYCLE = TableName(Layer.GOLD, "pgr_case_lifecycle", Domain.PGR)
PGR_FUNNEL_DAILY = TableName(Layer.GOLD, "pgr_funnel_daily", Domain.PGR)
PGR_BACKLOG_DAILY = TableName(Layer.GOLD, "pgr_backlog_daily", Domain.PGR)
PLAYER_EVENTS_TYPED = TableName(Layer.SILVER, "player_events", Domain.PLAYERS)
DIM_PLAYER = TableName(Layer.GOLD, "dim_player", Domain.PLAYERS)
FACT_PLAYER_DAILY = TableName(Layer.GOLD, "fact_player_daily", Domain.PLAYERS)
LEADERBOARD_HISTORY = TableName(Layer.GOLD, "leaderboard_history", Domain.PLAYERS)
DIM_DATE = TableName(Layer.GOLD, "dim_date", Domain.PLATFORM)
CONVERSIONS = TableName(Layer.SILVER, "conversions", Domain.CONVERSIONS)
DIM_USERS = TableName(Layer.SILVER, "dim_users", Domain.CONVERSIONS)
DIM_USER = TableName(Layer.GOLD, "dim_user", Domain.CONVERSIONS)
DIM_HOUR = TableName(Layer.GOLD, "dim_hour", Domain.CONVERSIONS)
FACT_CONVERSIONS = TableName(Layer.GOLD, "fact_conversions", Domain.CONVERSIONS)
CONVERSIONS_DAILY = TableName(Layer.GOLD, "conversions_daily", Domain.CONVERSIONS)
CONVERSIONS_HOURLY = TableName(Layer.GOLD, "conversions_hourly", Domain.CONVERSIONS)
NUMBER_POPULARITY = TableName(Layer.GOLD, "number_popularity", Domain.CONVERSIONS)
BACKFILL_LOG = TableName(Layer.GOLD, "backfill_log", Domain.CONVERSIONS)
MTG_BUILDS = TableName(Layer.BRONZE, "mtg_builds", Domain.MTG)
MTG_SETS = TableName(Layer.BRONZE, "mtg_sets", Domain.MTG)
MTG_CARDS = TableName(Layer.BRONZE, "mtg_cards", Domain.MTG)
MTG_PRICES = TableName(Layer.BRONZE, "mtg_prices", Domain.MTG)
MTG_SET_STATE = TableName(Layer.SILVER, "mtg_sets", Domain.MTG)
MTG_CARD_VERSIONS = TableName(Layer.SILVER, "mtg_cards", Domain.MTG)
MTG_PRICE_ROWS = TableName(Layer.SILVER, "mtg_prices", Domain.MTG)
DIM_MTG_SET = TableName(Layer.GOLD, "dim_mtg_set", Domain.MTG)
DIM_MTG_CARD = TableName(Layer.GOLD, "dim_mtg_card", Domain.MTG)
FACT_MTG_CARD_PRICE = TableName(Layer.GOLD, "fact_mtg_card_price", Domain.MTG)
MTG_STATISTICS = TableName(Layer.GOLD, "mtg_statistics", Domain.MTG)
RAWG_GAMES_TYPED = TableName(Layer.SILVER, "rawg_games", Domain.RAWG)
RAWG_MEMBERS = TableName(Layer.SILVER, "rawg_members", Domain.RAWG)
FACT_GAMES = TableName(Layer.GOLD, "fact_games", Domain.RAWG)
DIM_PLATFORM = TableName(Layer.GOLD, "dim_platform", Domain.RAWG)
DIM_STORE = TableName(Layer.GOLD, "dim_store", Domain.RAWG)
DIM_GENRE = TableName(Layer.GOLD, "dim_genre", Domain.RAWG)
DIM_TAG = TableName(Layer.GOLD, "dim_tag", Domain.RAWG)
DIM_ESRB_RATING = TableName(Layer.GOLD, "dim_esrb_rating", Domain.RAWG)
BRIDGE_GAME_PLATFORM = TableName(Layer.GOLD, "bridge_game_platform", Domain.RAWG)
BRIDGE_GAME_STORE = TableName(Layer.GOLD, "bridge_game_store", Domain.RAWG)
BRIDGE_GAME_GENRE = TableName(Layer.GOLD, "bridge_game_genre", Domain.RAWG)
BRIDGE_GAME_TAG = TableName(Layer.GOLD, "bridge_game_tag", Domain.RAWG)

TABLES = (
    SERVICE_EVENTS,
    PLAYER_EVENTS,
    CONVERSION_EVENTS,
    RAWG_GAMES,
    PULLS,
    DUPLICATES,
    DELIVERIES,
    REPLAYS,
    EXPIRED_SNAPSHOTS,
    DEAD_LETTERS,
    PGR_EVENTS,
    PGR_CASE_LIFECYCLE,
    PGR_FUNNEL_DAILY,
    PGR_BACKLOG_DAILY,
    PLAYER_EVENTS_TYPED,
    DIM_PLAYER,
    FACT_PLAYER_DAILY,
    LEADERBOARD_HISTORY,
    DIM_DATE,
    CONVERSIONS,
    DIM_USERS,
    DIM_USER,
    DIM_HOUR,
    FACT_CONVERSIONS,
    CONVERSIONS_DAILY,
    CONVERSIONS_HOURLY,
    NUMBER_POPULARITY,
    BACKFILL_LOG,
    MTG_BUILDS,
    MTG_SETS,
    MTG_CARDS,
    MTG_PRICES,
    MTG_SET_STATE,
    MTG_CARD_VERSIONS,
    MTG_PRICE_ROWS,
    DIM_MTG_SET,
    DIM_MTG_CARD,
    FACT_MTG_CARD_PRICE,
    MTG_STATISTICS,
    RAWG_GAMES_TYPED,
    RAWG_MEMBERS,
    FACT_GAMES,
    DIM_PLATFORM,
    DIM_STORE,
    DIM_GENRE,
    DIM_TAG,
    DIM_ESRB_RATING,
    BRIDGE_GAME_PLATFORM,
    BRIDGE_GAME_STORE,
    BRIDGE_GAME_GENRE,
    BRIDGE_GAME_TAG,
)
"""All tables of the lakehouse."""

PGR_EVENTS_TOPIC = Topic("pgr-events", Domain.PGR, key="entity_id", partitions=3, retention_hours=7 * 24)
PLAYER_EVENTS_TOPIC = Topic("player.events.raw", Domain.PLAYERS, key="player_id", partitions=3, retention_hours=7 * 24)
PLAYER_EVENTS_PROCESSED = Topic(
    "player.events.processed", Domain.PLAYERS, key="player_id", partitions=3, retention_hours=7 * 24
)
PLAYER_STATISTICS = Topic(
    "player.statistics", Domain.PLAYERS, key="player_id", partitions=3, retention_hours=30 * 24, is_compacted=True
)
GAME_LEADERBOARDS = Topic(
    "game.leaderboards",
    Domain.PLAYERS,
    key="game_id, period, period_start, player_id",
    partitions=1,
    retention_hours=30 * 24,
    is_compacted=True,
)
SYSTEM_DLQ = Topic("system.dlq", Domain.PLAYERS, key="none", partitions=1, retention_hours=30 * 24)
CONVERSIONS_TOPIC = Topic(
    "roman-numeral-events", Domain.CONVERSIONS, key="event_id", partitions=3, retention_hours=7 * 24
)
CONVERSIONS_DLQ = Topic(
    "roman-numeral-events-dlq", Domain.CONVERSIONS, key="none", partitions=1, retention_hours=30 * 24
)
MTG_SETS_TOPIC, MTG_CARDS_TOPIC, MTG_PRICES_TOPIC = (
    Topic(
        f"mtg.{what}",
        Domain.MTG,
        key=key,
        partitions=3,
        retention_hours=FOREVER,
        is_compacted=True,
        compaction_lag_hours=7 * 24,
    )
    for what, key in (("sets", "set_code"), ("cards", "uuid"), ("prices", "uuid"))
)
MTG_STATISTICS_TOPIC = Topic(
    "mtg.statistics", Domain.MTG, key="set_code, rarity", partitions=1, retention_hours=30 * 24, is_compacted=True
)
TOPICS = (
    PGR_EVENTS_TOPIC,
    PLAYER_EVENTS_TOPIC,
    PLAYER_EVENTS_PROCESSED,
    PLAYER_STATISTICS,
    GAME_LEADERBOARDS,
    SYSTEM_DLQ,
    CONVERSIONS_TOPIC,
    CONVERSIONS_DLQ,
    MTG_SETS_TOPIC,
    MTG_CARDS_TOPIC,
    MTG_PRICES_TOPIC,
    MTG_STATISTICS_TOPIC,
)
