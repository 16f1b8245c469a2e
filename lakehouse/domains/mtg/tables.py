"""Silver of Magic's sets, cards and prices: their columns."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.contracts.lineage import AUDIT, VALIDITY
from lakehouse.domains.mtg.contract import BUILD_DATE, CONTENT_HASH, IS_DELETED, PRICE_DATE, SET_CODE, UUID, VOLATILE
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS, MTG_SET_STATE


def _list(name: str, member: str, what: str) -> Column:
    return Column(name, Type.STRING, f"{what}, as a JSON list.", path=member)


SET_MEMBERS = (
    Column("name", Type.STRING, "Name of the set."),
    Column("type", Type.STRING, "What kind of set it is, e.g. `expansion`, `commander`, `token`."),
    Column("release_date", Type.DATE, "Day on which it was published.", path="releaseDate"),
    Column("block", Type.STRING, "Block that it belongs to."),
    Column("parent_code", Type.STRING, "Code of the set that it goes with.", path="parentCode"),
    Column("base_set_size", Type.INT, "Cards of the set proper, as MTGJSON says.", unit="cards", path="baseSetSize"),
    Column("total_set_size", Type.INT, "All its cards, as MTGJSON says.", unit="cards", path="totalSetSize"),
    Column("keyrune_code", Type.STRING, "Code of its symbol.", path="keyruneCode"),
    Column("mtgo_code", Type.STRING, "Its code on Magic Online.", path="mtgoCode"),
    Column("is_online_only", Type.BOOLEAN, "Whether there is no paper of it.", path="isOnlineOnly"),
    Column("is_foil_only", Type.BOOLEAN, "Whether all cards are foil.", path="isFoilOnly"),
    Column("is_partial_preview", Type.BOOLEAN, "Whether MTGJSON does not know all of it yet.", path="isPartialPreview"),
)
"""Members of a set that have a column; `path` is the name there. A member that is absent there is null here."""

SET = Contract(
    name="mtg_set_state",
    table=MTG_SET_STATE,
    version=1,
    description=(
        "Sets of Magic cards as the newest build that told of them did. One row a set, also of those that are gone."
    ),
    fields=(
        SET_CODE,
        *SET_MEMBERS,
        Column("tokens", Type.INT, "Tokens and art cards in `set_object`, which are no cards.", unit="tokens"),
        Column("set_object", Type.STRING, "MTGJSON's set without its cards, as a JSON object."),
        IS_DELETED,
        BUILD_DATE,
    ),
    lineage=AUDIT,
    partition_by=(),
)

CARD_MEMBERS = (
    Column("name", Type.STRING, "Name of the card, of all its faces where it has some: `Wear // Tear`."),
    Column("face_name", Type.STRING, "Name of the face; null where the card has one face.", path="faceName"),
    Column("side", Type.STRING, "Which face: `a` to `e`; null where the card has one face."),
    Column("number", Type.STRING, "Number in the set; not always digits: `2†`, `4★`."),
    Column("rarity", Type.STRING, "Rarity, e.g. `common`, `mythic`."),
    Column("layout", Type.STRING, "Layout, e.g. `normal`, `transform`."),
    Column("mana_cost", Type.STRING, "Mana cost, e.g. `{2}{W}`.", path="manaCost"),
    Column("mana_value", Type.DOUBLE, "Mana value; halves occur.", path="manaValue"),
    Column("type_line", Type.STRING, "Type as printed, e.g. `Legendary Creature — Elf`.", path="type"),
    Column("text", Type.STRING, "Rules text."),
    Column("power", Type.STRING, "Power; not always a number: `1+*`, `∞`."),
    Column("toughness", Type.STRING, "Toughness; not always a number."),
    Column("loyalty", Type.STRING, "Loyalty; not always a number: `1d4+1`."),
    Column("artist", Type.STRING, "Who drew it."),
    _list("colors", "colors", "Colours, e.g. `W`"),
    _list("color_identity", "colorIdentity", "Colours of all its symbols"),
    _list("supertypes", "supertypes", "Supertypes"),
    _list("types", "types", "Types"),
    _list("subtypes", "subtypes", "Subtypes"),
    _list("keywords", "keywords", "Keywords; null where MTGJSON has none"),
    _list("finishes", "finishes", "Finishes: `nonfoil`, `foil`, `etched`, …"),
    _list("availability", "availability", "Where there is one: `paper`, `mtgo`, `arena`, …"),
    _list("printings", "printings", "Codes of the sets that have it"),
    Column("legalities", Type.STRING, "Verdict by format, as a JSON object; `{}` where it is legal in none."),
    Column(
        "is_reprint", Type.BOOLEAN, "Whether it was printed before; null where MTGJSON does not say.", path="isReprint"
    ),
)
"""Members of a card that have a column, all of them tracked; `path` is the name there. What is absent there is null."""

CARD_OBJECT = Column("card_object", Type.STRING, "MTGJSON's card without its volatile members, as a JSON object.")

CARD_VERSION = Contract(
    name="mtg_card_version",
    table=MTG_CARD_VERSIONS,
    version=1,
    description=(
        "Magic cards with history (SCD2): one row a card, or face, and time in which all but its volatile members"
        " stayed the same. By the day of the build: builds that come late are put in their place. A card that a build"
        " no longer has ends its version."
    ),
    fields=(UUID, SET_CODE, *CARD_MEMBERS, CARD_OBJECT, CONTENT_HASH, *VALIDITY),
    lineage=(
        Column("edhrec_rank", Type.LONG, "Rank among the cards of the format Commander, the newest in the version."),
        Column(
            "volatile",
            Type.STRING,
            f"The newest volatile members in the version ({', '.join(VOLATILE)}), as a JSON object.",
        ),
        Column("told_on", Type.DATE, "Build since which the volatile members are these."),
        *AUDIT,
    ),
    partition_by=(),
)

PRICE = Contract(
    name="mtg_price_row",
    table=MTG_PRICE_ROWS,
    version=1,
    description=(
        "Prices of Magic cards, of each the newest that a build said. One row a card, day, channel, provider, kind of"
        " price, finish and currency. Nothing is converted or added up."
    ),
    fields=(
        UUID,
        PRICE_DATE,
        Column("channel", Type.STRING, "`paper` or `mtgo`.", required=True),
        Column("provider", Type.STRING, "Who asks or pays it, e.g. `tcgplayer`, `cardmarket`.", required=True),
        Column("price_type", Type.STRING, "`retail`: what a buyer pays; `buylist`: what a shop pays.", required=True),
        Column("finish", Type.STRING, "`normal`, `foil` or `etched`.", required=True),
        Column("currency", Type.STRING, "Its currency, e.g. `USD`; null where MTGJSON says none."),
        Column("price", Type.DECIMAL, "The price, in that currency.", required=True),
        BUILD_DATE,
    ),
    lineage=AUDIT,
    partition_by=((PRICE_DATE.name, Transform.IDENTITY),),
)
