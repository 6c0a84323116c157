"""A checkout's settings must not reach what containers mount and images are made of."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.fleet.local import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Each turns LF into CRLF, where nothing says otherwise.
SETTINGS = (("core.autocrlf=true",), ("core.autocrlf=false", "core.eol=crlf"))
WHO = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")


def git(folder: Path, *words: str) -> str:
    """A command of git's, in a folder."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def tracked() -> list[str]:
    """What a checkout has."""
    if not shutil.which("git"):
        pytest.skip("no git on PATH")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    return git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files as they are here, committed or not."""
    folder = tmp_path_factory.mktemp("origin")
    for name in tracked():
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, *WHO, "commit", "--quiet", "--message=all")
    return folder


@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
def test_no_file_gets_a_cr(settings: tuple[str, ...], origin: Path, tmp_path: Path) -> None:
    """Scripts, configurations and lists end their lines with LF, whatever git is told."""
    told = [word for setting in settings for word in ("-c", setting)]
    git(tmp_path, *told, "clone", "--quiet", str(origin), "clone")
    clone = tmp_path / "clone"
    texts = [
        path for path in clone.glob("**/*")
        if path.is_file() and ".git" not in path.relative_to(clone).parts
        and b"\0" not in path.read_bytes()
    ]  # fmt: skip
    assert {clone / "deploy/redis/start.sh", clone / "monitoring/prometheus/start.sh"} <= set(texts)
    assert [str(path.relative_to(clone)) for path in texts if b"\r" in path.read_bytes()] == []
