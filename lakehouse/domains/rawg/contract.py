"""A game of the RAWG API, as its lists give it, and the table of game versions."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.contracts.lineage import FETCHED_AT, INGESTED_AT, SOURCE_URL
from lakehouse.naming import RAWG_GAMES

MAX_ID = 2**63 - 1

SEEN, DELETED, MERGED = "seen", "deleted", "merged"

VOLATILE = frozenset({"games_count", "image_background", "user_game"})
"""Decorations: what an item says of something else than the game (how many games a tag has, with which picture it is
shown, what the caller made of the game). They change all the time, and make no new version."""

RAWG_GAME = Contract(
    name="rawg_game",
    table=RAWG_GAMES,
    version=1,
    description=(
        "Games of the RAWG API: one row a version of a game, append-only. A game that looks as it did makes no new"
        " row. The current version of a game is that with the greatest `updated_at` (null first), `fetched_at`,"
        " `pull_id`, in this order; a game whose current version is `deleted` or `merged` is gone."
    ),
    fields=(
        Column("game_id", Type.LONG, "Id of the game.", required=True, path="id", bounds=(1, MAX_ID)),
        Column(
            "updated_at",
            Type.TIMESTAMP,
            "When RAWG last changed the game: the API's `updated`, which has no zone, read as UTC. May be null. Many"
            " games share one value. A game that is gone has that of its last version.",
            path="updated",
        ),
        Column(
            "release_date",
            Type.DATE,
            "First release: the API's `released`; null for games without a date. May be in the future.",
            path="released",
        ),
    ),
    lineage=(
        Column(
            "change",
            Type.STRING,
            "What the row says: the game was seen as in `raw_payload`, was deleted, or was merged into another one.",
            required=True,
            known_values=(SEEN, DELETED, MERGED),
        ),
        Column("merged_into", Type.LONG, "Of a merged game: id of the game that the API answers with instead."),
        Column(
            "content_hash",
            Type.STRING,
            "First 32 digits of the SHA-256 of the item as canonical JSON (sorted keys, no white space) without "
            + ", ".join(sorted(VOLATILE))  # the same text in every process
            + " at any depth; null for games that are gone.",
        ),
        Column("raw_payload", Type.STRING, "The item as received, keys redacted; null for games that are gone."),
        Column(
            "pull_window",
            Type.STRING,
            "What the pull asked for: `released:2024-08`, `released:none`, `updated:2026-11-25`, or days"
            " `released:2024-08-01..2024-08-15` of a window that had to be split.",
            required=True,
        ),
        Column("pull_id", Type.STRING, "The pull: one attempt to read the window as a whole.", required=True),
        Column("page", Type.INT, "Page of the list it was on; null when the game was asked for alone."),
        SOURCE_URL,
        FETCHED_AT,
        INGESTED_AT,
    ),
    partition_by=(),
    raw_payload="raw_payload",
)
