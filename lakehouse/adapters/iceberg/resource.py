"""The Iceberg catalog as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from lakehouse import settings as settings_module

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class IcebergResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The catalog that the settings name. Holds no configuration, so that no secret can be seen in Dagster."""

    def catalog(self) -> Catalog:
        """Connect; namespaces exist afterwards."""
        from lakehouse.adapters.iceberg.catalog import open_catalog

        return open_catalog(settings_module.load())
