"""The commands ``otel-ml alerts ...``."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import DONE, HELP, NOT_FOUND, CommandFailed
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting, Missing
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.times import read_length, to_rfc3339

_COLUMNS: Final = ("state", "name", "when", "for", "since", "fired", "flapping", "reason")
_FIRINGS: Final = ("start", "end", "hours", "slice", "worst")
_SENT: Final = (
    *("target", "kind", "rule", "status", "state", "tries"),
    *("changed_time", "delivered_time", "trouble"),
)
_MUTES: Final = ("name", "version", "rule", "where", "until", "who", "why")
_TRIAL_S: Final = 70.0  # longer than any receiver has to answer


@click.group()
def alerts() -> None:
    """List, check and mute alert rules, and test the receivers of alerts."""


@alerts.command("list", epilog=HELP, short_help="List the alert rules and their states.")
@with_place
@with_project
@with_form
def list_alerts(asked: PlaceOptions, project: str, *, form: Layout) -> int:
    """List the alert rules of a project with their states, firing rules first."""
    with asked.open() as place, place.reader(project) as reader:
        found = reader.alerts()
        with check_project(place.api(), project) as check:
            check(found["alerts"])
        return write_rows([*map(_make_row, found["alerts"])], found, form, _COLUMNS)


@alerts.command("check", epilog=HELP, short_help="Show when a rule would have fired.")
@with_place
@with_project
@click.option(
    "--since",
    default="30d",
    metavar="TIME",
    help="How far to look back: a duration such as 30d, or a start time [30d]",
)
@click.argument("name")
@with_form
def check_alert(asked: PlaceOptions, project: str, *, name: str, since: str, form: Layout) -> int:
    """Show when the rule NAME would have fired in the past. This helps you choose a threshold."""
    with asked.open() as place, place.reader(project) as reader:
        found = reader.check_alert(name, since=since)
        if form.kind == "table":
            click.echo(f"{name}: {found['sentence']}", err=True)
        return write_rows(found["firings"], found, form, _FIRINGS)


@alerts.command("sent", epilog=HELP, short_help="List the notifications sent to receivers.")
@with_place
@with_project
@click.argument("name", default="", metavar="[NAME]")
@with_form
def list_sent(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """List the newest 20 notifications to each receiver.

    NAME is an alert rule. Without it, the notifications of all rules of the project are listed.
    """
    with asked.open() as place, place.reader(project) as reader:
        deliveries = reader.alert_deliveries(name)
        rows = [
            {**sent, "target": target["name"], "kind": target["kind"]}
            for target in deliveries["targets"]
            for sent in target["deliveries"]
        ]
        with check_project(place.api(), project) as check:
            check(rows)
        return write_rows(rows, deliveries, form, _SENT)


@alerts.command("mute", epilog=HELP, short_help="Send no notifications of a rule for a while.")
@with_place
@with_project
@click.option(
    "--where",
    default="",
    metavar="EXPR",
    help="""Mute only these slices, such as 'client == "Remax"' (default: all slices)""",
)
@click.option("--last", default="1d", metavar="LENGTH", help="How long to mute, such as 2h [1d]")
@click.option("--why", default="", metavar="TEXT", help="Reason, shown with the mute")
@click.option(
    "--who", default="", metavar="NAME", help="Who mutes the rule (default: name of your API key)"
)
@click.option(
    "--as",
    "label",
    default="",
    metavar="NAME",
    help="Name of the mute. A later mute with the same name replaces this one",
)
@click.argument("name")
@with_form
def mute_alert(
    asked: PlaceOptions,
    project: str,
    *,
    name: str,
    label: str,
    last: str,
    form: Layout,
    **wanted: str,
) -> int:
    """Send no notifications of the alert rule NAME, or of some of its slices, for a while.

    The rule is still evaluated and shown. A slice is a group of runs with its own alert, such as
    the runs of one client.
    """
    from otel_ml.reader.api import Question  # heavy

    length_ns = read_length(last)
    if length_ns is None:
        raise BadSetting(f"Invalid --last {last!r}: expected a duration such as 2h")
    body = {**wanted, "rule": name, "until": to_rfc3339(time.time_ns() + length_ns)}
    with asked.open() as place:
        path = ("projects", project, "mutes", *([label] if label else []))
        made = place.api().ask(Question(path, method="PUT" if label else "POST", body=body))
        return write_rows([made], made, form, _MUTES)


def _make_row(alert: Mapping[str, Any]) -> dict[str, Any]:
    firing = [part["name"] for part in alert["slices"] if part["state"] == "firing"]
    return {
        **alert,
        "name": alert["rule"]["name"],
        "when": alert["rule"]["when"],
        "state": ", ".join(
            filter(None, (alert["state"], alert["note"], "muted" if alert["is_muted"] else ""))
        ),
        "for": "; ".join(filter(None, firing)),
        "flapping": alert["brief"],
    }


@alerts.command("test", epilog=HELP, short_help="Send a test notification to a receiver.")
@with_place
@click.argument("target", metavar="RECEIVER")
def test_target(asked: PlaceOptions, target: str) -> int:
    """Make the collector send a test notification to a receiver, and print the result.

    RECEIVER is a name in the collector's setting alert_targets. If no collector is running, this
    command sends the notification itself, with the settings from the settings file and the
    environment. An Alertmanager shows the test alert for five minutes.
    """
    from otel_ml.reader.api import Question  # heavy

    with asked.open_collector() as place:
        if place is None:
            tested = _test_here(asked.settings, target)
        else:
            question = Question(("alert-receivers", target, "test"), method="POST", body={})
            tested = place.api(_TRIAL_S).ask(question)
    if tested["trouble"]:
        raise CommandFailed(
            f"The receiver {target} at {tested['host']} did not accept the test notification: "
            f"{tested['trouble']}"
        )
    id_ = tested["notification"]
    sys.stdout.write(f"{target} at {tested['host']} accepted the test notification {id_}\n")
    return DONE


def _test_here(settings: Settings, target: str) -> dict[str, Any]:
    """Send a test notification from this machine, and return the result as a collector does.

    Raises:
        CommandFailed: The settings have no such receiver.
    """
    from otel_ml_collector.alerts.trial import send_trial  # takes 0.1 s

    if not settings.alert_targets:
        raise CommandFailed(
            f"There is no receiver {target[:80]!r}: no collector answers, and the settings here "
            "have none. Choose the collector with --endpoint URL",
            NOT_FOUND,
        )
    try:
        tested = send_trial(settings.alert_targets, target, settings.page_url, time.time_ns())
    except Missing as error:
        raise CommandFailed(str(error), NOT_FOUND) from error
    return tested.model_dump()
