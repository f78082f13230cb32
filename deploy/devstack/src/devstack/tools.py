"""What must be on the machine: found, installed by apt where we may, or named in a message. Never a stack trace."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.errors import StackError

HERE = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "footlights"
JAVA_LEAST = 17
NODE_MAJORS = (18, 20)  # soketi's WebSocket library is a binary, and exists for these
DOWNLOAD_SECONDS = 900  # Kafka's jars are 130 MB, soketi's tree 300 MB, and networks can be slow
POLICY = Path("/usr/sbin/policy-rc.d")

_VERSION = re.compile(r'(?:version "|^v)(\d+(?:\.\d+)*)', re.MULTILINE)
"""As java and node say it. Java may first say which options it found in the environment."""

Say = Callable[[str], None]


def require_platform() -> None:
    """Raise StackError where the embedded stack cannot run."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise StackError(
            f"the embedded stack runs on x86-64 Linux, this is {platform.machine()} {platform.system()}: "
            "use `docker compose up`"
        )


def mongod() -> Path:
    """The server out of the wheel that `make setup` installs. It is unpacked there, and never imported."""
    path = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
    if not path.exists():
        raise StackError(f"mongod is missing ({path}): run `make setup`")
    if not os.access(path, os.X_OK):
        path.chmod(0o755)  # pip does not always keep the mode of a package's data
    return path


def require_commands(*, java: bool, node: bool, nginx: bool, say: Say) -> None:
    """See to it that the commands of the chosen parts are there, installing what is missing as root on Debian."""
    missing = []
    if java and (_major("java", "-version") or 0) < JAVA_LEAST:
        missing.append(f"openjdk-{JAVA_LEAST}-jre-headless")
    if java and not _kafka_folder().exists() and not shutil.which("mvn"):
        missing.append("maven")
    if node and _major("node", "--version") is None:
        missing.append("nodejs")
    if node and not _node_folder().exists() and not shutil.which("npm"):
        missing.append("npm")
    if nginx and not _nginx():
        missing.append("nginx-light")
    if missing:
        _install(missing, say)
    if node and _major("node", "--version") not in NODE_MAJORS:
        raise StackError(
            f"soketi needs node {' or '.join(map(str, NODE_MAJORS))}, "
            f"`node --version` says {_version('node', '--version')}"
        )
    if java and (_major("java", "-version") or 0) < JAVA_LEAST:
        raise StackError(f"Kafka needs java {JAVA_LEAST} or later, `java -version` says {_version('java', '-version')}")


def _version(command: str, flag: str) -> str | None:
    if not shutil.which(command):
        return None
    answer = subprocess.run([command, flag], capture_output=True, text=True, check=False)
    match = _VERSION.search(answer.stdout + answer.stderr)
    return match[1] if match else None


def _major(command: str, flag: str) -> int | None:
    version = _version(command, flag)
    return int(version.partition(".")[0]) if version else None


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def nginx() -> str:
    """The path of nginx; Debian puts it where ordinary users' PATH does not look."""
    return _nginx() or "nginx"


def _install(packages: list[str], say: Say) -> None:
    command = f"apt-get install --yes --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise StackError(f"missing on this machine: {', '.join(packages)}. On Debian or Ubuntu: sudo {command}")
    say(f"installing {', '.join(packages)} with apt")
    with _no_service_starts():
        for line in ("apt-get update", command):
            done = subprocess.run(
                line.split(),
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise StackError(f"`{line}` failed: {done.stderr.strip()[-500:]}")
    if "nginx-light" in packages and shutil.which("deb-systemd-helper"):
        subprocess.run(["deb-systemd-helper", "disable", "nginx.service"], capture_output=True, check=False)
        subprocess.run(["update-rc.d", "nginx", "disable"], capture_output=True, check=False)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts what it installs, unless this file says no (exit status 101)."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def _silent(_: str) -> None:
    """For those who only want to know where it is."""


def kafka_jars(say: Say = _silent) -> Path:
    """The folder with Kafka and all it needs, fetched by Maven the first time."""

    def fetch(into: Path) -> None:
        say("fetching Kafka with Maven (once)")
        pom = HERE / "kafka" / "pom.xml"
        _run(
            [
                "mvn",
                "--quiet",
                "--batch-mode",
                "--file",
                str(pom),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={into}",
            ],
            into,
        )

    return cached(_kafka_folder(), fetch)


def node_modules(say: Say = _silent) -> Path:
    """The `node_modules` with soketi and pusher-js, installed by npm the first time.

    `npm ci` refuses every lock made on another platform, so it is `npm install`, and we see to it that the lock held.
    """

    def fetch(into: Path) -> None:
        say("fetching soketi with npm (once)")
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / "node" / name, into)
        _run(["npm", "install", "--prefer-offline", "--loglevel=error"], into)
        if (into / "package-lock.json").read_bytes() != (HERE / "node" / "package-lock.json").read_bytes():
            raise StackError(
                f"npm did not keep to {HERE / 'node' / 'package-lock.json'}: make the lock anew, see the README there"
            )

    return cached(_node_folder(), fetch) / "node_modules"


def _kafka_folder() -> Path:
    return CACHE / f"kafka-{_digest(HERE / 'kafka' / 'pom.xml')}"


def _node_folder() -> Path:
    return CACHE / f"node-{_digest(HERE / 'node' / 'package.json', HERE / 'node' / 'package-lock.json')}"


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _run(command: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"`{command[0]}` was not ready after {DOWNLOAD_SECONDS} s: is the network there?") from None
    if done.returncode:
        raise StackError(f"`{' '.join(command[:2])}` failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")


def cached(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """The folder, filled by `fetch` if need be. It gets its name when complete: half a download is never used."""
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second stack that starts now waits for the first one's download
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{folder.name}-") as partial:
                made = Path(partial) / "made"
                made.mkdir()
                fetch(made)
                made.rename(folder)
    return folder
