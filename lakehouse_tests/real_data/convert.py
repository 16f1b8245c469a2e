"""Service events from files that nobody on this project wrote: NYC 311 requests and DIGIT's indexed complaints.

Only the standard library. Each city says things in its own way, and so do the events: times without a zone, with an
offset and with ``Z``; attributes as an object and as text; with ids and without.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

Record = dict[str, Any]

NEW_YORK_IN_SUMMER = timezone(-timedelta(hours=4))
CHANNELS = {"ONLINE": "WEB", "MOBILE": "MOBILE", "PHONE": "PHONE"} | {
    name.lower(): name for name in ("WEB", "MOBILE", "IVR", "WHATSAPP")
}
ACTIONS = {
    "APPLY": "CaseSubmitted",
    "ASSIGN": "CaseAssigned",
    "REASSIGN": "CaseReassigned",
    "RESOLVE": "CaseResolved",
    "REJECT": "CaseRejected",
    "REOPEN": "CaseReopened",
    "RATE": "CaseRated",
    "COMMENT": "CaseCommented",
    "FORWARD": "CaseEscalated",
    "ESCALATE": "CaseEscalated",
}


def nyc311_short(path: Path) -> Iterator[Record]:
    """12 columns, gzip: ISO times without a zone, ids of ours, attributes as an object."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for request in csv.DictReader(file):
            ward = request["borough"] if request["borough"] not in ("", "Unspecified") else request["incident_zip"]
            case = {
                "tenant_id": f"nyc.{request['agency'].lower()}",
                "service": "NYC311",
                "entity_type": "CASE",
                "entity_id": request["unique_key"],
                "ward_id": ward,
                "locality_id": request["incident_zip"],
            }
            said = {
                "complaint_type": request["complaint_type"],
                "descriptor": request["descriptor"],
                "latitude": float(request["latitude"]) if request["latitude"] else None,
            }
            yield case | {
                "event_id": f"nyc311-{request['unique_key']}-created",
                "event_time": request["created_date"],
                "event_type": "CaseSubmitted",
                "status": "OPEN",
                "attributes_json": said,
            }
            if request["closed_date"]:
                yield case | {
                    "event_id": f"nyc311-{request['unique_key']}-closed",
                    "event_time": request["closed_date"],
                    "event_type": "CaseClosed",
                    "status": "CLOSED",
                }


def nyc311_full(path: Path) -> Iterator[Record]:
    """41 columns: US times in New York's zone, no ids, attributes as text."""
    with path.open(encoding="utf-8", newline="") as file:
        for request in csv.DictReader(file):
            case = {
                "tenant_id": f"nyc-2022.{request['Agency'].lower()}",
                "service": "NYC311",
                "entity_type": "CASE",
                "entity_id": request["Unique Key"],
                "ward_id": request["Community Board"],
                "channel": CHANNELS.get(request["Open Data Channel Type"]),
            }
            said = {
                "complaint_type": request["Complaint Type"],
                "department": request["Agency Name"],
                "address": request["Incident Address"],
                "priority": "high" if request["Complaint Type"].startswith("Noise") else None,
                "sla_hours": "0.5" if request["Agency"] == "NYPD" else 72,
            }
            yield case | {
                "event_time": _us_time(request["Created Date"]),
                "event_type": "CaseSubmitted",
                "attributes_json": json.dumps(said),
            }
            if request["Status"] == "In Progress":
                yield case | {
                    "event_time": _us_time(request["Created Date"]),
                    "event_type": "StatusChanged",
                    "status": "ASSIGNED",
                    "attributes_json": json.dumps({"from_status": "open", "to_status": "assigned"}),
                }
            if request["Closed Date"]:
                yield case | {
                    "event_time": _us_time(request["Closed Date"]),
                    "event_type": "CaseClosed",
                    "attributes_json": json.dumps({"resolution": request["Resolution Description"]}),
                }


def digit(path: Path) -> Iterator[Record]:
    """Complaints with the history of their workflow: times in epoch milliseconds, ids that documents share.

    An entry of the history that has no time of its own happened when its complaint was last changed.
    """
    for document in json.loads(path.read_text(encoding="utf-8"))["PGR"]:
        data = document["Data"]
        service = data["service"]
        case = {
            "tenant_id": service["tenantId"],
            "service": "PGR",
            "entity_type": "CASE",
            "entity_id": service["serviceRequestId"],
            "ward_id": data["ward"]["code"],
            "locality_id": service["address"]["locality"]["code"],
            "channel": CHANNELS[service["source"]],
        }
        said = {
            "complaint_type": service["serviceCode"],
            "sla_hours": data["slaHours"],
            "department": data["department"],
        }
        for entry in data["history"]:
            times = entry.get("auditDetails") or service["auditDetails"]
            yield case | {
                "event_id": entry["id"],
                "event_time": _epoch_time(times["lastModifiedTime"]),
                "event_type": ACTIONS[entry["action"]],
                "actor_type": (entry.get("assigner") or {}).get("type"),
                "actor_id": (entry.get("assigner") or {}).get("uuid"),
                "attributes_json": said | {"comment": entry.get("comment")},
            }
        # What the document itself says: the complaint was made, and it is now in this state.
        yield case | {
            "event_time": _epoch_time(service["auditDetails"]["createdTime"]),
            "event_type": "CaseSubmitted",
            "actor_type": service["citizen"]["type"],
            "attributes_json": said,
        }
        if data["workflow"]["action"] != "APPLY":
            yield case | {
                "event_time": _epoch_time(service["auditDetails"]["lastModifiedTime"]),
                "event_type": ACTIONS[data["workflow"]["action"]],
                "attributes_json": said,
            }


def later(events: list[Record], every: int = 40) -> Iterator[Record]:
    """What may still come for some of New York's cases: reopenings, ends before the beginning, news of the status.

    Said of real cases, but made up: the files hold a case's beginning and end only.
    """
    for number, event in enumerate(event for event in events if event["service"] == "NYC311"):
        case = {name: event[name] for name in ("tenant_id", "service", "entity_type", "entity_id")}
        base = f"later-{event['entity_id']}-{event['event_type']}"
        moment = datetime.fromisoformat(event["event_time"])
        if number % every == 0 and event["event_type"] == "CaseClosed":
            reopened = {"event_time": (moment + timedelta(hours=2)).isoformat(), "event_type": "CaseReopened"}
            yield case | reopened | {"event_id": f"{base}-reopened"}
            if number % (2 * every) == 0:
                again = {"event_time": (moment + timedelta(days=2)).isoformat(), "event_type": "CaseResolved"}
                yield case | again | {"event_id": f"{base}-again"}
        if number % every == 1 and event["event_type"] == "CaseSubmitted":
            early = {"event_time": (moment - timedelta(days=1)).isoformat(), "event_type": "CaseClosed"}
            yield case | early | {"event_id": f"{base}-early"}
        if number % every == 2:
            spoken = {"event_time": (moment + timedelta(minutes=1)).isoformat(), "event_type": "CaseCommented"}
            yield case | spoken | {"event_id": f"{base}-comment", "ward_id": "another ward"}
        if number % every == 3:
            moved = {"event_time": (moment + timedelta(hours=1)).isoformat(), "event_type": "StatusChanged"}
            yield case | moved | {"event_id": f"{base}-moved", "status": "cancelled"}
        if number % every == 4 and event["event_type"] == "CaseSubmitted":
            given = {"event_time": (moment + timedelta(minutes=5)).isoformat(), "event_type": "CaseReassigned"}
            yield case | given | {"event_id": f"{base}-given", "attributes_json": {"sla_hours": 4, "priority": "low"}}


def encode(event: Record) -> bytes:
    """The event as its producer sends it."""
    return json.dumps(event, ensure_ascii=False).encode()


BREAKS: tuple[tuple[str, Callable[[Record], bytes | None]], ...] = (
    ("INVALID_JSON", lambda event: encode(event)[: len(encode(event)) // 2]),
    ("INVALID_JSON", lambda event: ",".join(str(value) for value in event.values()).encode()),
    ("INVALID_JSON", lambda event: encode(event | {"attributes_json": {"latitude": float("nan")}})),
    ("INVALID_UTF8", lambda event: encode(event | {"ward_id": "Caf@"}).replace(b"@", b"\xe9")),
    ("NOT_AN_OBJECT", lambda event: json.dumps(encode(event).decode()).encode()),
    ("NOT_AN_OBJECT", lambda event: b"[" + encode(event) + b"]"),
    ("NULL_VALUE", lambda event: None),
    ("EMPTY_VALUE", lambda event: b""),
    ("MISSING_FIELD", lambda event: encode(event | {"tenant_id": None})),
    ("MISSING_FIELD", lambda event: encode({name: value for name, value in event.items() if name != "event_time"})),
    ("WRONG_TYPE", lambda event: encode(event | {"entity_id": 69513421})),
    ("WRONG_TYPE", lambda event: encode(event | {"event_time": 1727931565106})),
    ("INVALID_TIMESTAMP", lambda event: encode(event | {"event_time": "05/01/2022 12:00:03 AM"})),
    ("TOO_LONG", lambda event: encode(event | {"ward_id": "ward " * 21})),
    ("DATE_MISMATCH", lambda event: encode(event | {"event_date": "1999-12-31"})),
    ("NUL_CHARACTER", lambda event: encode(event | {"ward_id": "a\x00b"})),
    ("INVALID_ATTRIBUTES", lambda event: encode(event | {"attributes_json": "{'complaint_type': 'Noise'}"})),
)
"""How a record gets broken, and why it must then be refused."""


def _us_time(text: str) -> str:
    return datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=NEW_YORK_IN_SUMMER).isoformat()


def _epoch_time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
