"""Gathering: commands that only insert share transactions: a rush of buyers costs a commit per moment, not one each.

Nobody waits to be joined: who comes while a transaction is on its way to the disk is in the next one. Each command has
a savepoint of its own, so a refusal is one command's alone. If the transaction fails, each of its commands is tried
again by itself.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chassis.cause import Cause
from chassis.faults import fault_point
from chassis.http import attempts
from chassis.http.answer import Answer
from chassis.metrics import HTTP_GATHERED
from chassis.mongo import PyMongoError
from chassis.runtime import Runtime
from chassis.storage import STORAGE_ERRORS, is_commit_unknown
from chassis.tx import Tx

TOGETHER_MAX = 50  # a rush is some dozens; more would make a conflict dearer


class ApartError(PyMongoError):
    """The transaction of several commands failed; each may still go through alone."""

    def __init__(self) -> None:
        """Trying again helps."""
        super().__init__("failed together with others", ["TransientTransactionError"])


@dataclass(frozen=True, slots=True)
class _Command:
    cause: Cause
    decide: Callable[[Tx], Awaitable[Answer]]
    answer: "asyncio.Future[Answer]"


class Gathering:
    """The one lane in which a process's gathered commands are taken."""

    def __init__(self, runtime: Runtime) -> None:
        """Take none yet."""
        self._runtime = runtime
        self._waiting: deque[_Command] = deque()
        self._running = False

    async def attempt(self, cause: Cause, decide: Callable[[Tx], Awaitable[Answer]]) -> Answer:
        """Try a command once, in a transaction with those that wait too; a caller who goes away disturbs nobody.

        Raises:
            Exception: what `decide` raised.
            ApartError: the transaction failed, and did nothing.
            PyMongoError: as for a transaction of one's own.
        """
        command = _Command(cause, decide, asyncio.get_running_loop().create_future())
        self._waiting.append(command)
        if not self._running:
            self._running = True
            attempts.begin(self._run())
        return await asyncio.shield(command.answer)

    async def _run(self) -> None:
        part: list[_Command] = []
        try:
            while self._waiting:
                part = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX))]
                HTTP_GATHERED.observe(len(part))
                for command, outcome in zip(part, await self._take(part), strict=True):
                    if isinstance(outcome, Answer):
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

    async def _take(self, part: list[_Command]) -> list[Answer | Exception]:
        """One transaction; returns what each command is told."""
        tx = self._runtime.begin(part[0].cause)
        try:
            outcomes = [await self._decide(tx, command) for command in part]
            await tx.commit()
            fault_point("edge.after_commit")
        except STORAGE_ERRORS as error:
            apart = len(part) > 1 and not is_commit_unknown(error)
            return [ApartError() if apart else error for _ in part]
        finally:
            await attempts.give_back(tx)
        return outcomes

    async def _decide(self, tx: Tx, command: _Command) -> Answer | Exception:
        tx.cause = command.cause
        start = tx.savepoint()
        try:
            return await command.decide(tx)
        except STORAGE_ERRORS:
            raise
        except Exception as refusal:  # noqa: BLE001 - whatever it was, it is this command's alone; its route answers it
            tx.rollback(start)
            return refusal
