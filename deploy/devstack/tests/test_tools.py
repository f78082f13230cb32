"""What has to be on the machine, and what is fetched."""

import json
import os
from pathlib import Path

import pytest

from devstack import tools
from devstack.errors import StackError


def test_the_lock_of_npm_held_and_names_no_registry() -> None:
    committed = tools.HERE / "node" / "package-lock.json"
    packages = json.loads(committed.read_text())["packages"]

    assert (tools.node_modules().parent / "package-lock.json").read_bytes() == committed.read_bytes()
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if name and "integrity" not in package]


def test_half_a_download_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    folder = tmp_path / "kafka-1"

    def breaks_off(into: Path) -> None:
        (into / "half.jar").touch()
        raise StackError("no network")

    with pytest.raises(StackError, match="no network"):
        tools.cached(folder, breaks_off)
    assert not folder.exists()

    assert tools.cached(folder, lambda into: (into / "whole.jar").touch()) == folder
    assert [file.name for file in folder.iterdir()] == ["whole.jar"]


def test_options_of_java_in_the_environment_are_not_taken_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    said = 'Picked up JAVA_TOOL_OPTIONS: -Xmx2g\nopenjdk version "17.0.1" 2021-10-19'
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.kafka_jars()  # or Maven would be missing

    tools.require_commands(java=True, node=False, nginx=False, say=print)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_install_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(tools, "CACHE", Path("/nowhere"))  # nothing was fetched yet
    os.seteuid(65_534)
    try:
        with pytest.raises(StackError) as told:
            tools.require_commands(java=True, node=True, nginx=False, say=print)
    finally:
        os.seteuid(0)

    assert "sudo apt-get install --yes --no-install-recommends openjdk-17-jre-headless maven nodejs npm" in str(
        told.value
    )
