"""dbt as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from lakehouse import settings as settings_module

if TYPE_CHECKING:
    from dagster_dbt import DbtCliResource


class DbtResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The dbt project on the Trino that the settings name."""

    def cli(self, run_id: str) -> DbtCliResource:
        """The command line of dbt, ready to run; rows that it writes will name the run."""
        from dagster_dbt import DbtCliResource

        from lakehouse.adapters.dbt.project import DBT, DBT_PROJECT, export_environment

        export_environment(settings_module.load(), run_id)
        return DbtCliResource(project_dir=str(DBT_PROJECT), profiles_dir=str(DBT_PROJECT), dbt_executable=str(DBT))
