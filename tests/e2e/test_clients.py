"""A client that is generated from docs/openapi.json has all of it, has right types, and an invitation is played on it.

`openapi-python-client` makes a package, and `tests/clients/python/invitation.py` uses nothing else.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from demo.world import World

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / "tests" / "clients" / "python"
DOCUMENT: Final = ROOT / "docs" / "openapi.json"
BUILD_SECONDS: Final = 300  # ten take it where nothing else runs


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_an_invitation_is_played_on_the_python_client(world: World, tmp_path: Path) -> None:
    making = ("generate", "--path", DOCUMENT, "--config", PYTHON / "config.yaml", "--output-path", tmp_path / "made")
    said = run(sys.executable, "-m", "openapi_python_client", *making, cwd=tmp_path)
    assert "WARNING" not in said.upper(), said  # it drops what it does not understand
    strictly = ("--config-file=", "--strict", "--follow-imports=silent", PYTHON / "invitation.py")
    run(sys.executable, "-m", "mypy", *strictly, cwd=tmp_path, MYPYPATH=str(tmp_path / "made"))

    ada, max_ = world.person("Ada", "CREATOR"), world.person("Max")
    await world.credit(max_, 1_000)
    played = (PYTHON / "invitation.py", world.status["gateway"], ada.token, max_.token)
    earned = run(sys.executable, *played, cwd=tmp_path, PYTHONPATH=str(tmp_path / "made"))

    assert earned.strip() == "30"
