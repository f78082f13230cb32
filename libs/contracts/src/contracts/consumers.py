"""Who reads what: `consumers/<name>.json` for each consumer, our services' derived, an outside team's its own.

    {"consumer": "billing", "contact": "billing@example.org", "reads": {"payment.succeeded.v1": ["payer_id"]}}

A field is dotted, `[]` stands for each of a list: `metadata.agreed`, `levels[].target`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Consumer(BaseModel):
    """One consumer, and the fields of each event that it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$"), Field(alias="consumer")]
    contact: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    reads: Mapping[str, tuple[str, ...]]


def read_consumer(path: Path) -> Consumer:
    """Read one file.

    Raises:
        ValueError: it does not say who reads what, in a few lines that can be shown.
    """
    return Consumer.model_validate(json.loads(path.read_text(encoding="utf-8")))


def read_consumers(folder: Path) -> list[Consumer]:
    """Read all of a folder, by name."""
    return [read_consumer(path) for path in sorted(folder.glob("*.json"))]
