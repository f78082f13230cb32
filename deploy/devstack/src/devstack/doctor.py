"""Is the stack well? Each check says what it found, and what to do where something is not as it should be."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.topics import DEAD_LETTERS, TOPICS, TopicSpec
from devstack import calling, services, topics
from devstack.errors import StackError
from devstack.settings import base_environment, package
from devstack.stack import Stack

ANSWER_SECONDS: Final = 5.0
OPERATOR: Final = "0" * 24

_SAMPLE: Final = re.compile(r"^footlights_(?P<name>\w+)\{(?P<labels>.*?)\} (?P<value>\S+)$", re.MULTILINE)

LIMITS: Final[Mapping[str, tuple[float, str]]] = {
    "consumer_lag_messages": (1_000, "is the worker stuck, or too slow? its /readyz says; `--workers` adds some"),
    "outbox_oldest_seconds": (5, "has the service a leader? does Kafka answer? (runbook, *Is it well?*)"),
    "timers_oldest_seconds": (60, "has the service a leader? look for `timer failed` in its log"),
    "effects_oldest_seconds": (60, "does the vendor answer? look for `vendor does not answer` in its log"),
    "parked_messages": (0, "`devstack exec SERVICE parked` shows them (runbook, *Parked*)"),
    "timers_parked": (0, "`devstack exec SERVICE parked` shows them (runbook, *Parked*)"),
    "effects_parked": (0, "`devstack exec SERVICE parked` shows them (runbook, *Parked*)"),
    "outbox_parked_keys": (0, "`devstack exec SERVICE parked` shows them (runbook, *Parked*)"),
    "partitions_halted": (0, "a partition is halted: its /readyz says which (runbook)"),
    "backlog_full": (0, "too much waits: mend what the other lines name, it ends by itself"),
}
"""How much of a metric is well, and what to do above it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found."""

    what: str
    found: str
    advice: str = ""
    """What to do; empty if all is well."""

    @property
    def line(self) -> str:
        """For people."""
        told = f"{'✗' if self.advice else '✓'} {self.what:10} {self.found}"
        return f"{told}\n    → {self.advice}" if self.advice else told


class Metrics:
    """What all processes of the services measure, by metric and process."""

    def __init__(self, stack: Stack) -> None:
        """Ask each process. One that does not answer has no metrics."""
        self.by_name: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(dict)
        for part in stack.status()["processes"]:
            if _is_of_a_service(part["name"]):
                for sample in _SAMPLE.finditer(_metrics(part["listens"][0]) if part["listens"] else ""):
                    of = self.by_name[sample["name"]].setdefault(part["name"], [])
                    of.append((sample["labels"], float(sample["value"])))

    def worst(self, name: str) -> tuple[str, float]:
        """The process that measures most of it, and how much."""
        found = [(process, value) for process, of in self.by_name[name].items() for _, value in of]
        return max(found, key=lambda one: one[1], default=("nobody", 0.0))


def _metrics(listens: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{listens}/metrics", timeout=ANSWER_SECONDS) as answer:
            text: str = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return ""
    return text


def examine(stack: Stack) -> Iterator[Finding]:
    """Each check in turn. Raises StackError if no stack runs."""
    metrics = Metrics(stack)
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _processes(stack),
        lambda: _topics(stack),
        lambda: _indexes(stack),
        lambda: _limits(metrics),
        lambda: _keys(stack, metrics),
        lambda: _clocks(metrics),
        lambda: _ledger(stack),
        lambda: _versions(stack, metrics),
    )
    for check in checks:
        try:
            yield from check()
        except StackError as error:
            yield Finding("doctor", str(error), "`devstack status` says what runs")


def _processes(stack: Stack) -> Iterator[Finding]:
    processes = stack.status()["processes"]
    ill = [f"`devstack logs {part['name']}`" for part in processes if part["state"] != "ready"]
    advice = f"look at {', '.join(ill)}" if ill else ""
    yield Finding("processes", f"{len(processes) - len(ill)} of {len(processes)} are ready", advice)
    restarted = [f"{part['name']} ({part['restarts']})" for part in processes if part["restarts"]]
    if restarted:
        yield Finding("processes", f"started again: {', '.join(restarted)}", "their logs say why they ended")


def _topics(stack: Stack) -> Iterator[Finding]:
    namespace, known = stack.settings.variables.get("NAMESPACE"), services.chosen(stack.settings)
    there = topics.topics(stack.kafka_bootstrap)
    wanted: dict[str, TopicSpec] = {name: spec for name, spec in TOPICS.items() if name in known}
    wanted |= {f"{name}.dlq": DEAD_LETTERS for name in known}
    scoped = {f"{namespace}-{name}" if namespace else name: spec.partitions for name, spec in wanted.items()}
    wrong = [
        f"{name} has {there.get(name, 'no')} partitions of {partitions}"
        for name, partitions in scoped.items()
        if there.get(name) != partitions
    ]
    found = "; ".join(wrong) or f"{len(scoped)}, each with its partitions"
    yield Finding("topics", found, "`devstack exec all migrate`" if wrong else "")


def _indexes(stack: Stack) -> Iterator[Finding]:
    known = services.chosen(stack.settings)
    for service in known:
        command = (sys.executable, "-m", package(service), "migrate", "--plan")
        environment = {**base_environment(), **stack.environment_of(service)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        missing = [line["would"] for line in map(_row, done.stdout.splitlines()) if "would" in line]
        if done.returncode or missing:
            advice = f"`devstack exec {service} migrate`"
            yield Finding("indexes", f"{service}: {'; '.join(missing) or 'cannot tell'}", advice)
            return
    yield Finding("indexes", f"all of {len(known)} services are there")


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _limits(metrics: Metrics) -> Iterator[Finding]:
    for name, (most, advice) in LIMITS.items():
        process, value = metrics.worst(name)
        if value > most:
            yield Finding("work", f"{name} is {value:g} at {process}, above {most:g}", advice)
    leaders: dict[str, float] = defaultdict(float)
    for process, of in metrics.by_name["leader"].items():
        leaders[process.rpartition("-worker")[0] or process.removesuffix("-api")] += sum(value for _, value in of)
    headless = [service for service, number in leaders.items() if not number]
    if headless:
        yield Finding("work", f"nobody leads {', '.join(headless)}", "look at `/readyz` and the logs of their workers")
    process, lag = metrics.worst("consumer_lag_messages")
    yield Finding(
        "work", f"at most {lag:g} messages behind, {metrics.worst('outbox_oldest_seconds')[1]:g} s unpublished"
    )


def _keys(stack: Stack, metrics: Metrics) -> Iterator[Finding]:
    process, unreadable = metrics.worst("token_keys_unreadable")
    if unreadable:
        yield Finding("keys", f"{process} cannot read JWT_KEYS_FILE", "runbook, *a new key for tokens*")
    said = calling.call(stack.data, "nginx", OPERATOR, (), ("GET", "/wallets/me", None))
    taken = not said.startswith("401")
    advice = "" if taken else "compare JWT_KEYS of the apis"
    yield Finding("keys", f"a token signed here is {'taken' if taken else 'refused'}", advice)


def _clocks(metrics: Metrics) -> Iterator[Finding]:
    ahead = [abs(value) for of in metrics.by_name["clock_ahead_seconds"].values() for _, value in of]
    apart = max(ahead, default=0.0)
    _, moved = metrics.worst("clock_moved_seconds")
    also = f", and moved {moved:g} s ahead by `devstack clock`" if moved else ""
    yield Finding("clocks", f"at most {apart:.3f} s apart from MongoDB's{also}", "set them (NTP)" if apart > 1 else "")


def _ledger(stack: Stack) -> Iterator[Finding]:
    said = calling.call(stack.data, "nginx", OPERATOR, ("OPS",), ("GET", "/ledger/proof?limit=1", None))
    status, _, body = said.partition(" ")
    proof = _row(body)
    if status == "200" and proof.get("holds") is True:
        yield Finding("ledger", f"all accounts together are {proof['sum_diamonds']}")
    else:
        yield Finding("ledger", said, "sell nothing; `devstack exec escrow recount` says what differs (runbook)")


def _versions(stack: Stack, metrics: Metrics) -> Iterator[Finding]:
    releases: dict[str, list[str]] = defaultdict(list)
    for process, [(labels, _), *_more] in metrics.by_name["build_info"].items():
        if found := re.search(r'release="(.*?)"', labels):
            releases[found[1]].append(process)
    running = {part["name"] for part in stack.status()["processes"] if _is_of_a_service(part["name"])}
    if mute := sorted(running - {process for processes in releases.values() for process in processes}):
        yield Finding("versions", f"{', '.join(mute)}: no answer", "`devstack status` says what runs")
    said = "; ".join(f"{release}: {len(processes)} processes" for release, processes in sorted(releases.items()))
    yield Finding("versions", said or "none", "finish the roll-out, or put it back" if len(releases) > 1 else "")


def _is_of_a_service(process: str) -> bool:
    return process.endswith("-api") or "-worker" in process
