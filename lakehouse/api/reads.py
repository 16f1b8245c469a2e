"""What is asked of the stores: boards and totals, out of Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from lakehouse.adapters.redis.client import connection_options
from lakehouse.domains.players.boards import Period, begin_of, board_key, statistics_key, turned_key

if TYPE_CHECKING:
    from lakehouse.settings import Settings

MAX_PLAYERS = 100
"""That an answer tells of."""
PATIENCE_SECONDS = 2.0
"""For an answer of Redis, and once more for a second one, as a connection may have been cut off meanwhile: who asks is
told soon to try again."""

# Redis orders equal scores the other way round: each group of them is asked for on its own, from its lowest member on.
_SLICE = """
local board, first, count, around = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if redis.call('GET', KEYS[2]) ~= ARGV[4] then return {0} end
local function above(score) return redis.call('ZCOUNT', board, '(' .. score, '+inf') end
if around ~= '' then
  local score = redis.call('ZSCORE', board, around)
  if not score then return false end
  local below = redis.call('ZCOUNT', board, '-inf', '(' .. score)
  local place = above(score) + redis.call('ZRANK', board, around) - below
  first = math.max(0, place - math.floor(count / 2))
end
local scored = redis.call('ZREVRANGE', board, first, first + count - 1, 'WITHSCORES')
local found, at = {first}, 2
while at <= #scored do
  local score, same, offset = scored[at], 0, 0
  if at == 2 then offset = first - above(score) end
  while scored[at] == score do same, at = same + 1, at + 2 end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', board, score, score, 'LIMIT', offset, same)) do
    found[#found + 1] = member
    found[#found + 1] = score
  end
end
return found
"""


class Reader:
    """A client of Redis that asks the questions of the service."""

    def __init__(self, settings: Settings) -> None:
        options = connection_options(settings) | {"socket_timeout": PATIENCE_SECONDS}
        self._redis = Redis(**options, retry=Retry(NoBackoff(), 1))
        self._slice = self._redis.register_script(_SLICE)

    async def statistics(self, player: str) -> dict[str, Any] | None:
        """Totals of a player; None where nothing is known of them."""
        found: dict[Any, Any] = await self._redis.hgetall(statistics_key(player))
        if not found:
            return None
        kinds = {name.removeprefix("event_"): int(n) for name, n in found.items() if name.startswith("event_")}
        return {
            "player_id": player,
            "total_events": int(found["total_events"]),
            "event_breakdown": dict(sorted(kinds.items())),
            "first_event_at": found["first_event"],
            "last_event_at": found["last_event"],
        }

    async def board(self, game: str, period: Period, limit: int, around: str | None) -> dict[str, Any] | None:
        """Players of the board that counts now, best first; of equal scores the lower player id is the better.

        Args:
            game: Which.
            period: Which of its boards.
            limit: How many players at most.
            around: A player about whom the others are, instead of the best.

        Returns:
            The board; None where the player that was asked for is not on it.
        """
        begin = begin_of(period, datetime.now(UTC).date())
        keys = [board_key(game, period), turned_key(period)]
        found = await self._slice(keys=keys, args=[0, limit, around or "", begin.isoformat()])
        if found is None or (around and len(found) == 1):
            return None
        first, *rest = found
        players = [
            {"rank": int(first) + number, "player_id": player, "score": int(score)}
            for number, (player, score) in enumerate(zip(rest[::2], rest[1::2], strict=True), start=1)
        ]
        return {"game_id": game, "period": str(period), "period_start": begin.isoformat(), "players": players}

    async def close(self) -> None:
        """End the connections."""
        await self._redis.aclose()
