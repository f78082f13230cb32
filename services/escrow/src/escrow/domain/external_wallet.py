"""The external wallet: who has a wallet here has an account there, if there is one at all (SPEC §5). Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from chassis.decision import Call, Effect


class CreateAccount(Effect, name="create-account"):
    """Have the external wallet make a user's account. Asked again it is the same account."""

    user_id: str


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """A user's account there: asked for once, by us, and `created` as soon as it said so. `id` is the user's."""

    id: str
    created: datetime | None = None


def ask(user_id: str) -> tuple[ExternalAccount, Call]:
    """Ask for a user's account, again and again until it is there."""
    return ExternalAccount(user_id), Call(CreateAccount(user_id=user_id), f"create-account:{user_id}", user_id)


def took(account: ExternalAccount, now: datetime) -> ExternalAccount:
    """It is there."""
    return replace(account, created=account.created or now)
