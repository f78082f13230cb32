"""The headers of every message as a JSON Schema: the CloudEvents attributes in Kafka's binary mode (SPEC §9).

`contracts.envelope` writes and reads them; a test holds the two together.
"""

from typing import Any, Final

from contracts.compatibility import Schema
from contracts.envelope import ATTRIBUTE_BYTES_MAX, CONTENT_TYPE

ENVELOPE: Final = "envelope.v1"
"""The name of this schema among those of the events."""

_REQUIRED: Final[dict[str, dict[str, Any]]] = {
    "ce_specversion": {"const": "1.0", "description": "The version of CloudEvents."},
    "ce_id": {"description": "The event's id: the same whenever it is delivered again. Who has seen it skips it."},
    "ce_type": {
        "pattern": r"^[a-z_.]+\.v[1-9][0-9]{0,4}$",
        "description": "What happened, and the version of its data: `goal.ended.v1`.",
    },
    "ce_source": {"description": "Who tells it: `/footlights/` and the service, which is also the topic's name."},
    "ce_subject": {"description": "The id of what it is about; each event's schema names the field in `x-subject`."},
    "ce_time": {
        "format": "date-time",
        "description": "When it was decided: RFC 3339, in UTC, with milliseconds. Not when it was published.",
    },
    "ce_partitionkey": {
        "description": "The record's key: events of one topic with the same key are in order. The field in `x-key`."
    },
    "ce_correlationid": {"description": "What set it all off: the `x-request-id` of the client's request, or an id."},
    "content-type": {"const": CONTENT_TYPE, "description": "The value is JSON in UTF-8."},
}
_OPTIONAL: Final[dict[str, dict[str, Any]]] = {
    "ce_causationid": {"description": "The event that this one follows from directly, if one does."},
    "ce_versions": {
        "description": "All types that tell this same fact side by side, under one `ce_id`, separated by commas:"
        " act on the highest version that you know, skip the others."
    },
    "traceparent": {"description": "W3C trace context of what set it off, if that was traced."},
}


def headers_schema() -> Schema:
    """Describe the headers. Values are UTF-8 on the wire; a header that is not listed is to be ignored."""
    limits = {"type": "string", "minLength": 1, "maxLength": ATTRIBUTE_BYTES_MAX}
    return {
        "title": "Headers",
        "description": "CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is the data.",
        "type": "object",
        "properties": {
            name: ({"type": "string"} if "const" in said else limits) | said
            for name, said in (_REQUIRED | _OPTIONAL).items()
        },
        "required": list(_REQUIRED),
        "x-type": ENVELOPE,
        "x-draft": False,
    }
