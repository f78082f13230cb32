"""What is fetched once: Kafka's jars and soketi's tree, as their locks name them or not at all."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from devstack.errors import StackError
from devstack.process import die_with

HERE = Path(__file__).resolve().parents[2]
POM = HERE / "kafka" / "pom.xml"
JARS = HERE / "kafka" / "jars.sha256"
NODE = HERE / "node"
CHECKED = HERE.parents[1] / "tests" / "clients" / "typescript"
NODE_FILES = ("package.json", "package-lock.json", ".npmrc")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footlights"
DOWNLOAD_SECONDS = 900  # Kafka's jars and what Maven needs are 70 MB, soketi's tree 110 MB, and networks can be slow
KAFKA_MEGABYTES = 200  # of free disk: 44 stay, Maven takes 70 meanwhile
SOKETI_MEGABYTES = 500  # 300 stay, and npm keeps 110 in its own cache, which is usually on the same disk
CHECKED_MEGABYTES = 200  # 50 stay

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """For those who only want to know where it is."""


def kafka_jars(say: Progress = _silent) -> Path:
    """The folder with Kafka and all it needs, fetched by Maven the first time."""

    def fetch(into: Path) -> None:
        say("fetching Kafka with Maven (once)")
        copy_jars(into)
        require_listed(into, JARS.read_text())

    return cached(kafka_folder(), fetch, KAFKA_MEGABYTES)


def copy_jars(into: Path) -> None:
    """Every jar that `pom.xml` asks for, whatever asks for it in turn, straight from Maven's repository.

    A local repository of its own: what another project left damaged in the common one does no harm, and nothing stays.
    """
    with tempfile.TemporaryDirectory(dir=into.parent) as repository:
        options = ("--quiet", "--batch-mode", "--strict-checksums", f"-Dmaven.repo.local={repository}")
        goal = ("org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies", f"-DoutputDirectory={into}")
        run(["mvn", *options, "--file", str(POM), *goal], into)


def require_listed(folder: Path, listed: str) -> None:
    """Raise StackError unless the folder has the files that `listed` names, as it names them, and no others."""
    expected = {name: digest for digest, name in (line.split("  ", 1) for line in listed.splitlines())}
    found = digests(folder)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise StackError(
            f"Maven brought other jars than {JARS} names, so they are not used: {', '.join(wrong)}. "
            "Whoever changed pom.xml makes the list anew (SECURITY.md says how); else do not trust where they came from"
        )


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in the folder, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def node_modules(say: Progress = _silent) -> Path:
    """The `node_modules` with soketi and pusher-js, installed by npm as its lock says, the first time."""

    def fetch(into: Path) -> None:
        say("fetching soketi with npm (once)")
        _install(NODE, into)

    return cached(node_folder(), fetch, SOKETI_MEGABYTES) / "node_modules"


def checked_modules() -> Path:
    """The `node_modules` that clients and pages are compiled and checked with, which tests alone use."""
    folder = CACHE / f"clients-{_digest(*(CHECKED / name for name in NODE_FILES))}"
    return cached(folder, lambda into: _install(CHECKED, into), CHECKED_MEGABYTES) / "node_modules"


def _install(source: Path, into: Path) -> None:
    for name in NODE_FILES:
        shutil.copy(source / name, into)
    run(["npm", "ci", "--no-progress", "--loglevel=warn"], into)


def kafka_folder() -> Path:
    """Where Kafka's jars are, once they are there."""
    return CACHE / f"kafka-{_digest(POM, JARS)}"


def node_folder() -> Path:
    """Where soketi's tree is, once it is there."""
    return CACHE / f"node-{_digest(*(NODE / name for name in NODE_FILES))}"


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def run(command: list[str], cwd: Path) -> None:
    """Run a package client. Raises StackError with what stood in its way, in one line if that is known."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
            preexec_fn=die_with(os.getpid()),
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"`{command[0]}` was not ready after {DOWNLOAD_SECONDS} s: is the network there?") from None
    # npm says so of a file that it could not write, and ends with success.
    if done.returncode or "TAR_ENTRY_ERROR" in done.stdout:
        raise StackError(why_failed(command[0], done.stdout, cwd))


# What package clients say, and what it means to whoever reads it. The first that is found is the reason.
_NO_SPACE = re.compile(r"ENOSPC|No space left on device|enough free space", re.IGNORECASE)
_NOT_AS_LOCKED = re.compile(r"EINTEGRITY|checksum validation failed|Hash Sum mismatch", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"
    r"|Could not transfer artifact|Unknown ?host|Connection (?:refused|reset|timed out)"
    r"|Network is unreachable|Temporary failure resolving|Could not (?:connect|resolve)"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Maven sets them back even in batch mode
SETTINGS = {
    "npm": "`npm config list` shows its registry and proxy",
    "mvn": "~/.m2/settings.xml names its mirrors and proxies",
    "apt-get": "its sources are in /etc/apt",
}


def why_failed(client: str, said: str, folder: Path) -> str:
    """What stood in a package client's way and what to do: a line; if it is not known, the end of its story."""
    if _NO_SPACE.search(said):
        return f"{client} failed, the disk is full: {space_left(folder)}"
    if _NOT_AS_LOCKED.search(said):
        return f"{client} was given something else than was locked, and refused it: {_line(_NOT_AS_LOCKED, said)}"
    if _NO_NETWORK.search(said):
        return (
            f"{client} cannot download ({_line(_NO_NETWORK, said)}). See that the network is there "
            f"({SETTINGS[client]}), then do the same again"
        )
    return f"`{client}` failed:\n{said.strip()[-2000:]}"


def _line(pattern: re.Pattern[str], said: str) -> str:
    line = next(line for line in said.splitlines() if pattern.search(line))
    return re.sub(r"^(?:npm (?:error|ERR!)|\[ERROR\]|[EW]:)\s*", "", _COLOURS.sub("", line).strip())[:300]


def space_left(folder: Path) -> str:
    """How much there is, and what to do."""
    return f"{folder} has {shutil.disk_usage(folder).free >> 20} MB left. Make room, then do the same again"


def cached(folder: Path, fetch: Callable[[Path], None], megabytes: int = 0) -> Path:
    """The folder, filled by `fetch` if need be. It gets its name when complete: half a download is never used.

    Raises StackError if fewer `megabytes` are free than it takes.
    """
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second stack that starts now waits for the first one's download
        if not folder.exists():
            for left in CACHE.glob("*.partial"):  # by one that was killed: we have the lock, so nobody fills it now
                shutil.rmtree(left)
            if shutil.disk_usage(CACHE).free < megabytes << 20:
                elsewhere = "(or name another place with XDG_CACHE_HOME)"
                raise StackError(f"the download takes {megabytes} MB of disk, {space_left(CACHE)} {elsewhere}")
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{folder.name}-", suffix=".partial") as partial:
                made = Path(partial) / "made"
                made.mkdir()
                fetch(made)
                made.rename(folder)
    return folder
