"""An invitation that is agreed to and kept, on nothing but the client that openapi-python-client makes of openapi.json.

PYTHONPATH=FOLDER python invitation.py GATEWAY STREAMER_TOKEN VIEWER_TOKEN: prints what the streamer has earned by it.
"""

import sys
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from footlights_client import AuthenticatedClient
from footlights_client.api.goals import create_goal, delete_goal, get_goal
from footlights_client.api.money import get_escrow_proof, get_my_wallet
from footlights_client.api.realtime import get_config
from footlights_client.api.sessions import go_off_air, start_session
from footlights_client.models import (
    ConfigView,
    CreatedGoal,
    CreateGoalType,
    Deletion,
    EscrowProof,
    ExclusiveContext,
    InvitationContext,
    InvitationContextView,
    NewExclusive,
    NewInvitation,
    OwnGoalView,
    OwnGoalViewState,
    PricesBody,
    ProposedGoal,
    SessionId,
    StageTakenProblem,
    StartSession,
    Wallet,
)

WAIT_SECONDS = 90.0  # what takes milliseconds may take this long on a busy machine

T = TypeVar("T")


def main(gateway: str, streamer_token: str, viewer_token: str) -> int:
    """Play it; returns what the streamer has earned."""
    streamer, viewer = (AuthenticatedClient(base_url=gateway, token=token) for token in (streamer_token, viewer_token))
    step_seconds = expect(ConfigView, get_config.sync(client=viewer)).step_seconds

    # On air, and invited
    prices = PricesBody(exclusive=30)
    session_id = expect(SessionId, start_session.sync(client=streamer, body=StartSession(prices))).session_id
    wish = NewInvitation(InvitationContext(session_id, duration=step_seconds))
    proposed = expect(ProposedGoal, create_goal.sync(client=viewer, body=wish, type_=CreateGoalType.TRIGGER_EXCLUSIVE))

    def invitation() -> OwnGoalView:
        return expect(OwnGoalView, get_goal.sync(proposed.goal_id, client=streamer))

    opened = until(invitation, lambda goal: goal.state is OwnGoalViewState.ACTIVE)
    duration = expect(InvitationContextView, opened.context).duration

    # Agreed, and begun
    agreed = delete_goal.sync_detailed(
        proposed.goal_id, client=streamer, body=Deletion(agree=True), idempotency_key=key()
    )
    begin = NewExclusive(ExclusiveContext(session_id, trigger_exclusive_goal_id=proposed.goal_id))
    expect(CreatedGoal, create_goal.sync(client=streamer, body=begin, type_=CreateGoalType.EXCLUSIVE))
    refused = create_goal.sync(client=viewer, body=wish, type_=CreateGoalType.TRIGGER_EXCLUSIVE)
    if (agreed.status_code, duration, type(refused)) != (204, step_seconds, StageTakenProblem):
        raise SystemExit(f"agreed: {agreed.status_code}, for {duration} s; another invitation: {refused}")

    # Kept, and paid
    def escrow() -> EscrowProof:
        escrow_id = f"trigger_exclusive:{proposed.goal_id}"
        return expect(EscrowProof, get_escrow_proof.sync(escrow_id, client=streamer))

    until(escrow, lambda proof: proof.holds and proof.released_diamonds == proposed.amount_diamonds)
    go_off_air.sync_detailed(session_id, client=streamer)
    earned: int = expect(Wallet, get_my_wallet.sync(client=streamer)).earnings_diamonds
    return earned


def key() -> str:
    """For one command: whoever gets no answer sends the same again."""
    return str(uuid.uuid4())


def expect(wanted: type[T], answer: object) -> T:
    """An answer that is no refusal."""
    if not isinstance(answer, wanted):
        raise SystemExit(f"wanted {wanted.__name__}, got {answer}")
    return answer


def until(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Look again and again until it is good."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not good(seen := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {WAIT_SECONDS:.0f} s; saw {seen}")
        time.sleep(0.2)
    return seen


if __name__ == "__main__":
    sys.stdout.write(f"{main(*sys.argv[1:])}\n")
