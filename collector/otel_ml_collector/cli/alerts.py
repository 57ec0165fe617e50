"""The commands of alerts."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import DONE, HELP, NOT_FOUND, CommandFailed
from otel_ml_collector.cli.options import Flags, with_settings
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting, suggest
from otel_ml_collector.times import read_length, to_rfc3339

_COLUMNS: Final = ("state", "name", "when", "for", "since", "fired", "brief", "reason")
_FIRINGS: Final = ("start", "end", "hours", "slice", "worst")
_SENT: Final = (
    *("target", "kind", "rule", "status", "state", "tries"),
    *("changed_time", "delivered_time", "trouble"),
)
_MUTES: Final = ("name", "version", "rule", "where", "until", "who", "why")
_TRIAL_SETTINGS: Final = ("alert_targets", "public_url", "http", "tls_cert", "tls_key")


@click.group()
def alerts() -> None:
    """Watch rules over figures of runs, and who is told when they fire."""


@alerts.command("list", epilog=HELP)
@with_place
@with_project
@with_form
def list_alerts(asked: PlaceOptions, project: str, *, form: Layout) -> int:
    """List the rules of a project with their states, the worst first."""
    with asked.open() as place, place.reader(project) as reader:
        found = reader.alerts()
        with check_project(place.api(), project) as check:
            check(found["alerts"])
        return write_rows([*map(_make_row, found["alerts"])], found, form, _COLUMNS)


@alerts.command("check", epilog=HELP, short_help="say when a rule would have fired")
@with_place
@with_project
@click.option("--since", default="30d", metavar="TIME", help="such as 30d, or a time [30d]")
@click.argument("name")
@with_form
def check_alert(asked: PlaceOptions, project: str, *, name: str, since: str, form: Layout) -> int:
    """Say when a rule would have fired, as it is now: the way to choose a threshold."""
    with asked.open() as place, place.reader(project) as reader:
        found = reader.check_alert(name, since=since)
        if form.kind == "table":
            click.echo(
                f"{name}: would have fired {found['fired']:,} times in {found['windows']:,} "
                f"windows since {found['start']}, {found['brief']:,} of these for an hour at most",
                err=True,
            )
        return write_rows(found["firings"], found, form, _FIRINGS)


@alerts.command("sent", epilog=HELP, short_help="list notifications of targets")
@with_place
@with_project
@click.argument("name", default="", metavar="[NAME]")
@with_form
def list_sent(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """List the newest 20 notifications of each target, of all rules of a project or of one."""
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


@alerts.command("mute", epilog=HELP, short_help="send nothing of a rule for a while")
@with_place
@with_project
@click.option("--where", default="", metavar="EXPR", help="""such as 'client == "Remax"' [all]""")
@click.option("--last", default="1d", metavar="LENGTH", help="for how long, such as 2h [1d]")
@click.option("--why", default="", metavar="TEXT", help="said beside it")
@click.option("--who", default="", metavar="NAME", help="who wants it [the name of the key]")
@click.option("--as", "label", default="", metavar="NAME", help="save the mute of this name again")
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
    """Send nothing of a rule, or of some of its slices, for a while; it is shown all the same.

    With --as a mute has that name; saved again it takes the place of the earlier one.
    """
    from otel_ml.reader.api import Question  # heavy

    length_ns = read_length(last)
    if length_ns is None:
        raise BadSetting(f"Invalid --last {last!r}: expected a length of time such as 2h")
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
        "state": f"{alert['state']}, muted" if alert["is_muted"] else alert["state"],
        "for": "; ".join(filter(None, firing)),
    }


@alerts.command("test", epilog=HELP, short_help="send a trial to a target of the settings")
@click.argument("target", metavar="TARGET")
@with_settings(*_TRIAL_SETTINGS)
def test_target(flags: Flags, target: str) -> int:
    """Send a trial to a target of the settings, from this machine, and say what it answers.

    An Alertmanager lets the trial end after five minutes.
    """
    from otel_ml_collector.alerts.messages import make_alert_request
    from otel_ml_collector.alerts.sender import Undelivered, post
    from otel_ml_collector.alerts.trial import make_trial

    settings = flags.load()
    targets = {known.name: known for known in settings.alert_targets}
    if target not in targets:
        message = f"There is no target {target[:80]!r} in the settings: {suggest(target, targets)}"
        raise CommandFailed(message, NOT_FOUND)
    there = targets[target]
    now_ns = time.time_ns()
    trial = make_trial(target, now_ns)
    try:
        post(there, make_alert_request(there, trial, settings.page_url, now_ns))
    except Undelivered as error:
        raise CommandFailed(f"{target} at {there.host} has not taken the trial: {error}") from error
    sys.stdout.write(f"{target} at {there.host} has taken the trial {trial.id}\n")
    return DONE
