"""The pinned JVM artifacts: what `artifacts.lock` says, and how they come into the user's Maven repository."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from rich.console import Console

from lakehouse.errors import StackError
from lakehouse.settings import PROJECT
from lakehouse.stack.download import Download, download_all

if TYPE_CHECKING:
    from jgo.config import GlobalSettings

LOCK = PROJECT / "lakehouse" / "stack" / "artifacts.lock"
MAVEN_SETTINGS = Path("~/.m2/settings.xml")


@dataclass(frozen=True)
class Artifact:
    """One file in a Maven repository, with the checksum it must have."""

    group: str
    name: str
    version: str
    packaging: str
    sha256: str
    classifier: str = ""

    @property
    def filename(self) -> str:
        """Name of the file."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{suffix}.{self.packaging}"

    @property
    def path(self) -> str:
        """Path below the root of any Maven repository."""
        return "/".join((*self.group.split("."), self.name, self.version, self.filename))

    def __str__(self) -> str:
        return ":".join(filter(None, (self.group, self.name, self.version, self.classifier, self.packaging)))


@dataclass(frozen=True)
class Artifacts:
    """All that one server is made of, and the folder it is assembled in."""

    files: tuple[Artifact, ...]
    folder: Path
    """Exists only when everything in it is complete, so that a second run neither downloads nor hashes anything."""
    size_mb: int
    """Room that the download and the folder take."""

    @property
    def are_installed(self) -> bool:
        """Whether nothing is left to do."""
        return self.folder.is_dir()


def read_lock(text: str) -> dict[str, tuple[Artifact, ...]]:
    """Parse the lock file into the artifacts of each server.

    Raises:
        StackError: naming the first line that cannot be read.
    """
    sections: dict[str, list[Artifact]] = {}
    current: list[Artifact] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.split("#", 1)[0].strip()
        if not entry:
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", entry):
            current = sections.setdefault(heading[1], [])
        elif current is not None and (pinned := re.fullmatch(r"([0-9a-f]{64})\s+([\w.:\-]+)", entry)):
            current.append(_artifact(pinned[1], pinned[2].split(":"), number))
        else:
            raise StackError(
                f"{LOCK.name}, line {number}: expected `[server]` or `sha256  group:name:version:packaging`"
            )
    return {server: tuple(artifacts) for server, artifacts in sections.items()}


def _artifact(sha256: str, parts: list[str], number: int) -> Artifact:
    if len(parts) not in (4, 5):
        raise StackError(f"{LOCK.name}, line {number}: a coordinate is group:name:version[:classifier]:packaging")
    group, name, version, *classifier, packaging = parts
    return Artifact(group, name, version, packaging, sha256, *classifier)


def pinned(server: str) -> tuple[Artifact, ...]:
    """The artifacts of one server."""
    return read_lock(LOCK.read_text())[server]


def fingerprint(artifacts: Iterable[Artifact], *choices: str) -> str:
    """Short name for exactly these contents, for the folder that holds them."""
    text = "\n".join([*(artifact.sha256 for artifact in artifacts), *choices])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def repository() -> Path:
    """The user's local Maven repository."""
    return Path(_jgo_settings().repo_cache)


def _jgo_settings() -> GlobalSettings:
    """The user's own choice of repositories and folders, as jgo keeps it."""
    with warnings.catch_warnings():
        # Importing it asks for a runtime folder that a machine without a desktop session does not have.
        warnings.simplefilter("ignore")
        from jgo.config import GlobalSettings
    return GlobalSettings.load()


def fetch(artifacts: Iterable[Artifact], console: Console) -> None:
    """Bring the artifacts into the local repository, each with the checksum it must have.

    Raises:
        StackError: when one cannot be found, downloaded or trusted.
    """
    root = repository()
    missing = [artifact for artifact in artifacts if not has_checksum(root / artifact.path, artifact.sha256)]
    if not missing:
        return
    maven = shutil.which("mvn")
    if maven and _names_own_servers(MAVEN_SETTINGS.expanduser()):
        _fetch_with_maven(maven, missing, root, console)
    else:
        from jgo.maven import MavenContext

        remotes = _jgo_settings().repositories or MavenContext().remote_repos
        download_all(
            [
                Download(
                    urls=tuple(f"{url.rstrip('/')}/{artifact.path}" for url in remotes.values()),
                    target=root / artifact.path,
                    sha256=artifact.sha256,
                )
                for artifact in missing
            ],
            console,
        )


def has_checksum(path: Path, sha256: str) -> bool:
    """Whether the file exists and is the expected one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _names_own_servers(maven_settings: Path) -> bool:
    """Whether the user told Maven where and how to fetch: then Maven does the fetching."""
    if not maven_settings.is_file():
        return False
    text = re.sub(r"<!--.*?-->", "", maven_settings.read_text(errors="replace"), flags=re.DOTALL)
    return re.search(r"<(mirror|proxy|server|repository)>", text) is not None


def _fetch_with_maven(maven: str, artifacts: list[Artifact], root: Path, console: Console) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pom = Path(folder) / "pom.xml"
        pom.write_text(_pom(artifacts))
        command = [maven, "-B", "-q", "-f", str(pom), f"-Dmaven.repo.local={root}", "dependency:resolve"]
        with console.status(f"fetching {len(artifacts)} artifacts with Maven, as your settings.xml says …"):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stdout.splitlines() if line.startswith("[ERROR]")), done.stderr.strip())
        raise StackError(f"Maven could not fetch the artifacts: {reason[:300]}; see ~/.m2/settings.xml")
    for artifact in artifacts:
        if not has_checksum(root / artifact.path, artifact.sha256):
            (root / artifact.path).unlink(missing_ok=True)
            raise StackError(f"{artifact} has a wrong checksum and was deleted: check the mirror in ~/.m2/settings.xml")


def _pom(artifacts: list[Artifact]) -> str:
    """A project that depends on exactly these files: every transitive dependency is excluded."""
    dependencies = "".join(
        "<dependency>"
        f"<groupId>{escape(a.group)}</groupId><artifactId>{escape(a.name)}</artifactId>"
        f"<version>{escape(a.version)}</version><type>{escape(a.packaging)}</type>"
        f"<classifier>{escape(a.classifier)}</classifier>"
        "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        "</dependency>"
        for a in artifacts
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion>"
        "<groupId>lakehouse</groupId><artifactId>artifacts</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
