"""The dbt models of a domain as Dagster assets, made from the manifest."""

import json
from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets

from lakehouse import settings as settings_module
from lakehouse.adapters.dbt.project import ensure_manifest
from lakehouse.adapters.dbt.resource import DbtResource
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.trino.query import query
from lakehouse.naming import ANALYTICS, Domain, TableName
from lakehouse.orchestration.landing import RETRY
from lakehouse.settings import Settings

Preview = Callable[[Settings], Mapping[str, dg.MetadataValue]]
"""What Dagster is to show of a table that was built."""


class Translator(DagsterDbtTranslator):
    """dbt's names in ours: a model is the table it makes, a source the table it reads."""

    def __init__(self, domain: Domain) -> None:
        """Keep the domain, which names the group of the assets."""
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=True))
        self._domain = domain

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """``[layer, table]``."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["config"]["schema"], dbt_resource_props["alias"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The domain."""
        return str(self._domain)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """Who answers for marts."""
        return [ANALYTICS]

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> dict[str, str]:
        """Layer and domain, as on every table."""
        layer = str(dbt_resource_props["config"].get("schema", ""))
        return {"layer": layer, "domain": str(self._domain), "dagster/kind/iceberg": ""}


def _described(key: dg.AssetKey, previews: Mapping[TableName, Preview]) -> dict[str, Any]:
    """Number of rows in a model's table, and its preview.

    Not dagster-dbt's `fetch_row_counts`, which waits for dbt in a busy loop and so takes a whole core from it.
    """
    settings = settings_module.load()
    _, rows = query(settings, f"select count(*) from {'.'.join(key.path)}")  # noqa: S608
    metadata = {"dagster/row_count": rows[0][0]}
    for table, preview in previews.items():
        if table.key == list(key.path):
            metadata |= preview(settings)
    return metadata


def _without_partition(context: dg.AssetExecutionContext, event: Any) -> Any:
    """An event of a run without a partition, as one that does not ask for it.

    Dagster looks up inputs of partitioned assets by the partition of the run, and fails where there is none. The
    outputs are optional, so the events can be reported as what they stand for.
    """
    if isinstance(event, dg.Output):
        key = context.asset_key_for_output(event.output_name)
        return dg.AssetMaterialization(asset_key=key, metadata=event.metadata)
    if isinstance(event, dg.AssetCheckResult) and event.asset_key and event.check_name:
        return dg.AssetCheckEvaluation(
            asset_key=event.asset_key,
            check_name=event.check_name,
            passed=event.passed,
            metadata=event.metadata,
            severity=event.severity,
            description=event.description,
        )
    return event


def build_dbt_assets(
    domain: Domain,
    *,
    freshness_policy: dg.FreshnessPolicy,
    partitions: dg.PartitionsDefinition[str] | None = None,
    previews: Mapping[TableName, Preview] = MappingProxyType({}),
) -> dg.AssetsDefinition:
    """A domain's tables by dbt: the models of the dbt group of that name, built and tested by one `dbt build`.

    A pool of their own keeps two runs from merging into the same tables at once. Where all of them are asked for, and
    sources, tables and code are what they were when dbt built them last, dbt is not started.

    Args:
        domain: Name of the dbt group.
        freshness_policy: How old they may become.
        partitions: Days that can be processed again. A run without a partition processes what is new; a backfill of
            many days is one run.
        previews: Of some of its tables, asked for when the table has been built.
    """

    @dbt_assets(
        manifest=json.loads(ensure_manifest().read_text()),
        select=f"group:{domain}",
        name=f"{domain}_models",
        dagster_dbt_translator=Translator(domain),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        retry_policy=RETRY,
        pool=f"{domain}_models",
    )
    def models(context: dg.AssetExecutionContext, dbt: DbtResource, iceberg: IcebergResource) -> Iterator[Any]:
        from lakehouse.adapters.dbt.group import Group

        variables = {}
        # The partition of a run can be that of other assets in it.
        is_partitioned = partitions and (context.has_partition_key or context.has_partition_key_range)
        if is_partitioned:
            days = context.partition_key_range
            variables = {"start_date": days.start, "end_date": days.end}
        group, catalog = Group.of(domain), iceberg.catalog()
        is_whole = not is_partitioned and not context.is_subset
        if is_whole and group.is_built(catalog):
            context.log.info("%s: nothing has changed since dbt built these tables", domain)
            # Dagster wants them in this order: what a table is made of comes before it.
            ordered = TopologicalSorter(context.assets_def.asset_deps).static_order()
            for key in (key for key in ordered if key in context.selected_asset_keys):
                output = dg.Output(None, context.output_for_asset_key(key), metadata=_described(key, previews))
                yield _without_partition(context, output) if partitions else output
            return
        sources = group.sources(catalog)
        arguments = ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps(variables)]
        for event in dbt.start(arguments, context).stream():
            if isinstance(event, dg.Output):
                key = context.asset_key_for_output(event.output_name)
                event = event.with_metadata({**event.metadata, **_described(key, previews)})
            yield _without_partition(context, event) if partitions and not is_partitioned else event
        if is_whole:
            group.note_built(catalog, sources)

    return models.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=freshness_policy))
