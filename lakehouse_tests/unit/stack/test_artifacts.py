"""The lock file and its path into a Maven repository."""

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from lakehouse.errors import StackError
from lakehouse.stack.artifacts import Artifact, pinned, read_lock
from lakehouse.stack.assemble import unpack

SHA = "ab" * 32


def test_a_coordinate_gives_the_path_in_any_repository() -> None:
    locked = read_lock(f"[one]\n{SHA}  org.example.tools:tool:1.0:jar # why\n[two]\n{SHA}  a:b:2:native:tar.gz\n")
    assert [artifact.path for artifact in locked["one"]] == ["org/example/tools/tool/1.0/tool-1.0.jar"]
    assert locked["two"] == (Artifact("a", "b", "2", "tar.gz", SHA, "native"),)
    assert locked["two"][0].filename == "b-2-native.tar.gz"


@pytest.mark.parametrize("line", [f"{SHA}  a:b:1", "abc  a:b:1:jar", f"{SHA}", f"{SHA}  a:b:1:jar:c:d"])
def test_a_line_that_pins_nothing_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(StackError, match="line 2"):
        read_lock(f"[one]\n{line}\n")


def test_an_entry_before_any_section_is_refused() -> None:
    with pytest.raises(StackError, match="line 1"):
        read_lock(f"{SHA}  a:b:1:jar\n")


def test_the_lock_of_the_project_pins_every_file_once() -> None:
    for server in ("kafka", "trino"):
        paths = [artifact.path for artifact in pinned(server)]
        assert len(paths) == len(set(paths)) > 0


def test_unpacking_completes_a_part_whose_files_are_links_into_other_parts(tmp_path: Path) -> None:
    archive = tmp_path / "distribution.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {"top/plugin/first/a.jar": b"A", "top/lib/b.jar": b"B", "top/other/c.jar": b"C"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
        for name in ("top/plugin/iceberg/a.jar", "top/plugin/iceberg/hdfs/a.jar"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, "top/plugin/first/a.jar"
            tar.addfile(link)

    unpack(archive, tmp_path / "out", ["lib", "plugin/iceberg"])

    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.jar")}
    assert found == {"lib/b.jar": b"B", "plugin/iceberg/a.jar": b"A", "plugin/iceberg/hdfs/a.jar": b"A"}
