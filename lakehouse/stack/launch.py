"""Turns into a server: reads what to run, writes down who it is, drops root where asked, and calls exec.

Run by path, as ``python -I launch.py SPEC.json DIGEST``, by the supervisor. It exists because a server that outlives
its supervisor must be recognised later: the record is written by the very process that becomes the server, so it is
right after every restart. The digest is not read; it makes a changed specification visible to the supervisor. The
environment comes from the specification, readable by the owner only, and never from a command line.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from pathlib import Path

import psutil


def main() -> None:
    """Become the program described in the file named by the first argument."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    record = Path(spec["record"])
    new = record.with_suffix(".new")
    new.write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "created": psutil.Process().create_time(),
                "argv": spec["argv"],
                "stop_signal": spec["stop_signal"],
                "stop_seconds": spec["stop_seconds"],
            }
        )
    )
    new.replace(record)
    os.chdir(spec["cwd"])
    if spec["user"]:
        account = pwd.getpwnam(spec["user"])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


if __name__ == "__main__":
    main()
