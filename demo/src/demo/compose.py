"""The stack in containers, for `make demo STACK=compose`: what `docker-compose.yml` starts, with the demo's times."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.settings import SETTINGS
from devstack import downloads
from devstack.parts import PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (("docker", "compose"), ("docker-compose",))
"""The plugin, and what was there before it."""
PORTS = {"GATEWAY_PORT": "18000", "MONGO_PORT": "18001", "KAFKA_PORT": "18002", "SOKETI_PORT": "18004"}
"""By the variable that names another one."""


def start() -> Mapping[str, Any] | None:
    """Build and start it, and wait until all of it is healthy; what `devstack status --json` would say of it.

    None when it cannot be, and why has been said.
    """
    command = next((one for one in COMMANDS if _answers(*one, "version")), None)
    if command is None or not _answers("docker", "info"):
        print("  STACK=compose needs a Docker engine and `docker compose`: without, `make demo` runs it as processes")
        return None
    environ = {**os.environ, **SETTINGS}
    if subprocess.run((*command, "up", "--build", "--detach"), cwd=ROOT, env=environ, check=False).returncode:
        return None
    port = {name: int(os.environ.get(name, usual)) for name, usual in PORTS.items()}
    return {
        "gateway": f"http://127.0.0.1:{port['GATEWAY_PORT']}",
        # The replica set knows itself by names that only its containers can resolve.
        "mongo_url": f"mongodb://127.0.0.1:{port['MONGO_PORT']}/?directConnection=true",
        "kafka_bootstrap": f"127.0.0.1:{port['KAFKA_PORT']}",
        "pusher": {
            "host": "127.0.0.1",
            "port": port["SOKETI_PORT"],
            "app_id": PUSHER_APP_ID,
            "key": PUSHER_KEY,
            "secret": PUSHER_SECRET,
        },
        "node_modules": str(downloads.node_modules()),
        "processes": [{"name": "byteplus"}],  # the others are asked through the gateway
    }


def _answers(*command: str) -> bool:
    try:
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False
