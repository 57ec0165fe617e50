"""The commands of alerts."""

import sys
import time
from typing import Final

import click

from otel_ml_collector.cli.failure import DONE, HELP, NOT_FOUND, CommandFailed
from otel_ml_collector.cli.options import Flags, with_settings
from otel_ml_collector.errors import suggest

_TRIAL_SETTINGS: Final = ("alert_targets", "public_url", "http", "tls_cert", "tls_key")


@click.group()
def alerts() -> None:
    """Watch rules over figures of runs, and who is told when they fire."""


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
