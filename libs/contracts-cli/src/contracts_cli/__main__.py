"""`contracts COMMAND`: `tail` and `emit` talk to Kafka; all else is answered by `python -m contracts`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from contracts.__main__ import main as contracts
from contracts_cli import emit, tail
from contracts_cli.broker import Broker, NoBroker

OURS: Mapping[str, Any] = {"tail": tail, "emit": emit}
INTERRUPTED = 130  # what a shell expects of a command that ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code: 0 done, 1 it could not be done, 2 there is no such thing."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and not given[0].startswith("-") and given[0] not in OURS:
        return contracts(given)
    options = _parser().parse_args(given)
    try:
        broker = Broker.from_environment(os.environ, options.bootstrap, options.namespace)
        status: int = asyncio.run(OURS[options.command].run(broker, options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `contracts tail | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (NoBroker, KafkaError, OSError) as error:
        sys.stderr.write(f"contracts: {error!s}\n")
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="contracts",
        description="The events: what they are, and what is told",
        epilog="list, show, example, check and verify need no broker: `python -m contracts --help` tells of them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in OURS.items():
        said = (module.__doc__ or "").partition("\n\n")[0]
        command = commands.add_parser(name, help=said, description=module.__doc__)
        command.add_argument("--bootstrap", help="host:port of a broker; default KAFKA_BOOTSTRAP")
        command.add_argument("--namespace", help="what stands before the topics' names; default NAMESPACE, or nothing")
        module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
