"""What must be on the machine: found, installed by apt where we may, or named in a message. Never a stack trace."""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.downloads import Progress, kafka_folder, node_folder, why_failed
from devstack.errors import NotInstalled, StackError

JAVA_LEAST = 17
NODE_MAJORS = (18, 20)  # soketi's WebSocket library is a binary, and exists for these
POLICY = Path("/usr/sbin/policy-rc.d")

_VERSION = re.compile(r'(?:version "|^v)(\d+(?:\.\d+)*)', re.MULTILINE)
"""As java and node say it. Java may first say which options it found in the environment."""


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


def require_commands(*, java: bool, node: bool, nginx: bool, say: Progress) -> None:
    """See to it that the commands of the chosen parts are there, installing what is missing as root on Debian."""
    missing = []
    if java and (_major("java", "-version") or 0) < JAVA_LEAST:
        missing.append("default-jre-headless")
    if java and not kafka_folder().exists() and not shutil.which("mvn"):
        missing.append("maven")
    if node and _major("node", "--version") is None:
        missing.append("nodejs")
    if node and not node_folder().exists() and not shutil.which("npm"):
        missing.append("npm")
    if nginx and not _nginx():
        missing.append("nginx-light")
    if missing:
        _install(missing, say)
    if node and _major("node", "--version") not in NODE_MAJORS:
        raise StackError(
            f"soketi needs node {' or '.join(map(str, NODE_MAJORS))}, `node --version` says "
            f"{_version('node', '--version')}: install one of these, and put it first in PATH"
        )
    if java and (_major("java", "-version") or 0) < JAVA_LEAST:
        raise StackError(
            f"Kafka needs java {JAVA_LEAST} or later, `java -version` says {_version('java', '-version')}: "
            "install one, and put it first in PATH"
        )


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


def chromium(say: Progress) -> str:
    """The path of Chromium, which tests alone use; installed where we may. Raises StackError where it is missing."""
    if not shutil.which("chromium"):
        _install(["chromium"], say)
    return shutil.which("chromium") or "chromium"


def promtool(say: Progress) -> str:
    """The path of Prometheus' checker of rules, which tests alone use; installed where we may, or StackError."""
    if not shutil.which("promtool"):
        _install(["prometheus"], say)
    return shutil.which("promtool") or "promtool"


def _install(packages: list[str], say: Progress) -> None:
    command = f"apt-get install --yes --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalled(f"missing on this machine: {', '.join(packages)}. On Debian or Ubuntu: sudo {command}")
    say(f"installing {', '.join(packages)} with apt")
    said = ""
    with _no_service_starts():
        for line in ("apt-get update", command):  # the first may fail for a source that has nothing of this
            done = subprocess.run(
                line.split(),
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            said += done.stdout
    if done.returncode:
        raise StackError(f"{why_failed('apt-get', said, Path('/var'))}. The command was: {command}")
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
