"""The base of every event, and the register of all of them."""

from typing import ClassVar, Literal, Unpack

from pydantic import ConfigDict

from contracts.values import Data, ObjectIdStr

Topic = Literal["goals", "sessions", "escrow", "notifier", "rtc-control", "shop"]

REGISTRY: dict[str, type["Event"]] = {}
"""Every event by its type; complete once `contracts` was imported."""


class Event(Data):
    """Something that happened, as its owner tells it. The class line is the contract.

    `class GoalEndedV1(Event, type="goal.ended.v1", topic="goals", key="session_id", subject="goal_id")`

    `type` is the wire name with its version, `topic` the owner's, `key` the field whose events stay in order, `subject`
    the field with the id of what it is about; a `draft` may still change. A class without `type` is a base for others.
    Two classes with one type, or a key or subject that is no field, are a TypeError at import.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[Topic]
    KEY: ClassVar[str]
    SUBJECT: ClassVar[str]
    DRAFT: ClassVar[bool]

    def __init_subclass__(  # the type checker reads class keywords here
        cls,
        *,
        type: str = "",  # noqa: A002 - the word of CloudEvents, and of the class lines
        topic: Topic | None = None,
        key: str = "",
        subject: str = "",
        draft: bool = False,
        **config: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(**config)
        if type and topic:
            cls.TYPE, cls.TOPIC, cls.KEY, cls.SUBJECT, cls.DRAFT = type, topic, key, subject, draft

    @classmethod
    def __pydantic_init_subclass__(cls, **_keywords: object) -> None:
        if "TYPE" not in vars(cls):
            return
        if cls.TYPE in REGISTRY:
            message = f"{cls.TYPE} is claimed by {REGISTRY[cls.TYPE].__qualname__} and by {cls.__qualname__}"
            raise TypeError(message)
        if missing := {cls.KEY, cls.SUBJECT} - cls.model_fields.keys():
            message = f"{cls.__qualname__} has no field {', '.join(sorted(missing))}"
            raise TypeError(message)
        REGISTRY[cls.TYPE] = cls

    @property
    def key(self) -> str:
        """The partition key: events of one topic with the same key stay in order."""
        value: str = getattr(self, self.KEY)
        return value

    @property
    def subject(self) -> str:
        """The id of what this event is about."""
        value: str = getattr(self, self.SUBJECT)
        return value


class SessionEvent(Event):
    """What every event that belongs to a session carries (SPEC §9)."""

    session_id: ObjectIdStr
    streamer_id: ObjectIdStr
