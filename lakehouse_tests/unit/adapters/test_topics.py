"""What is planned for topics that are not as they should be."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters.kafka.client import topic_config
from lakehouse.adapters.kafka.topics import Found, plan
from lakehouse.naming import PGR_EVENTS_TOPIC, TOPICS

AS_DESIGNED = {topic.name: Found(topic.partitions, topic_config(topic)) for topic in TOPICS}
SIZES = st.one_of(st.just(-1), st.integers(0, 10**12))


def test_topics_as_they_should_be_need_nothing() -> None:
    assert plan(TOPICS, AS_DESIGNED) == []


def test_a_missing_topic_is_created_and_others_are_left_alone() -> None:
    (change,) = plan([PGR_EVENTS_TOPIC], {"somebody-elses": Found(1, {})})
    assert (change.topic, change.what, change.is_kept) == (PGR_EVENTS_TOPIC, "topic", False)


def test_a_topic_that_would_lose_records_by_compaction_is_changed() -> None:
    compacted = topic_config(PGR_EVENTS_TOPIC) | {"cleanup.policy": "compact"}
    (change,) = plan([PGR_EVENTS_TOPIC], {PGR_EVENTS_TOPIC.name: Found(PGR_EVENTS_TOPIC.partitions, compacted)})
    assert (change.what, change.found, change.wanted, change.is_kept) == ("cleanup.policy", "compact", "delete", False)


@given(wanted=st.integers(1, 1_000), partitions=st.integers(1, 12), retention=SIZES, largest=st.integers(1, 10**9))
def test_whatever_is_there_is_never_made_smaller(wanted: int, partitions: int, retention: int, largest: int) -> None:
    topic = replace(PGR_EVENTS_TOPIC, retention_hours=wanted)
    config = topic_config(topic) | {"retention.ms": str(retention), "max.message.bytes": str(largest)}
    has = {"partitions": partitions} | {name: int(value) for name, value in config.items() if value.isdecimal()}
    for change in plan([topic], {topic.name: Found(partitions, config)}):
        is_smaller = change.found == "-1" or has[change.what] > int(change.wanted)
        assert change.is_kept == is_smaller
