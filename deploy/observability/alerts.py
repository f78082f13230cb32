"""What wakes an operator: one table, of which the rules, their tests and the runbook's names are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Alert:
    """One alarm. Its row in the runbook's table says what it means and where to look."""

    name: str
    says: str
    """In one line, for who is woken."""
    expression: str
    """PromQL; what it finds is the alarm."""
    lasts: str
    """How long it must hold before anybody is woken."""
    tried_with: str
    """A series for the rule's test, with its labels."""
    fires: str = "1x180"
    """Its values, a minute apart, with which the alarm must go off; promtool's form."""
    keeps_quiet: str = "0x180"
    """Those with which it must not."""
    labels: str = 'service="goals"'
    """The labels that the alarm has then."""
    severity: str = "page"
    """`page`: now. `ticket`: today."""


def _above(metric: str, most: int = 0, by: str = "service") -> str:
    return f"max by ({by}) (footlights_{metric}) > {most}"


def _grows(metric: str, by: str = "service") -> str:
    return f"sum by ({by}) (increase(footlights_{metric}[10m])) > 0"


def _of(metric: str, labels: str = 'service="goals"') -> str:
    return f"footlights_{metric}{{{labels}}}"


TOPIC: Final = 'service="goals", topic="escrow"'
GROWS: Final = {"fires": "0+1x180", "keeps_quiet": "7x180"}

ALERTS: Final[Sequence[Alert]] = (
    Alert("ParkedMessages", "Messages cannot take effect.", _above("parked_messages"), "1m", _of("parked_messages")),
    Alert("ParkedTimers", "A timer's handler keeps failing.", _above("timers_parked"), "1m", _of("timers_parked")),
    Alert(
        "UnreadableDocuments",
        "Messages need documents that this release cannot read.",
        'sum by (service) (increase(footlights_messages_parked_total{reason="UnreadableError"}[10m])) > 0',
        "0s",
        _of("messages_parked_total", 'service="goals", reason="UnreadableError"'),
        **GROWS,
    ),
    Alert(
        "ParkedVendorCalls", "A vendor call keeps failing here.", _above("effects_parked"), "1m", _of("effects_parked")
    ),
    Alert(
        "UnknownWork",
        "Work waits for a release that knows it, and none is rolled out.",
        f"{_above('timers_unknown')} or {_above('effects_unknown_keys')}",
        "1h",
        _of("timers_unknown"),
        severity="ticket",
    ),
    Alert(
        "RefusedEvents",
        "The broker refuses an event for good.",
        _above("outbox_parked_keys"),
        "1m",
        _of("outbox_parked_keys"),
    ),
    Alert(
        "NoLeader",
        "Nobody publishes, runs timers or calls vendors.",
        "sum by (service) (footlights_leader) == 0",
        "30s",
        _of("leader"),
        fires="0x180",
        keeps_quiet="1x180",
    ),
    Alert(
        "OutboxOld",
        "Events wait to be published.",
        _above("outbox_oldest_seconds", 5),
        "1m",
        _of("outbox_oldest_seconds"),
        fires="6x180",
        keeps_quiet="5x180",
    ),
    Alert(
        "TimersLate",
        "Due timers do not run.",
        _above("timers_oldest_seconds", 60),
        "1m",
        _of("timers_oldest_seconds"),
        fires="61x180",
        keeps_quiet="60x180",
    ),
    Alert(
        "VendorCallsOld",
        "Vendor calls wait.",
        _above("effects_oldest_seconds", 60),
        "1m",
        _of("effects_oldest_seconds"),
        fires="61x180",
        keeps_quiet="60x180",
    ),
    Alert(
        "ClockWrong",
        "A machine's clock is wrong: no timer runs there.",
        "max by (service) (abs(footlights_clock_ahead_seconds)) > 1",
        "1m",
        _of("clock_ahead_seconds"),
        fires="-2x180",
        keeps_quiet="-0.5x180",
    ),
    Alert(
        "BacklogFull",
        "Commands are refused, events are left in Kafka.",
        _above("backlog_full"),
        "1m",
        _of("backlog_full"),
    ),
    Alert(
        "LagGrows",
        "A worker is stuck, halted or too slow.",
        "sum by (service, topic) (footlights_consumer_lag_messages) > 1000"
        " and sum by (service, topic) (deriv(footlights_consumer_lag_messages[10m])) > 0",
        "10m",
        _of("consumer_lag_messages", TOPIC),
        fires="1000+100x180",
        keeps_quiet="5000-10x180",
        labels=TOPIC,
    ),
    Alert(
        "PartitionsHalted",
        "Nothing of a partition is handled.",
        _above("partitions_halted", by="service, topic"),
        "1m",
        _of("partitions_halted", TOPIC),
        labels=TOPIC,
    ),
    Alert(
        "MessagesLost",
        "Kafka removed messages before they were handled.",
        _grows("messages_lost_total", "service, topic"),
        "0s",
        _of("messages_lost_total", TOPIC),
        labels=TOPIC,
        **GROWS,
    ),
    Alert(
        "TopicAway",
        "A topic is missing, or we may not write to it.",
        _above("outbox_topics_away", by="service, topic"),
        "1m",
        _of("outbox_topics_away", TOPIC),
        labels=TOPIC,
    ),
    Alert(
        "PartitionsAway",
        "Partitions take nothing.",
        _above("outbox_partitions_away", by="service, topic"),
        "1m",
        _of("outbox_partitions_away", TOPIC),
        labels=TOPIC,
    ),
    Alert(
        "TokenKeysUnreadable",
        "JWT_KEYS_FILE cannot be used.",
        _above("token_keys_unreadable"),
        "1m",
        _of("token_keys_unreadable"),
    ),
    Alert(
        "UndeclaredRefusals",
        "An endpoint refuses what it does not declare: a bug.",
        _grows("http_undeclared_refusals_total"),
        "0s",
        _of("http_undeclared_refusals_total"),
        severity="ticket",
        **GROWS,
    ),
    Alert(
        "MoneyHeldLong",
        "Money was judged by nobody for 13 h.",
        'max by (service) (footlights_escrow_held_longer_earnings{than="13h"}) > 0',
        "1m",
        _of("escrow_held_longer_earnings", 'service="escrow", than="13h"'),
        labels='service="escrow"',
    ),
    Alert(
        "LedgerBroken",
        "All accounts together are not zero.",
        "max by (service) (abs(footlights_escrow_ledger_sum_diamonds)) > 0",
        "0s",
        _of("escrow_ledger_sum_diamonds", 'service="escrow"'),
        fires="-1x180",
        labels='service="escrow"',
    ),
    Alert(
        "LedgerNotProved",
        "Nobody has added up all accounts for an hour.",
        "time() - max by (service) (footlights_escrow_ledger_proved_timestamp_seconds) > 3600",
        "1m",
        _of("escrow_ledger_proved_timestamp_seconds", 'service="escrow"'),
        keeps_quiet="0+60x180",
        labels='service="escrow"',
    ),
    Alert(
        "SnapshotOverdue",
        "A source may have been photographed during a 1-on-1.",
        _grows("rtc_snapshots_overdue_total"),
        "0s",
        _of("rtc_snapshots_overdue_total", 'service="rtc-control"'),
        labels='service="rtc-control"',
        **GROWS,
    ),
    Alert(
        "NotReady",
        "A process is not ready.",
        "min by (service, role, instance) (footlights_ready) == 0",
        "2m",
        _of("ready", 'service="goals", role="worker", instance="a:1"'),
        fires="0x180",
        keeps_quiet="1x180",
        labels='service="goals", role="worker", instance="a:1"',
    ),
    Alert(
        "ReleasesMixed",
        "A roll-out was not finished.",
        "count by (service) (count by (service, release) (footlights_build_info)) > 1",
        "1h",
        _of("build_info", 'service="goals", release="1"'),
        severity="ticket",
    ),
)
