"""A clock that a test sets, for every process of a home: by libfaketime, which needs Linux and a C compiler."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lakehouse_tests.home import Home

WAIT = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    int (*wait)(cnd_t *, mtx_t *, const struct timespec *) = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec told, real, at = *until;
    clock_gettime(CLOCK_REALTIME, &told);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
    at.tv_sec -= told.tv_sec - real.tv_sec;
    return wait(condition, mutex, &at);
}
"""
"""What libfaketime lacks, and Kafka's client waits with: without, it waits until the time that it is told comes."""

LOOK_SECONDS = 1
"""After more than so many whole seconds, a process looks again at what was said."""


class Clock:
    """What time it is, for those whom it rules."""

    def __init__(self, folder: Path) -> None:
        self.ahead = timedelta()
        self._file = folder / "clock"
        self._wait = folder / "wait.so"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(self._wait)]
        subprocess.run(command, input=WAIT, text=True, check=True)

    def rule(self, home: Home, ahead: timedelta) -> None:
        """Rule a home in which nothing runs yet, from so far ahead on."""
        import libfaketime

        clock = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
        variables = {
            "LD_PRELOAD": f"{clock}:{self._wait}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(LOOK_SECONDS),
            # What is waited for, and for how long, is nobody's time of day.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
        self.set(ahead)
        home.environment |= variables
        home.prelude = f"import lakehouse.stack.environment as e; e.PASSED_ON += {tuple(variables)}; "

    def set(self, ahead: timedelta) -> None:
        """Be so far ahead, which all know when this returns."""
        new = self._file.with_suffix(".new")
        new.write_text(f"+{ahead.total_seconds():.6f}\n")
        new.replace(self._file)
        self.ahead = ahead
        time.sleep(LOOK_SECONDS + 2)

    def now(self) -> datetime:
        """What time it is."""
        return datetime.now(UTC) + self.ahead
