"""alerts.yml, its tests and Grafana's boards, from the tables in alerts.py and here. `--check` only compares.

`python deploy/observability/observability.py` writes them. A board is a list of panels, a panel a sentence and what to
draw; tests hold that each metric that is named exists.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alerts import ALERTS, Alert

HERE: Final = Path(__file__).parent
RUNBOOK: Final = "docs/runbook.md#is-it-well"
SERVICES: Final = ("goals", "sessions", "escrow", "notifier", "shop", "rtc-control")
COLUMNS: Final = 24  # of Grafana's grid
WIDTH: Final = 8
HEIGHT: Final = 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture."""

    title: str
    expression: str
    legend: str = "{{service}}"
    unit: str = "short"


def _quantile(share: str, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate(footlights_{metric}_bucket{where}[5m])))"


PLATFORM: Final[Sequence[Panel]] = (
    Panel("Behind the end of the topics", "sum by (service) (footlights_consumer_lag_messages)"),
    Panel("Oldest event that waits to be published", "max by (service) (footlights_outbox_oldest_seconds)", unit="s"),
    Panel("How late the first due timer is", "max by (service) (footlights_timers_oldest_seconds)", unit="s"),
    Panel("Dead letters: what waits for an operator", "max by (service) (footlights_parked_messages)"),
    Panel("Diamonds that are held", "max(footlights_escrow_held_diamonds)", "held"),
    Panel("The proof: all accounts together", "max(footlights_escrow_ledger_sum_diamonds)", "sum"),
    Panel("How long ago it was proved", "time() - max(footlights_escrow_ledger_proved_timestamp_seconds)", "ago", "s"),
    Panel("Oldest money that nobody has judged", "max(footlights_escrow_oldest_held_seconds)", "oldest", "s"),
    Panel("Commands and queries", "sum by (service) (rate(footlights_http_requests_total[5m]))", unit="reqps"),
    Panel(
        "Answers that are our fault",
        'sum by (service) (rate(footlights_http_requests_total{status=~"5.."}[5m]))',
        unit="reqps",
    ),
    Panel("99 of 100 answers within", _quantile("0.99", "http_request_seconds", "service"), unit="s"),
    Panel("99 of 100 events act within", _quantile("0.99", "event_age_seconds", "service"), unit="s"),
    Panel("Vendor calls that wait", "max by (service) (footlights_effect_rows)"),
    Panel("Processes that are ready", "sum by (service, role) (footlights_ready)", "{{service}} {{role}}"),
    Panel("Leaders", "sum by (service) (footlights_leader)"),
    Panel("Releases", "count by (service, release) (footlights_build_info)", "{{service}} {{release}}"),
)


def of_service(service: str) -> Sequence[Panel]:
    """The board of one service."""
    where = f'{{service="{service}"}}'
    return (
        Panel("Requests", f"sum by (route) (rate(footlights_http_requests_total{where}[5m]))", "{{route}}", "reqps"),
        Panel("99 of 100 answers within", _quantile("0.99", "http_request_seconds", "route", where), "{{route}}", "s"),
        Panel(
            "Answers by status",
            f"sum by (status) (rate(footlights_http_requests_total{where}[5m]))",
            "{{status}}",
            "reqps",
        ),
        Panel(
            "Attempts repeated",
            f"sum by (route) (rate(footlights_http_attempts_repeated_total{where}[5m]))",
            "{{route}}",
        ),
        Panel("Events taken", f"sum by (type) (rate(footlights_events_consumed_total{where}[5m]))", "{{type}}"),
        Panel(
            "What became of them",
            f"sum by (outcome) (rate(footlights_events_consumed_total{where}[5m]))",
            "{{outcome}}",
        ),
        Panel(
            "Time that handlers took",
            f"sum by (type) (rate(footlights_event_handling_seconds_total{where}[5m]))",
            "{{type}}",
            "s",
        ),
        Panel("99 of 100 events act within", _quantile("0.99", "event_age_seconds", "type", where), "{{type}}", "s"),
        Panel("Behind the end", f"sum by (topic) (footlights_consumer_lag_messages{where})", "{{topic}}"),
        Panel("Events published", f"sum by (topic) (rate(footlights_outbox_published_total{where}[5m]))", "{{topic}}"),
        Panel("Events that wait to be published", f"max(footlights_outbox_rows{where})", "rows"),
        Panel("Timers", f"sum by (name, outcome) (rate(footlights_timers_total{where}[5m]))", "{{name}} {{outcome}}"),
        Panel("99 of 100 timers are late by", _quantile("0.99", "timer_late_seconds", "service", where), unit="s"),
        Panel(
            "Vendor calls",
            f"sum by (name, outcome) (rate(footlights_effects_total{where}[5m]))",
            "{{name}} {{outcome}}",
        ),
        Panel(
            "99 of 100 vendor calls are answered within",
            _quantile("0.99", "effect_age_seconds", "name", where),
            "{{name}}",
            "s",
        ),
        Panel("Parked", f"sum by (reason) (increase(footlights_messages_parked_total{where}[1h]))", "{{reason}}"),
        Panel("Conflicts", f"sum by (writer) (rate(footlights_transaction_conflicts_total{where}[5m]))", "{{writer}}"),
        Panel("Memory", f"process_resident_memory_bytes{where}", "{{role}} {{instance}}", "bytes"),
    )


def board(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """A board as Grafana reads it."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["footlights"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS // WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": panel.expression, "legendFormat": panel.legend}],
    }


def boards() -> dict[str, dict[str, Any]]:
    """Every board, by the name of its file."""
    services = {service: board(service, service, of_service(service)) for service in SERVICES}
    return {"platform": board("platform", "The platform", PLATFORM), **services}


def rules() -> dict[str, Any]:
    """The alert rules as Prometheus reads them."""
    return {"groups": [{"name": "footlights", "rules": [_rule(alert) for alert in ALERTS]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert),
    }


def _annotations(alert: Alert) -> dict[str, str]:
    return {"summary": alert.says, "runbook": RUNBOOK}


def tests_of_rules() -> dict[str, Any]:
    """For promtool: each alarm goes off when it must, and only then."""
    return {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "1m",
        "tests": [
            _test(alert, values, fires=fires)
            for alert in ALERTS
            for values, fires in ((alert.fires, True), (alert.keeps_quiet, False))
        ],
    }


def _test(alert: Alert, values: str, *, fires: bool) -> dict[str, Any]:
    series = [{"series": alert.tried_with, "values": values}]
    if alert.name == "ReleasesMixed" and fires:
        series.append({"series": alert.tried_with.replace('"1"', '"2"'), "values": values})
    labels = dict(part.split("=") for part in alert.labels.replace('"', "").split(", "))
    expected = {"exp_labels": {**labels, "severity": alert.severity}, "exp_annotations": _annotations(alert)}
    return {
        "name": f"{alert.name} {'goes off' if fires else 'keeps quiet'}",
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": "2h", "alertname": alert.name, "exp_alerts": [expected] if fires else []}],
    }


def files() -> dict[Path, str]:
    """What is generated."""
    head = "# Written by `python deploy/observability/observability.py`; CI fails when it is stale. JSON is YAML.\n"
    wanted = {
        HERE / "alerts.yml": head + _json(rules()),
        HERE / "alerts_test.yml": head + _json(tests_of_rules()),
    }
    return wanted | {HERE / "grafana" / "boards" / f"{name}.json": _json(of) for name, of in boards().items()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write or compare; a stale file makes the exit code 1."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(HERE.parents[1])} is stale: run `make generate`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
