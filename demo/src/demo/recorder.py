"""What the demo asks and is answered over HTTP, for the examples in the API's document (`docs/api_examples.py`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

JSON = "application/json"


@dataclass
class Recorder:
    """Keeps what succeeded, as JSON: a list of `{method, path, request, status, answer}`."""

    exchanges: list[Mapping[str, Any]] = field(default_factory=list)

    async def hear(self, response: httpx.Response) -> None:
        """Keep it; a hook of httpx's."""
        if not response.is_success:
            return
        body = await response.aread()
        asked = response.request.content if response.request.headers.get("content-type") == JSON else b""
        told = body if response.headers.get("content-type", "").startswith(JSON) else b""
        self.exchanges.append(
            {
                "method": response.request.method,
                "path": response.request.url.path,
                "request": json.loads(asked or b"null"),
                "status": response.status_code,
                "answer": json.loads(told or b"null"),
            }
        )

    def write(self, file: Path) -> None:
        """All of it, in the order of the answers."""
        file.write_text(json.dumps(self.exchanges))
