"""Every metric of every process, with a sentence each. Labels hold types and names, never ids.

Here they have their plain names. Outside each begins with `footlights_`, and says of which service and role it is.
"""

from collections.abc import Iterator
from platform import python_version
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call] # no types; a second series per counter, which nobody reads

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

# -- HTTP --------------------------------------------------------------------------------------------------------------
HTTP_REQUESTS = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "http_request_seconds", "From the request's arrival to its answer.", ["method", "route"], buckets=_SECONDS
)
HTTP_RETRIES = Counter(
    "http_attempts_repeated_total",
    "Attempts of a command made again after a conflict, or while it waited for an event.",
    ["route"],
)
HTTP_GROUP_COMMIT = Histogram(
    "http_group_commit_size", "Commands in one transaction, of those that share.", buckets=_SIZES
)
TOKEN_KEYS_UNREADABLE = Gauge(
    "token_keys_unreadable", "1 while JWT_KEYS_FILE cannot be used; the keys before hold on. Alarm above 0."
)
HTTP_UNDECLARED = Counter(
    "http_undeclared_refusals_total",
    "Refusals that their endpoint does not declare. A bug; alarm above 0.",
    ["method", "route", "slug"],
)

# -- events: in --------------------------------------------------------------------------------------------------------
EVENTS = Counter(
    "events_consumed_total",
    "Messages taken, by what became of them: handled, repeated, skipped, parked, waiting.",
    ["type", "outcome"],
)
EVENT_BATCH_SIZE = Histogram("event_batch_messages", "Messages in one transaction.", buckets=_SIZES)
EVENT_BATCH_SECONDS = Histogram("event_batch_seconds", "From a batch's first read to its commit.", buckets=_SECONDS)
EVENT_HANDLING_SECONDS = Counter(
    "event_handling_seconds_total", "Time that handlers took, what they look up included, by type of event.", ["type"]
)
MESSAGES_LOST = Counter(
    "messages_lost_total", "Messages that Kafka had removed before they were handled. Alarm above 0.", ["topic"]
)
PARTITIONS_HALTED = Gauge(
    "partitions_halted",
    "Partitions of which this worker handles nothing: messages are gone, or a batch is damaged. Alarm above 0.",
    ["topic"],
)
EVENT_AGE_SECONDS = Histogram(
    "event_age_seconds", "From an event's time to the commit of what followed from it.", ["type"], buckets=_SECONDS
)
CONSUMER_LAG = Gauge("consumer_lag_messages", "Messages behind the end of a topic.", ["topic"])
REBALANCES = Counter("consumer_rebalances_total", "Partitions assigned to this worker anew.")
PARKED_MESSAGES = Gauge(
    "parked_messages", "Messages that wait for an operator, or behind one that does. Alarm above 0."
)
MESSAGES_PARKED = Counter("messages_parked_total", "Messages parked, by why.", ["reason"])

# -- events: out -------------------------------------------------------------------------------------------------------
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Events that the broker acknowledged.", ["topic"])
OUTBOX_ROWS = Gauge("outbox_rows", "Events that wait to be published.")
OUTBOX_AGE_SECONDS = Gauge(
    "outbox_oldest_seconds", "Age of the oldest event that waits to be published. Alarm above 5."
)
OUTBOX_PARKED_KEYS = Gauge("outbox_parked_keys", "Keys whose next event the broker refuses for good. Alarm above 0.")
OUTBOX_TOPICS_AWAY = Gauge(
    "outbox_topics_away", "1 for a topic whose events wait: it is missing, or we may not write to it.", ["topic"]
)
OUTBOX_PARTITIONS_AWAY = Gauge(
    "outbox_partitions_away", "Partitions of a topic whose events wait: no leader, or too few replicas.", ["topic"]
)
OUTBOX_FAILURES = Counter(
    "outbox_failures_total", "Tries of the relay that ended in an error, of a broker or partition."
)

# -- timers ------------------------------------------------------------------------------------------------------------
TIMERS = Counter(
    "timers_total", "Timers that ran, by what became of them: handled, waiting, failed, parked.", ["name", "outcome"]
)
TIMER_LATE_SECONDS = Histogram("timer_late_seconds", "From a timer's due moment to its run.", buckets=_SECONDS)
TIMERS_OLDEST_SECONDS = Gauge(
    "timers_oldest_seconds", "How late the first timer is that is due and has not run. Alarm above 60."
)
TIMERS_PARKED = Gauge("timers_parked", "Timers whose handler keeps failing. Alarm above 0.")
TIMERS_UNKNOWN = Gauge(
    "timers_unknown", "Due timers that wait for a release that knows them. Alarm above 0 once none is rolled out."
)

# -- vendor calls ------------------------------------------------------------------------------------------------------
EFFECTS = Counter(
    "effects_total",
    "Vendor calls, by what became of them: done, retried, failed, expired, parked.",
    ["name", "outcome"],
)
EFFECT_SECONDS = Histogram("effect_seconds", "One call of a vendor, of one batch.", ["name"], buckets=_SECONDS)
EFFECT_ROWS = Gauge("effect_rows", "Vendor calls that wait.")
EFFECTS_OLDEST_SECONDS = Gauge(
    "effects_oldest_seconds", "Age of the oldest vendor call that waits, and not for an operator. Alarm above 60."
)
EFFECTS_PARKED = Gauge(
    "effects_parked", "Vendor calls that fail here, whatever the vendor says; their keys wait. Alarm above 0."
)
EFFECTS_UNKNOWN = Gauge(
    "effects_unknown_keys",
    "Keys whose next vendor call waits for a release that knows it. Alarm above 0 once none is rolled out.",
)
EFFECT_AGE_SECONDS = Histogram(
    "effect_age_seconds", "From a vendor call's decision to the vendor's answer.", ["name"], buckets=_SECONDS
)

# -- life --------------------------------------------------------------------------------------------------------------
LEADER = Gauge("leader", "1 while this process runs the service's relay, timers and vendor calls.")
CLOCK_AHEAD_SECONDS = Gauge(
    "clock_ahead_seconds", "How far this machine's clock is ahead of MongoDB's, or behind. Alarm beyond 1 either way."
)
CLOCK_MOVED_SECONDS = Gauge(
    "clock_moved_seconds", "How far a local stack has moved its clock ahead, on purpose. Elsewhere always 0."
)
BACKLOG_FULL = Gauge(
    "backlog_full", "1 while so much waits that commands are refused and no events are taken. Alarm above 0."
)
BUILD_INFO = Gauge("build_info", "1, with the release that runs here.", ["release", "python"])
READY = Gauge("ready", "1 while this process says that it is ready.")
CONFLICTS = Counter(
    "transaction_conflicts_total",
    "Batches that were given back and tried again: a write conflict, a server that was away.",
    ["writer"],
)

# -- how they look outside ---------------------------------------------------------------------------------------------
PREFIX: Final = "footlights_"
_STANDARD: Final = ("python_", "process_")  # prometheus_client's own, which every dashboard knows by these names


class _Outside(Collector):
    """All metrics of this process under the names and with the labels that they have outside."""

    labels: dict[str, str]

    def __init__(self) -> None:
        self.labels = {}

    def collect(self) -> Iterator[Metric]:
        for inside in REGISTRY.collect():
            prefix = "" if inside.name.startswith(_STANDARD) else PREFIX
            metric = Metric(prefix + inside.name, inside.documentation, inside.type)
            metric.samples = [
                sample._replace(name=prefix + sample.name, labels=self.labels | sample.labels)
                for sample in inside.samples
            ]
            yield metric


_OUTSIDE: Final = _Outside()


def identify(service: str, role: str, release: str) -> None:
    """Say once whose metrics these are."""
    _OUTSIDE.labels = {"service": service, "role": role}
    BUILD_INFO.labels(release, python_version()).set(1)


def exposition() -> bytes:
    """All of them as Prometheus reads them."""
    return generate_latest(_OUTSIDE)
