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
        """Connect; namespaces exist afterwards.

        Raises:
            LakehouseError: the catalog does not answer.
        """
        from lakehouse.adapters.iceberg.catalog import connect

        return connect(settings_module.load())
