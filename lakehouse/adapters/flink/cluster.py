"""The REST interface of a Flink cluster: jobs, checkpoints, savepoints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests

from lakehouse.errors import LakehouseError, SavepointFailedError

TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.5
SOURCE = "Source: "
"""How Flink begins the name of what reads."""
PENDING = "pendingRecords"
"""Metric of a source: the lag of what it consumes."""
ENDED = ("FINISHED", "CANCELED", "FAILED")


@dataclass(frozen=True)
class Job:
    """A job that the cluster knows."""

    job_id: str
    name: str
    state: str
    started_at: datetime

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or tries to."""
        return self.state not in ENDED


@dataclass(frozen=True)
class Checkpoints:
    """How the checkpoints of a job have gone."""

    completed: int
    failed: int
    newest_at: datetime | None
    """When the newest complete one was triggered."""
    newest_path: str | None


class FlinkCluster:
    """A cluster at an address."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def overview(self) -> dict[str, Any]:
        """Version, slots, task managers."""
        return dict(self._ask("GET", "/overview"))

    def jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        found = self._ask("GET", "/jobs/overview")["jobs"]
        jobs = [Job(job["jid"], job["name"], job["state"], _time(job["start-time"])) for job in found]
        return sorted(jobs, key=lambda job: job.started_at, reverse=True)

    def newest(self, name: str) -> Job | None:
        """The newest job of that name, however it is."""
        return next((job for job in self.jobs() if job.name == name), None)

    def alive(self, name: str) -> Job | None:
        """The job of that name that runs, if there is one."""
        return next((job for job in self.jobs() if job.name == name and job.is_alive), None)

    def checkpoints(self, job: Job) -> Checkpoints:
        """Counts, and the newest complete one."""
        found = self._ask("GET", f"/jobs/{job.job_id}/checkpoints")
        newest = (found.get("latest") or {}).get("completed")
        return Checkpoints(
            found["counts"]["completed"],
            found["counts"]["failed"],
            _time(newest["trigger_timestamp"]) if newest else None,
            newest["external_path"] if newest else None,
        )

    def failure(self, job: Job) -> str | None:
        """Why a job failed or is being restarted, in its first words."""
        found = self._ask("GET", f"/jobs/{job.job_id}/exceptions?maxExceptions=1")["exceptionHistory"]["entries"]
        if not found:
            return None
        return _root_cause(str(found[0]["stacktrace"]))

    def watermark(self, job: Job) -> datetime | None:
        """Event time up to which all of a job's operators take their input to be complete; None before any knows."""
        found = []
        for path in self._vertices(job):
            found += [int(one["value"]) for one in self._ask("GET", f"{path}/watermarks")]
        known = [value for value in found if value > 0]
        return _time(min(known)) if known else None

    def pending(self, job: Job) -> int | None:
        """Records that a job's sources have yet to read, as these know it; None before any has said."""
        found = []
        sources = (path for path, name in self._vertices(job).items() if name.startswith(SOURCE))
        for metrics in (f"{path}/subtasks/metrics" for path in sources):
            for name in (metric["id"] for metric in self._ask("GET", metrics)):
                if name.endswith(f".{PENDING}"):
                    found += self._ask("GET", f"{metrics}?get={quote(name, safe='')}&agg=sum")
        return int(sum(one["sum"] for one in found)) if found else None

    def cancel(self, job: Job) -> None:
        """End a job without a savepoint; its newest checkpoint stays."""
        self._ask("PATCH", f"/jobs/{job.job_id}?mode=cancel")

    def stop(self, job: Job, folder: str, *, timeout_seconds: float) -> str:
        """Stop a job with a savepoint in a folder; returns where it is.

        Raises:
            SavepointFailedError: the job could not take it just now.
            LakehouseError: it takes too long.
        """
        return self._savepoint(job, "stop", {"drain": False, "targetDirectory": folder}, timeout_seconds)

    def savepoint(self, job: Job, folder: str, *, timeout_seconds: float) -> str:
        """Take a savepoint, in a folder, of a job that goes on; returns where it is.

        Raises:
            SavepointFailedError: the job could not take it just now.
            LakehouseError: it takes too long.
        """
        return self._savepoint(job, "savepoints", {"cancel-job": False, "target-directory": folder}, timeout_seconds)

    def _vertices(self, job: Job) -> dict[str, str]:
        """Path and name of each of a job's chains of operators."""
        path = f"/jobs/{job.job_id}"
        return {f"{path}/vertices/{found['id']}": str(found["name"]) for found in self._ask("GET", path)["vertices"]}

    def _savepoint(self, job: Job, path: str, body: dict[str, Any], timeout_seconds: float) -> str:
        request = self._ask("POST", f"/jobs/{job.job_id}/{path}", body)["request-id"]
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            found = self._ask("GET", f"/jobs/{job.job_id}/savepoints/{request}")
            if found["status"]["id"] == "COMPLETED":
                cause = found["operation"].get("failure-cause")
                if cause:
                    reason = _root_cause(str(cause.get("stack-trace") or cause))
                    raise SavepointFailedError(f"{job.name}: the savepoint failed: {reason}")
                return str(found["operation"]["location"])
            time.sleep(POLL_SECONDS)
        raise LakehouseError(f"{job.name}: no savepoint within {timeout_seconds:g} s; it may still come")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = requests.request(method, self._url + path, json=body, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise LakehouseError(
                f"Flink does not answer at {self._url} ({type(error).__name__}): is it up? "
                "`lakehouse status`, `lakehouse up flink`"
            ) from None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise LakehouseError(f"Flink refuses {method} {path}: {answer.text[:300]}")
        return answer.json() if answer.content else None


def _root_cause(trace: str) -> str:
    """What a stack trace says first of what was wrong in the end."""
    lines = trace.strip().splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[0]


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
