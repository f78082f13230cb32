"""Anchor of bench (h): bare Starlette that verifies the same access token and answers a constant of the same size."""

import os
from typing import Any

import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

KEY = os.environ["BENCH_JWT_KEY"]
CLAIMS: dict[str, Any] = {"algorithms": ["HS256"], "issuer": "footlights", "audience": "footlights", "leeway": 30}
CONSTANT = b'{"preset":"preview","token":"' + b"x" * 900 + b'"}'


async def token(request: Request) -> Response:
    jwt.decode(request.headers["authorization"][7:], KEY, **CLAIMS)
    return Response(CONSTANT, media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/sessions/{session_id}/token", token)])
    uvicorn.run(
        app, port=int(os.environ["HTTP_PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
