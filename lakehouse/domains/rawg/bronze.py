"""Bronze of RAWG's games: the API, and the table its lists are pulled into."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.domains.rawg.contract import RAWG_GAME
from lakehouse.domains.rawg.windows import ROOTS
from lakehouse.errors import LakehouseError
from lakehouse.naming import DEAD_LETTERS
from lakehouse.orchestration.describe import api_spec, describe_contract, freshness
from lakehouse.orchestration.landing import RETRY

if TYPE_CHECKING:
    from lakehouse.domains.rawg.pull import Pulled

BY_RELEASE = dg.StaticPartitionsDefinition(list(ROOTS))
"""Months of release; all games released before and after them, and those without a date."""

rawg_api = api_spec(RAWG_GAME, "Lists of video games of the RAWG API, by month of release and by day of update.")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **describe_contract(RAWG_GAME),
            deps=[rawg_api],
            kinds={"api", "iceberg"},
            freshness_policy=freshness(warn_hours=30, fail_hours=54),
        )
    ],
    name="rawg_games",
    partitions_def=BY_RELEASE,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
)
def rawg_games(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """Pull times of release, of a run with partitions, or else the days of update that are due."""
    from lakehouse.domains.rawg.ingest import days_to_update, pull_windows
    from lakehouse.domains.rawg.overview import describe_games
    from lakehouse.domains.rawg.source import KeyRefusedError
    from lakehouse.errors import SettingsError
    from lakehouse.ledger.budget import BudgetError

    settings = settings_module.load()
    is_of_release = context.has_partition_key or context.has_partition_key_range
    try:
        windows = [ROOTS[name] for name in context.partition_keys] if is_of_release else days_to_update(settings)
        done = pull_windows(
            settings,
            windows,
            run_id=context.run.run_id,
            # Who asks for a month wants it read; a run that is tried again goes on.
            again=not (context.retry_number or context.run.parent_run_id),
            on_landed=lambda landed, so_far: context.log.info(
                "%d games seen, %d new versions, %d refused", so_far.items, so_far.rows, so_far.refused
            ),
        )
    except (KeyRefusedError, BudgetError, SettingsError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except LakehouseError as error:
        raise dg.Failure(str(error)) from error
    metadata = _metadata(done) | describe_games(settings)
    if done.refused:
        refused: dict[str, Any] = {"dead_letters": done.refused, "source": "rawg"}
        yield dg.AssetMaterialization(DEAD_LETTERS.key, metadata=refused)
    yield dg.MaterializeResult(asset_key=dg.AssetKey(RAWG_GAME.table.key), metadata=metadata)


def _metadata(done: "Pulled") -> dict[str, Any]:
    return {
        "windows": len(done.closed),
        "windows_just_read_before": len(done.continued),
        "windows_of_another_run": done.elsewhere,
        "windows_that_changed_while_they_were_read": done.disturbed,
        "games_seen": done.items,
        "new_versions": done.rows,
        "gone": done.gone,
        "dead_letters": done.refused,
        "requests": done.requests,
        "commits": done.commits,
    }
