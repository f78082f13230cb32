"""Commands that run to their end, while the event loop goes on."""

import asyncio
import os
from collections.abc import Mapping

from devstack.errors import StackError
from devstack.process import die_with
from devstack.settings import base_environment


async def run(argv: tuple[str, ...], env: Mapping[str, str] | None = None, seconds: float = 180) -> None:
    """Run a command to its end, with `env` over the base environment.

    Raises StackError with the end of what it said when it fails or takes longer.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**base_environment(), **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with(os.getpid()),
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise StackError(f"`{' '.join(argv)}` was not done after {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise StackError(f"`{' '.join(argv)}` failed:\n{output.decode(errors='replace').strip()[-1500:]}")
