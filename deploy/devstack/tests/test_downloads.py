"""What is fetched: whole, as locked, or not at all; and what is told when it cannot be."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devstack import downloads
from devstack.errors import StackError

LOCK = downloads.NODE / "package-lock.json"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setattr(downloads, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def lacking(packages: Mapping[str, Any]) -> list[str]:
    """What a lock should have and has not: npm looks in the folder of whoever asks, then in each one around it."""
    missing = []
    for asking, package in packages.items():
        for name in {**package.get("dependencies", {}), **package.get("optionalDependencies", {})}:
            around = asking
            while around and f"{around}/node_modules/{name}" not in packages:
                around = around.rpartition("node_modules/")[0].rstrip("/")
            if not around and f"node_modules/{name}" not in packages:
                missing.append(f"{asking} asks for {name}")
    return missing


def test_the_lock_of_npm_is_complete_for_every_platform_and_names_no_registry() -> None:
    packages = json.loads(LOCK.read_text())["packages"]

    assert not lacking(packages)
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if name and "integrity" not in package]


def test_no_package_is_asked_for_that_debians_npm_cannot_read() -> None:
    """npm 9 reads no lock beside an override of a Git repository, and npm has no Git repository to offer."""
    packages = json.loads(LOCK.read_text())["packages"]

    assert "overrides" not in json.loads((downloads.NODE / "package.json").read_text())
    assert not [name for name, package in packages.items() if "git" in str(package.get("dependencies", {})).split(":")]
    assert packages["node_modules/@soketi/soketi"]["dependencies"]["uWebSockets.js"].startswith("npm:")


def test_the_tree_is_installed_by_the_lock() -> None:
    assert (downloads.node_modules().parent / "package-lock.json").read_bytes() == LOCK.read_bytes()


def test_kafka_runs_on_the_jars_that_are_listed() -> None:
    downloads.require_listed(downloads.kafka_jars(), downloads.JARS.read_text())


@pytest.mark.parametrize("name", ["a.jar", "new.jar", "b.jar"])
def test_a_jar_that_is_not_as_listed_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jar").write_bytes(b"a")
    (tmp_path / "b.jar").write_bytes(b"b")
    listed = "".join(f"{digest}  {file}\n" for file, digest in downloads.digests(tmp_path).items())
    downloads.require_listed(tmp_path, listed)

    if name == "b.jar":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"something else")

    with pytest.raises(StackError, match=f"they are not used: {name}"):
        downloads.require_listed(tmp_path, listed)


def test_half_a_download_is_never_used(cache: Path) -> None:
    folder = cache / "kafka-1"

    def breaks_off(into: Path) -> None:
        (into / "half.jar").touch()
        raise StackError("no network")

    with pytest.raises(StackError, match="no network"):
        downloads.cached(folder, breaks_off)
    assert not folder.exists()

    assert downloads.cached(folder, lambda into: (into / "whole.jar").touch()) == folder
    assert [file.name for file in folder.iterdir()] == ["whole.jar"]


def test_who_is_killed_while_it_downloads_leaves_nothing_that_is_used_or_stays(cache: Path) -> None:
    program = f"""
import pathlib
from devstack import downloads
downloads.CACHE = pathlib.Path({str(cache)!r})
def fetch(into):
    (into / "half.jar").touch()
    downloads.run(["sh", "-c", "echo $$ > pid; mv pid started; exec tail -f /dev/null"], into)
downloads.cached(downloads.CACHE / "kafka-1", fetch)
"""
    killed = subprocess.Popen([sys.executable, "-c", program])
    while not (started := list(cache.glob("kafka-1-*.partial/made/started"))):
        assert killed.poll() is None
    client = Path("/proc") / started[0].read_text().strip()

    killed.send_signal(signal.SIGKILL)
    killed.wait()

    assert not (cache / "kafka-1").exists()
    while client.exists() and "zombie" not in (client / "status").read_text():
        pass  # the kernel ends it with whoever started it
    downloads.cached(cache / "kafka-1", lambda into: (into / "whole.jar").touch())
    assert sorted(file.name for file in cache.iterdir()) == ["kafka-1", "lock"]
    assert [file.name for file in (cache / "kafka-1").iterdir()] == ["whole.jar"]


def test_nothing_is_begun_that_the_disk_cannot_hold(cache: Path) -> None:
    cache.mkdir()
    more = (shutil.disk_usage(cache).total >> 20) + 1

    with pytest.raises(StackError, match=rf"takes {more} MB of disk, {cache} has \d+ MB left. Make room") as told:
        downloads.cached(cache / "kafka-1", lambda _: pytest.fail("it was begun"), more)

    assert "XDG_CACHE_HOME" in str(told.value)


def test_npm_that_could_not_write_a_file_has_failed_whatever_it_says(tmp_path: Path) -> None:
    """Seen with npm 9, 10 and 11: on a full disk the tree has 278 folders and no content, and the exit status is 0."""
    said = "npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write\nadded 313 packages in 38s"
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho '{said}'\n")
    npm.chmod(0o755)

    with pytest.raises(StackError, match=r"failed, the disk is full: .* MB left. Make room"):
        downloads.run([str(npm)], tmp_path)


@pytest.mark.parametrize(
    ("client", "said", "told"),
    [
        (
            "npm",
            "npm error code EAI_AGAIN\nnpm error syscall getaddrinfo\nnpm error errno EAI_AGAIN",
            "npm cannot download (code EAI_AGAIN). See that the network is there",
        ),
        ("npm", "npm ERR! code ENOTFOUND\nnpm ERR! network", "npm cannot download (code ENOTFOUND)"),
        ("npm", "npm error   code: 'ECONNREFUSED',\nnpm error   port: 9,", "`npm config list` shows its registry"),
        (
            "npm",
            "npm error code EINTEGRITY\nnpm error sha512-A",
            "given something else than was locked, and refused it",
        ),
        (
            "mvn",
            "\x1b[0m\x1b[0m[ERROR] Plugin a:b:3.9.0 could not be resolved: Could not transfer artifact a\n[ERROR]",
            "mvn cannot download (Plugin a:b:3.9.0 could not be resolved: Could not transfer artifact a). See",
        ),
        (
            "mvn",
            "[ERROR] Could not transfer artifact a:b:jar:1: host.example: Unknown host",
            "~/.m2/settings.xml names",
        ),
        ("mvn", "[ERROR] /tmp/a.jar: No space left on device -> [Help 1]", "mvn failed, the disk is full"),
        ("mvn", "[ERROR] Checksum validation failed, expected 1 but is 2", "refused it: Checksum validation failed"),
        ("apt-get", "W: Failed to fetch a  Temporary failure resolving 'b'\nE: Unable", "its sources are in /etc/apt"),
    ],
)
def test_what_stood_in_the_way_is_told_in_a_line(tmp_path: Path, client: str, said: str, told: str) -> None:
    line = downloads.why_failed(client, said, tmp_path)

    assert told in line
    assert "\n" not in line


def test_a_failure_that_is_not_known_is_told_as_the_client_tells_it(tmp_path: Path) -> None:
    assert downloads.why_failed("npm", "npm error what is this\n", tmp_path) == "`npm` failed:\nnpm error what is this"
