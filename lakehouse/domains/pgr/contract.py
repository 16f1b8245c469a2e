"""The service event of the public-grievance systems, as published on the topic and stored in bronze."""

from __future__ import annotations

from lakehouse.contracts.contract import ID_LENGTH, Column, Contract, Rule, Transform, Type
from lakehouse.contracts.lineage import (
    DELIVERY_COORDINATES,
    INGESTED_AT,
    KAFKA_COORDINATES,
    RAW_PAYLOAD,
    REPLAYED_AT,
)
from lakehouse.naming import SERVICE_EVENTS

_CONTENT = (
    "tenant_id",
    "service",
    "entity_type",
    "entity_id",
    "event_type",
    "status",
    "actor_type",
    "actor_id",
    "channel",
    "ward_id",
    "locality_id",
    "attributes_json",
)

EVENT_ID_SQL = (
    "sha256(concat(epoch_us(event_time)::varchar, "
    + ", ".join(f"chr(31), coalesce({name}, chr(30))" for name in _CONTENT)
    + "))"
)
"""Id of an event that brought none: SHA-256 over its content, so the same content has the same id.

The dbt macro ``event_id`` says the same in Trino's SQL; a test holds them equal.
"""

SERVICE_EVENT = Contract(
    name="service_event",
    table=SERVICE_EVENTS,
    version=1,
    description="Something that happened to a case (a complaint or service request): one row an event, append-only.",
    fields=(
        Column(
            "event_id",
            Type.STRING,
            "Id of the event; derived from the content when the producer gave none.",
            max_length=ID_LENGTH,
            derived=EVENT_ID_SQL,
        ),
        Column(
            "event_date",
            Type.DATE,
            "UTC day of `event_time`; may be absent from the record, but must not contradict it.",
            required=True,
            derived="cast(event_time at time zone 'UTC' as date)",
        ),
        Column("event_time", Type.TIMESTAMP, "When it happened (UTC).", required=True),
        Column(
            "tenant_id", Type.STRING, "City or department the case belongs to.", required=True, max_length=ID_LENGTH
        ),
        Column(
            "service", Type.STRING, "System that produced the event, e.g. `PGR`.", required=True, max_length=ID_LENGTH
        ),
        Column("entity_type", Type.STRING, "What kind of thing `entity_id` names, e.g. `CASE`.", max_length=ID_LENGTH),
        Column("entity_id", Type.STRING, "Id of the case, unique in its tenant.", required=True, max_length=ID_LENGTH),
        Column(
            "event_type",
            Type.STRING,
            "What happened.",
            required=True,
            max_length=ID_LENGTH,
            known_values=(
                "CaseSubmitted",
                "CaseAssigned",
                "CaseReassigned",
                "CaseResolved",
                "CaseRejected",
                "CaseClosed",
                "CaseReopened",
                "CaseEscalated",
                "CaseRated",
                "CaseCommented",
                "StatusChanged",
            ),
        ),
        Column(
            "status",
            Type.STRING,
            "Status of the case after the event, as the producer saw it.",
            max_length=ID_LENGTH,
            known_values=("OPEN", "ASSIGNED", "RESOLVED", "CLOSED", "REOPENED", "REJECTED", "CANCELLED"),
        ),
        Column("actor_type", Type.STRING, "Role of who acted, e.g. `CITIZEN`, `EMPLOYEE`.", max_length=ID_LENGTH),
        Column("actor_id", Type.STRING, "Who acted.", max_length=ID_LENGTH, is_personal=True),
        Column(
            "channel",
            Type.STRING,
            "How the event reached the service.",
            max_length=ID_LENGTH,
            known_values=("WEB", "MOBILE", "CSC", "COUNTER", "API", "WHATSAPP", "IVR", "PHONE", "SYSTEM"),
        ),
        Column("ward_id", Type.STRING, "Ward of the case.", max_length=ID_LENGTH),
        Column("locality_id", Type.STRING, "Locality of the case, within the ward.", max_length=ID_LENGTH),
        Column(
            "attributes_json",
            Type.JSON_OBJECT,
            "Further attributes as the text of one JSON object, e.g. complaint_type, priority, sla_hours.",
            is_personal=True,
        ),
    ),
    lineage=(
        RAW_PAYLOAD,
        *KAFKA_COORDINATES,
        INGESTED_AT,
        *DELIVERY_COORDINATES,
        REPLAYED_AT,
    ),
    partition_by=(("event_date", Transform.IDENTITY), ("service", Transform.IDENTITY)),
    event_id="event_id",
    event_time="event_time",
    raw_payload=RAW_PAYLOAD.name,
    rules=(
        Rule(
            "DATE_MISMATCH",
            "event_date",
            "event_date <> cast(event_time at time zone 'UTC' as date)",
            "contradicts the UTC day of event_time",
        ),
    ),
)
