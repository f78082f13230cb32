"""The one place that makes ids."""

from bson import ObjectId

from chassis.decision import derived_id

__all__ = ["derived_id", "new_id"]


def new_id() -> str:
    """A fresh id: 24 lower-case hex digits (SPEC §1)."""
    return str(ObjectId())
