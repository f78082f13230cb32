"""Write docs/events.md, docs/asyncapi.yaml and what each service reads from the contracts and the services' tables;
docs/pushes.md and docs/pushes.d.ts from the notifier's; docs/openapi.json and docs/problems.md from the services'
routes: what the gateway answers.

`python docs/generate.py` writes them; with `--check` it only compares, and exits 1 if one is stale, or if a service
relies on a draft of another one. It writes no API that would break a client of the one that is there (see
api_changes.py), unless the API's version says so.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import api_changes
import api_document
import push_types
import pushes_page
from readers import consumer_file

from chassis.decision import Timer
from chassis.service import Service
from contracts import REGISTRY, Event
from contracts.examples import example
from contracts.headers import ENVELOPE
from contracts.topics import TOPICS, TopicSpec

DOCS: Final = Path(__file__).parent
SERVICES: Final = DOCS.parent / "services"
CONSUMERS: Final = DOCS.parent / "libs" / "contracts" / "consumers"
API: Final = DOCS / "openapi.json"
COMMAND: Final = "python docs/generate.py"


def services() -> list[Service]:
    """Every service that has a table, by name."""
    packages = sorted(path.parent.name for path in SERVICES.glob("*/src/*/service.py"))
    return [importlib.import_module(f"{package}.service").SERVICE for package in packages]


def events_of(topic: str) -> list[type[Event]]:
    """The events of a topic, by type."""
    return sorted((event for event in REGISTRY.values() if topic == event.TOPIC), key=lambda event: event.TYPE)


def summary(cls: type[Any]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((cls.__doc__ or "").strip().partition("\n\n")[0].split())


def handler_names(service: Service, event: type[Event]) -> list[str]:
    """What a service does when it consumes `event`, without repeating itself."""
    names = [row.handler.__name__.replace("_", " ") for row in service.handlers if row.subject is event]
    return list(dict.fromkeys(names))


def retention(spec: TopicSpec) -> str:
    """How long a topic is kept, in words."""
    return "kept for ever" if spec.keep_days is None else f"kept for {spec.keep_days} days"


def markdown(known: Sequence[Service]) -> str:
    """The event map for people."""
    lines = [
        "# Events",
        "",
        f"Written by `{COMMAND}` from `libs/contracts` and the services' tables; CI fails when it is stale.",
        "An event is published by the service that its topic is named after. Those of a topic with the same key stay",
        "in order; events of different topics may arrive in any order. A draft may still change.",
        "",
        "Delivery is **at least once**: an event may come again, under the same `ce_id`. Who has seen that id skips",
        "it, and remembers ids for as long as it would be harmed by one that comes again. A message is CloudEvents 1.0",
        "in Kafka's binary mode: `ce_type` says what it is, the key is `ce_partitionkey`, the value is data as JSON.",
        f"The headers are described in `libs/contracts/schemas/{ENVELOPE}.json`, a recorded message of each event is",
        "in `libs/contracts/tests/recorded`, and who reads which field in `libs/contracts/consumers`.",
    ]
    for topic, spec in TOPICS.items():
        lines += ["", f"## {topic}", "", f"{spec.partitions} partitions, {retention(spec)}.", ""]
        lines += ["| event | key | what happened | consumed by |", "|---|---|---|---|"]
        lines += [_event_row(event, known) for event in events_of(topic)]
    lines += ["", "## What services do later", "", "| service | timer or vendor call | handler |", "|---|---|---|"]
    for service in known:
        lines += [f"| {service.name} | {name} | {handler} |" for name, handler in _later(service)]
    return "\n".join(lines) + "\n"


def _event_row(event: type[Event], known: Sequence[Service]) -> str:
    consumers = [f"{service.name}: {', '.join(done)}" for service in known if (done := handler_names(service, event))]
    draft = " (draft)" if event.DRAFT else ""
    return f"| `{event.TYPE}`{draft} | {event.KEY} | {summary(event)} | {'<br>'.join(consumers) or '–'} |"


def _later(service: Service) -> Iterable[tuple[str, str]]:
    for row in service.timers:
        yield cast("type[Timer]", row.subject).NAME, row.handler.__name__.replace("_", " ")
    for call in service.effects:
        yield f"{call.effect.NAME} (vendor)", call.execute.__name__.replace("_", " ")


def asyncapi(known: Sequence[Service]) -> dict[str, Any]:
    """The same for tools: AsyncAPI 3.0, with the committed JSON Schemas as payloads."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Footlights",
            "version": "1",
            "description": f"Written by `{COMMAND}`. CloudEvents 1.0 in Kafka's binary mode: attributes are headers.",
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic, spec) for topic, spec in TOPICS.items()},
        "operations": {name: operation for service in known for name, operation in _operations(service)},
        "components": {"messages": {type_: _message(event) for type_, event in sorted(REGISTRY.items())}},
    }


def _channel(topic: str, spec: TopicSpec) -> dict[str, Any]:
    kafka = {"partitions": spec.partitions, "topicConfiguration": {"retention.ms": spec.retention_ms}}
    messages = {event.TYPE: {"$ref": f"#/components/messages/{event.TYPE}"} for event in events_of(topic)}
    return {"address": topic, "messages": messages, "bindings": {"kafka": kafka}}


def _operations(service: Service) -> Iterable[tuple[str, dict[str, Any]]]:
    own = [event.TYPE for event in events_of(service.name)]
    if own:
        yield f"{service.name}.send", _operation("send", service.name, own)
    consumed: dict[str, set[str]] = {}
    for row in service.handlers:
        event = cast("type[Event]", row.subject)
        consumed.setdefault(event.TOPIC, set()).add(event.TYPE)
    for topic, types in sorted(consumed.items()):
        yield f"{service.name}.receive.{topic}", _operation("receive", topic, sorted(types))


def _operation(action: str, topic: str, types: Sequence[str]) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/{topic}/messages/{type_}"} for type_ in types]
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}, "messages": messages}


def _message(event: type[Event]) -> dict[str, Any]:
    recorded = example(event.TYPE)
    described: dict[str, Any] = {
        "name": event.TYPE,
        "summary": summary(event),
        "headers": {
            "allOf": [
                {"$ref": f"../libs/contracts/schemas/{ENVELOPE}.json"},
                {"type": "object", "properties": {"ce_type": {"const": event.TYPE}}},
            ]
        },
        "payload": {"$ref": f"../libs/contracts/schemas/{event.TYPE}.json"},
        "examples": [{"headers": recorded["headers"], "payload": recorded["data"]}],
        "bindings": {"kafka": {"key": {"type": "string", "description": event.KEY}}},
    }
    return described | ({"x-draft": True} if event.DRAFT else {})


def drafts_relied_on(known: Sequence[Service]) -> list[str]:
    """The drafts that another service than their own handles, a line each."""
    return [
        f"\n  {event.TYPE}: {service.name}"
        for service in known
        for event in sorted({cast("type[Event]", row.subject) for row in service.handlers}, key=lambda one: one.TYPE)
        if event.DRAFT and service.name != event.TOPIC
    ]


def yaml(value: Any, indent: str = "") -> str:
    """Block style for what has parts, JSON for what has none: all of it is YAML."""
    if isinstance(value, Mapping) and value:
        return "".join(f"\n{indent}{_name(name)}:{yaml(part, indent + '  ')}" for name, part in value.items())
    if isinstance(value, list) and value:
        return "".join(f"\n{indent}-{yaml(part, indent + '  ')}" for part in value)
    return f" {json.dumps(value, ensure_ascii=False)}"


def _name(name: str) -> str:
    return name if re.fullmatch(r"[a-zA-Z][\w.-]*", name) else json.dumps(name)


def main(arguments: Sequence[str]) -> int:
    """Write or compare; a stale file, or a break of the API, makes the exit code 1."""
    known = services()
    api = api_document.document(known)
    wanted = {
        DOCS / "events.md": markdown(known),
        DOCS / "asyncapi.yaml": yaml(asyncapi(known)).lstrip("\n") + "\n",
        API: json.dumps(api, ensure_ascii=False, indent=1) + "\n",
        DOCS / "problems.md": api_document.problems_page(known),
        DOCS / "pushes.md": pushes_page.markdown(COMMAND),
        DOCS / "pushes.d.ts": push_types.types(COMMAND),
    }
    for service in known:
        wanted[CONSUMERS / f"{service.name}.json"] = json.dumps(consumer_file(service), indent=2) + "\n"
    if relied := drafts_relied_on(known):
        print(
            "a draft may still change, so only its own service relies on it; release it (drop `draft=True`):", *relied
        )
        return 1
    if "--check" not in arguments:
        breaks = api_changes.refused(json.loads(API.read_text(encoding="utf-8")), api) if API.exists() else []
        if breaks:
            print("A client of docs/openapi.json would break:", *breaks, sep="\n  ")
            return 1
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.relative_to(DOCS.parent).as_posix()
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for name in stale:
        print(f"{name} is stale: run `{COMMAND}`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
