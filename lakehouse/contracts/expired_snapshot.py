"""The table of expired snapshots: what the histories of the tables said before maintenance shortened them."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.naming import EXPIRED_SNAPSHOTS

EXPIRED_SNAPSHOT = Contract(
    name="expired_snapshot",
    table=EXPIRED_SNAPSHOTS,
    version=1,
    description="Commits that are no longer in the history of their table: one row each, written before it is removed.",
    fields=(
        Column("table_name", Type.STRING, "Table whose history it was in, `layer.table`.", required=True),
        Column("snapshot_id", Type.LONG, "Id of the snapshot.", required=True),
        Column("committed_at", Type.TIMESTAMP, "When it was committed (UTC).", required=True),
        Column("operation", Type.STRING, "What Iceberg calls it, e.g. `append`.", required=True),
        Column("added_rows", Type.LONG, "Rows it added.", required=True, unit="rows"),
        Column("summary_json", Type.JSON_OBJECT, "All that the commit said of itself, with its writer.", required=True),
        Column("expired_at", Type.TIMESTAMP, "When it was taken out of the history (UTC).", required=True),
    ),
    lineage=(),
    partition_by=(("table_name", Transform.IDENTITY),),
)
