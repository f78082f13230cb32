"""`python -m contracts`: the events from the command line, in a checkout and from the installed wheel alike."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts import REGISTRY, schemas
from contracts.consumers import read_consumer, unkept
from contracts.examples import example


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code: 0 done, 1 a promise is not kept, 2 there is no such thing."""
    parser = argparse.ArgumentParser(prog="python -m contracts", description="The events: what they are, and for whom")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every event: its type, topic, key, and what happened")
    for name, does in (("show", "the JSON Schema of an event"), ("example", "a recorded message of it")):
        commands.add_parser(name, help=does).add_argument("type", metavar="TYPE")
    commands.add_parser("check", help="in a checkout: that no released schema is broken (what CI runs)")
    verify = commands.add_parser("verify", help="that the events have all that a consumer reads")
    verify.add_argument(
        "file", metavar="FILE", type=Path, help='{"consumer": …, "contact": …, "reads": {TYPE: [FIELD]}}'
    )
    options = parser.parse_args(arguments)
    match options.command:
        case "list":
            return _list()
        case "check":
            return schemas.main(["--check"])
        case "verify":
            return _verify(options.file)
        case _:
            return _print(options.command, options.type)


def _list() -> int:
    for type_, event in sorted(REGISTRY.items()):
        summary = " ".join((event.__doc__ or "").partition("\n\n")[0].split())
        sys.stdout.write(f"{type_:34} {event.TOPIC:12} {event.KEY:12} {'draft: ' if event.DRAFT else ''}{summary}\n")
    return 0


def _print(what: str, type_: str) -> int:
    if type_ not in REGISTRY:
        return _fail(f"there is no {type_}; `python -m contracts list` names all", code=2)
    shown: dict[str, Any] = schemas.schema_of(REGISTRY[type_]) if what == "show" else example(type_)
    sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    return 0


def _verify(file: Path) -> int:
    try:
        consumer = read_consumer(file)
    except (OSError, ValueError) as error:
        return _fail(f"{file}: {error}", code=2)
    if lines := unkept(consumer, schemas.all_schemas()):
        return _fail("\n  ".join([f"{consumer.name} reads what nobody promises:", *lines]), code=1)
    drafts = [type_ for type_ in consumer.reads if type_ in REGISTRY and REGISTRY[type_].DRAFT]
    sys.stdout.write(f"{consumer.name}: all that it reads of {len(consumer.reads)} events is there\n")
    for type_ in drafts:
        sys.stdout.write(f"  {type_} is a draft and may still change\n")
    return 0


def _fail(what: str, *, code: int) -> int:
    sys.stderr.write(f"{what}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
