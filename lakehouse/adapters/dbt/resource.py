"""dbt as a Dagster resource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse import settings as settings_module

if TYPE_CHECKING:
    from dagster_dbt import DbtCliInvocation


class DbtResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The dbt project on the Trino that the settings name."""

    def start(self, arguments: Sequence[str], context: dg.AssetExecutionContext) -> DbtCliInvocation:
        """Start dbt for some assets; rows that it writes name the run."""
        from dagster_dbt import DbtCliResource

        from lakehouse.adapters.dbt.project import DBT, DBT_PROJECT, dbt_environment, exported

        dbt = DbtCliResource(project_dir=str(DBT_PROJECT), profiles_dir=str(DBT_PROJECT), dbt_executable=str(DBT))
        # It reads its profile from the environment, and hands its own one to dbt.
        with exported(dbt_environment(settings_module.load()) | {"AUDIT_RUN_ID": context.run.run_id}):
            return dbt.cli(arguments, context=context)
