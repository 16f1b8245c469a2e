"""What is published of MTGJSON's builds, and stored in bronze: messages about sets, cards and prices.

A message is one JSON object. It says of which build it tells, and carries the object of MTGJSON as it is there, with
every member, in `set`, in `card` and `volatile`, or in `prices`; the table keeps it as a whole in ``raw_payload``. A
message is published when its object is another one than in the build before.
"""

from __future__ import annotations

from lakehouse.contracts.contract import ID_LENGTH, Column, Contract, Rule, Type
from lakehouse.contracts.lineage import INGESTED_AT, KAFKA_COORDINATES, RAW_PAYLOAD, REPLAYED_AT
from lakehouse.naming import MTG_BUILDS, MTG_CARDS, MTG_PRICES, MTG_SETS

VOLATILE = ("boosterTypes", "edhrecRank", "edhrecSaltiness", "purchaseUrls")
"""Members of a card that tell of its use and of shops, and change from day to day: they make no version of a card."""

BUILD_AHEAD, PRICE_AHEAD = 2, 1
"""Days that a build may be ahead of the clock (UTC), and a price ahead of its build. What is further ahead is a mistake
that would hold before all that is right."""

BUILD_DATE = Column("build_date", Type.DATE, "Day of MTGJSON's build (UTC).", required=True)
BUILD_VERSION = Column(
    "build_version", Type.STRING, "Version of the build, e.g. `5.2.0+20220425`.", max_length=ID_LENGTH
)
SET_CODE = Column(
    "set_code",
    Type.STRING,
    "Code of the set, e.g. `NEO`; `CON` where the file is `CON_.json`.",
    required=True,
    max_length=ID_LENGTH,
)
UUID = Column("uuid", Type.STRING, "MTGJSON's id of the card; each face has its own.", required=True, max_length=36)
PRICE_DATE = Column("price_date", Type.DATE, "Day of the prices.", required=True)
IS_DELETED = Column("is_deleted", Type.BOOLEAN, "Whether the build no longer has it.", required=True)
PAYLOAD_HASH = Column(
    "payload_hash",
    Type.STRING,
    "SHA-256 of all that the message says of it, members in order of their names; null where it is gone.",
    max_length=64,
)
CONTENT_HASH = Column(
    "content_hash",
    Type.STRING,
    f"SHA-256 without the volatile members ({', '.join(VOLATILE)}): another one makes a version of the card.",
    max_length=64,
)


def _payload(what: str) -> Column:
    return Column(RAW_PAYLOAD.name, Type.STRING, f"The message as received; {what}.")


_BUILD_HAS_COME = Rule(
    "BUILD_FROM_THE_FUTURE",
    BUILD_DATE.name,
    f"{BUILD_DATE.name} > cast(now() at time zone 'UTC' as date) + {BUILD_AHEAD}",
    f"is more than {BUILD_AHEAD} days from now",
)
_PRICE_HAS_COME = Rule(
    "PRICE_FROM_THE_FUTURE",
    PRICE_DATE.name,
    f"{PRICE_DATE.name} > {BUILD_DATE.name} + {PRICE_AHEAD}",
    "is more than a day after that of the build",
)
_OF_KAFKA = (*KAFKA_COORDINATES, INGESTED_AT, REPLAYED_AT)

SET_MESSAGE = Contract(
    name="mtg_set",
    table=MTG_SETS,
    version=1,
    description=(
        "Sets of Magic cards as MTGJSON's builds show them. One row a set and build in which it is another than in the"
        " build before, or gone. Append-only; a build that was published again may be there twice."
    ),
    fields=(SET_CODE, BUILD_DATE, BUILD_VERSION, IS_DELETED, PAYLOAD_HASH),
    lineage=(_payload("its member `set` is MTGJSON's set without the cards, but with the tokens"), *_OF_KAFKA),
    partition_by=(),
    raw_payload=RAW_PAYLOAD.name,
    rules=(_BUILD_HAS_COME,),
)

CARD_MESSAGE = Contract(
    name="mtg_card",
    table=MTG_CARDS,
    version=1,
    description=(
        "Magic cards as MTGJSON's builds show them; each face is a card. One row a card and build in which it is"
        " another than in the build before, or gone. Append-only; a build that was published again may be there twice."
    ),
    fields=(UUID, SET_CODE, BUILD_DATE, BUILD_VERSION, IS_DELETED, CONTENT_HASH, PAYLOAD_HASH),
    lineage=(_payload("its member `card` is MTGJSON's card, but for the members in `volatile`"), *_OF_KAFKA),
    partition_by=(),
    raw_payload=RAW_PAYLOAD.name,
    rules=(_BUILD_HAS_COME,),
)

PRICE_MESSAGE = Contract(
    name="mtg_price",
    table=MTG_PRICES,
    version=1,
    description=(
        "Prices of Magic cards as MTGJSON's builds show them. One row a card, day and build in which they are others"
        " than in the builds before. Append-only; a build that was published again may be there twice."
    ),
    fields=(
        UUID,
        PRICE_DATE,
        BUILD_DATE,
        BUILD_VERSION,
        PAYLOAD_HASH,
    ),
    lineage=(
        _payload(
            "its member `prices` lists that day's prices of the card, each with `channel`, `provider`, `price_type`,"
            " `finish`, `currency` (absent where MTGJSON says none) and `price`"
        ),
        *_OF_KAFKA,
    ),
    partition_by=(),
    raw_payload=RAW_PAYLOAD.name,
    rules=(_BUILD_HAS_COME, _PRICE_HAS_COME),
)

BUILD_RECORD = Contract(
    name="mtg_build",
    table=MTG_BUILDS,
    version=1,
    description=(
        "What was taken of which of MTGJSON's builds: one row a build and set, and one a build and file of all sets or"
        " of prices, once all messages about it are in bronze. What has a row here is not downloaded again."
        " Append-only; what was taken again has more rows."
    ),
    fields=(
        BUILD_DATE,
        BUILD_VERSION,
        Column(
            "part",
            Type.STRING,
            "Code of a set; or the file `AllPrintings` (all sets), `AllPrices` (90 days), `AllPricesToday`.",
            required=True,
        ),
        Column("items", Type.LONG, "Cards, or pairs of card and day with prices.", unit="objects"),
        Column("declared_items", Type.LONG, "Cards that the set says it has; else null.", unit="cards"),
        Column("first_date", Type.DATE, "First day that there are prices of; else null."),
        Column("last_date", Type.DATE, "Last day that there are prices of; else null."),
    ),
    lineage=(
        Column("source_url", Type.STRING, "File it was taken from."),
        Column("source_sha256", Type.STRING, "Checksum of that file, which the server said as well."),
        Column("fetched_at", Type.TIMESTAMP, "When that file was complete (UTC)."),
        Column("taken_at", Type.TIMESTAMP, "When its messages were in bronze (UTC)."),
    ),
    partition_by=(),
)
