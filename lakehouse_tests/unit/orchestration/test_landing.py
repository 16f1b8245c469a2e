"""The sensor asks for a run when records wait, and only then."""

from dataclasses import replace

import dagster as dg
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.pgr.automation import pgr_micro_batch_sensor
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import LakehouseError
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse_tests.events import TOPIC, TOPIC_ID, kafka_batch, numbered

TWENTY = TopicState(TOPIC_ID, {0: PartitionState(0, 20)})


class FakeKafka(KafkaResource):
    """A topic whose state is given."""

    def topic(self, name: str) -> TopicState | None:
        state: TopicState | LakehouseError | None = STATES[-1]
        if isinstance(state, LakehouseError):
            raise state
        return state


class FakeIceberg(IcebergResource):
    """A catalog that is given."""

    def catalog(self) -> Catalog:
        return CATALOGS[-1]


STATES: list[TopicState | LakehouseError | None] = []
CATALOGS: list[Catalog] = []


def tick(
    catalog: SqlCatalog, state: TopicState | LakehouseError | None, instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    STATES.append(state)
    CATALOGS.append(catalog)
    context = dg.build_sensor_context(
        instance=instance, resources={"kafka": FakeKafka(), "iceberg": FakeIceberg()}, sensor_name="pgr_micro_batch"
    )
    result = pgr_micro_batch_sensor(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def land(catalog: SqlCatalog, count: int) -> None:
    LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run").append(kafka_batch(numbered(range(count))))


def reason(result: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def test_the_first_records_are_asked_for(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    result = tick(catalog, TWENTY, instance)
    assert isinstance(result, dg.RunRequest)
    assert result.tags["lakehouse/lag"] == "20"


def test_nothing_new_is_no_run(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    land(catalog, 20)
    assert reason(tick(catalog, TWENTY, instance)) == "pgr: everything is landed"


def test_what_came_since_is_asked_for(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    land(catalog, 15)
    result = tick(catalog, TWENTY, instance)
    assert isinstance(result, dg.RunRequest)
    assert result.tags["lakehouse/lag"] == "5"


def test_a_topic_that_does_not_exist_yet_is_no_run(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    assert reason(tick(catalog, None, instance)) == "pgr: everything is landed"


def test_brokers_that_are_away_are_a_reason_to_wait(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    assert "Kafka does not answer" in reason(tick(catalog, LakehouseError("Kafka does not answer"), instance))


def test_a_run_at_work_is_left_alone(catalog: SqlCatalog, instance: dg.DagsterInstance) -> None:
    instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED)
    assert "a run is draining, 20 records to go" in reason(tick(catalog, TWENTY, instance))


def test_a_gap_is_asked_for_once_so_that_one_run_fails_with_the_reason(
    catalog: SqlCatalog, instance: dg.DagsterInstance
) -> None:
    land(catalog, 20)
    recreated = replace(TWENTY, topic_id="another")
    first, second = tick(catalog, recreated, instance), tick(catalog, recreated, instance)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name="pgr_micro_batch")
    def job() -> None:
        nothing()

    return job
