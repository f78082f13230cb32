"""What the caller may watch, as tokens to show for it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from chassis import ids
from chassis.errors import Refusal
from chassis.http import CallerDep, TxDep, TxRouter, UnixTime
from chassis.storage.tx import Tx
from contracts import Preset
from contracts.values import ObjectIdStr
from sessions.domain import watching
from sessions.domain.payments import BlockedByStreamer
from sessions.domain.session import SessionNotFound
from sessions.domain.watching import Ruling, Watcher, Watching
from sessions.store import load
from sessions.store.answers import Kept, TokenAnswers
from stream_tokens import Admission, Minted, Room, StreamTokenSettings, mint

router = TxRouter(tags=["watching"])

REFUSALS = (SessionNotFound, BlockedByStreamer, watching.ExclusiveToSomebodyElse, watching.SessionEnded)


@dataclass(frozen=True, slots=True)
class RulingView:
    """What one rule says: whether it grants paid streaming, from when to when, or why it does not."""

    rule: watching.RuleName
    grants: bool
    why_not: watching.WhyNot | None
    nbf: UnixTime | None
    exp: UnixTime | None


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """The rule that granted paid streaming, the first that does; null: none did. And what each of them says."""

    granted_by: watching.RuleName | None
    rules: list[RulingView]


@dataclass(frozen=True, slots=True)
class WatchingView:
    """What the caller may watch: `sd` is paid, `preview` is free. Both tokens are valid from `nbf` to `exp`.

    Without a source of that preset there is no room, and `byteplus` is null. Ask again a while before `exp`.
    """

    preset: Preset
    token: str
    byteplus_token: str | None
    byteplus: Room | None
    nbf: int
    exp: int
    explanation: ExplanationView | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    plain: WatchingView
    explained: WatchingView


Explain = Annotated[bool, Query(description="Say also which rule granted it, or for each rule why not")]


@router.get("/sessions/{session_id}/token", refuses=REFUSALS, etag=False)
async def get_token(
    session_id: ObjectIdStr,
    caller: CallerDep,
    tx: TxDep,
    explain: Explain = False,  # noqa: FBT002 - a query parameter has a name
) -> WatchingView:
    """What the caller may watch now, with tokens that live for two minutes at most, and never longer than that."""
    return await _answer(session_id, caller.user_id, tx, explain=explain)


@router.get("/streams/{session_id}/token", refuses=REFUSALS, etag=False)
async def get_stream_token(
    session_id: ObjectIdStr,
    caller: CallerDep,
    tx: TxDep,
    explain: Explain = False,  # noqa: FBT002 - a query parameter has a name
) -> WatchingView:
    """The same, by its older name."""
    return await _answer(session_id, caller.user_id, tx, explain=explain)


async def _answer(session_id: str, user_id: str, tx: Tx, *, explain: bool) -> WatchingView:
    answers = tx.of_process(TokenAnswers)
    revision = await answers.revisions.of(tx, session_id, user_id)
    answer = answers.find(session_id, user_id, revision, tx.now)
    if answer is None:
        watcher = await load.watcher(tx, session_id, user_id)
        until, answer = _made(watcher, tx.now, tx.settings(StreamTokenSettings))
        answers.keep(session_id, user_id, Kept(revision, tx.now, until, answer))
    if not isinstance(answer, _Answer):
        raise answer()
    return answer.explained if explain else answer.plain


def _made(watcher: Watcher, now: datetime, settings: StreamTokenSettings) -> tuple[datetime, _Answer | type[Refusal]]:
    """The answer, and until when it may be given again: for half of the tokens' life, or until the rules say else."""
    half_a_life = timedelta(seconds=settings.token_max_seconds / 2)
    try:
        allowed = watching.may_watch(watcher, now)
    except Refusal as refusal:
        return min(now + half_a_life, watcher.session.exp or now + half_a_life), type(refusal)
    admission = Admission(
        user_id=watcher.user_id,
        session_id=watcher.session.id,
        preset=allowed.preset,
        room_id=allowed.room_id,
        until=allowed.until,
        may_publish=allowed.rule == "streamer",
    )
    minted = mint(admission, settings, now, ids.new_id())
    until = min(
        now + timedelta(seconds=(minted.exp - now.timestamp()) / 2), allowed.changes_after(now) or now + half_a_life
    )
    plain = _view(minted)
    return until, _Answer(plain, replace(plain, explanation=_explanation(allowed)))


def _view(minted: Minted) -> WatchingView:
    return WatchingView(minted.preset, minted.token, minted.byteplus_token, minted.byteplus, minted.nbf, minted.exp)


def _explanation(allowed: Watching) -> ExplanationView:
    return ExplanationView(allowed.rule, [_ruling(one) for one in allowed.rulings])


def _ruling(ruling: Ruling) -> RulingView:
    return RulingView(ruling.rule, ruling.grants, ruling.why_not, ruling.nbf, ruling.exp)
