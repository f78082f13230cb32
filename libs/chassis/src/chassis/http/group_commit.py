"""Group commit: commands that only insert share transactions: a rush of buyers costs a commit per moment, not one each.

Nobody waits to be joined: who comes while a transaction is on its way to the disk is in the next one. Each command has
a savepoint of its own, so a refusal is one command's alone. If the transaction fails, each of its commands is tried
again by itself.

What they read is loaded for all of them at once: a command that asks for a document which is not known yet is left
where it is, and called again when that is there. Fifty buyers of one show cost three finds, not a hundred and fifty.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from chassis.cause import Cause
from chassis.context import Runtime
from chassis.http import retries
from chassis.http.response import HttpResponse
from chassis.runtime.faults import fault_point
from chassis.runtime.metrics import HTTP_GROUP_COMMIT
from chassis.storage.collection import Ref
from chassis.storage.documents import NotLoadedError
from chassis.storage.errors import STORAGE_ERRORS, is_commit_unknown
from chassis.storage.mongo import PyMongoError
from chassis.storage.tx import Tx

GROUP_MAX = 50  # a rush is some dozens; more would make a conflict dearer


class RetryAloneError(PyMongoError):
    """The transaction of several commands failed; each may still go through alone."""

    def __init__(self) -> None:
        """Trying again helps."""
        super().__init__("failed together with others", ["TransientTransactionError"])


@dataclass(frozen=True, slots=True, eq=False)
class _Command:
    cause: Cause
    decide: Callable[[Tx], Awaitable[HttpResponse]]
    answer: "asyncio.Future[HttpResponse]"


class GroupCommit:
    """The one writer of a process's commands that share transactions."""

    def __init__(self, runtime: Runtime) -> None:
        """Take none yet."""
        self._runtime = runtime
        self._waiting: deque[_Command] = deque()
        self._running = False

    async def attempt(self, cause: Cause, decide: Callable[[Tx], Awaitable[HttpResponse]]) -> HttpResponse:
        """Try a command once, in a transaction with those that wait too; a caller who goes away disturbs nobody. What
        nobody waits for any more is not begun.

        Raises:
            Exception: what `decide` raised.
            RetryAloneError: the transaction failed, and did nothing.
            PyMongoError: as for a transaction of one's own.
        """
        command = _Command(cause, decide, asyncio.get_running_loop().create_future())
        self._waiting.append(command)
        if not self._running:
            self._running = True
            retries.begin(self._run())
        try:
            return await asyncio.shield(command.answer)
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is on its way already
                self._waiting.remove(command)
            raise

    async def _run(self) -> None:
        part: list[_Command] = []
        try:
            while self._waiting:
                part = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
                HTTP_GROUP_COMMIT.observe(len(part))
                for command, outcome in zip(part, await self._take(part), strict=True):
                    if isinstance(outcome, HttpResponse):
                        command.answer.set_result(outcome)
                    else:
                        command.answer.set_exception(outcome)
                        command.answer.exception()  # the caller may be gone
        except BaseException:
            for command in (*part, *self._waiting):
                command.answer.cancel()
            self._waiting.clear()
            raise
        finally:
            self._running = False

    async def _take(self, part: list[_Command]) -> list[HttpResponse | Exception]:
        """One transaction; returns what each command is told."""
        tx = self._runtime.begin(part[0].cause)
        try:
            outcomes = await self._decide_all(tx, part)
            await tx.commit()
            fault_point("edge.after_commit")
        except STORAGE_ERRORS as error:
            apart = len(part) > 1 and not is_commit_unknown(error)
            return [RetryAloneError() if apart else error for _ in part]
        finally:
            await tx.abort_quietly()
        return outcomes

    async def _decide_all(self, tx: Tx, part: list[_Command]) -> list[HttpResponse | Exception]:
        if len(part) == 1:
            return [await self._decide(tx, part[0])]
        outcomes: dict[_Command, HttpResponse | Exception] = {}
        while len(outcomes) < len(part):  # each time round, each that is left has one document more
            wanted: list[Ref] = []
            for command in (command for command in part if command not in outcomes):
                try:
                    with tx.loading_later():
                        outcomes[command] = await self._decide(tx, command)
                except NotLoadedError as missing:
                    wanted += missing.refs
            await tx.prefetch(wanted)
        return [outcomes[command] for command in part]

    async def _decide(self, tx: Tx, command: _Command) -> HttpResponse | Exception:
        tx.cause = command.cause
        start = tx.savepoint()
        try:
            return await command.decide(tx)
        except NotLoadedError:
            tx.rollback(start)
            raise
        except STORAGE_ERRORS:
            raise
        except Exception as refusal:  # noqa: BLE001 - whatever it was, it is this command's alone; its route answers it
            tx.rollback(start)
            return refusal
