"""What has to be on the machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import downloads, tools
from devstack.errors import NotInstalled, StackError


def test_options_of_java_in_the_environment_are_not_taken_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    said = 'Picked up JAVA_TOOL_OPTIONS: -Xmx2g\nopenjdk version "17.0.1" 2021-10-19'
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    downloads.kafka_jars()  # or Maven would be missing

    tools.require_commands(java=True, node=False, nginx=False, say=print)


@pytest.fixture
def nothing_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CACHE", Path("/nowhere"))


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        (downloads.HERE / "kafka" / "pom.xml").read_bytes()
        yield
    except PermissionError:
        pytest.skip("nobody but root may read this checkout")
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nothing_fetched", "ordinary_user")
def test_who_may_not_install_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(StackError) as told:
        tools.require_commands(java=True, node=True, nginx=False, say=print)

    command = "sudo apt-get install --yes --no-install-recommends default-jre-headless maven nodejs npm"
    assert command in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("ordinary_user")
def test_who_may_not_install_a_browser_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NotInstalled, match="sudo apt-get install --yes --no-install-recommends chromium"):
        tools.chromium(print)


@pytest.mark.parametrize(
    ("command", "says", "told"),
    [
        ("node", "v22.11.0", "soketi needs node 18 or 20, `node --version` says 22.11.0: install one of these"),
        ("node", "v16.20.2", "soketi needs node 18 or 20, `node --version` says 16.20.2: install one of these"),
    ],
)
def test_a_version_that_does_not_do_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, says: str, told: str
) -> None:
    program = tmp_path / command
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(StackError, match=re.escape(told)):
        tools.require_commands(java=False, node=True, nginx=False, say=print)
