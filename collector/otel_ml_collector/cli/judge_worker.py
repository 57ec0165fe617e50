"""The command ``otel-ml judge-worker``: runs the judges of a collector on another machine."""

import logging
import secrets
import signal
import sys
from typing import Final

import click

from otel_ml_collector.cli.failure import DONE, REFUSED, CommandFailed
from otel_ml_collector.cli.options import Flags, with_settings
from otel_ml_collector.cli.place import read_key_file
from otel_ml_collector.errors import BadSetting, CollectorError, Unavailable
from otel_ml_collector.log import OnceAMinute, start_logging

_ASK_S: Final = 30.0

_logger = logging.getLogger(__name__)


@click.command("judge-worker", short_help="Run rubric judges on another machine.")
@with_settings("judge_connections", "judges", "prices", "log_level", "log_format")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Address of the collector (default: $OTEL_ML_ENDPOINT, or http://localhost:4318)",
)
@click.option(
    "--api-key-file",
    metavar="FILE",
    help="File that contains an API key with the scopes read and ingest (default: the key in "
    "$OTEL_ML_API_KEY)",
)
@click.option(
    "--name",
    default="",
    metavar="NAME",
    help="Unique name of this worker. After a crash, a worker with a name continues at once. A "
    "worker without a name waits a minute",
)
def judge_worker(flags: Flags, endpoint: str | None, api_key_file: str | None, name: str) -> int:
    """Run the rubric judges of a collector on this machine, until you stop the command.

    A rubric judge is a language model that scores runs by written instructions. With a worker, only
    this machine needs the API keys of the language models. To stop the collector itself from
    running judges, set judges = '{"run": false}' in the collector's settings.

    You can start several workers. Each run is still judged once, and the workers share all limits
    and budgets.
    """
    from otel_ml.reader.api import Api  # heavy, like the imports below
    from otel_ml_collector.cli.remote_judges import RemoteJudgeStore
    from otel_ml_collector.judges.job import (
        RUN_EVERY_S,
        JudgeJobOptions,
        JudgeModels,
        RubricJudgeJob,
    )
    from otel_ml_collector.mapping.prices import Prices

    settings = flags.load()
    if not settings.judge_connections:
        raise BadSetting("There is no connection to a language model: set judge_connections")
    start_logging(settings.log_level, settings.log_format)
    api = Api(endpoint, read_key_file(api_key_file), _ASK_S)
    job = RubricJudgeJob(
        RemoteJudgeStore(api),
        JudgeModels(settings.judge_connections, prices=Prices(settings.prices)),
        options=JudgeJobOptions(
            threads=settings.judges.threads, holder=name or f"worker {secrets.token_hex(8)}"
        ),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: job.stopped.set())
    sys.stdout.write(f"otel-ml judge-worker runs the judges of {api.page}\n")
    sys.stdout.flush()
    once = OnceAMinute()
    while not job.stopped.is_set():
        try:
            job.run_pass()
        except Unavailable as error:
            if once.is_due("collector"):
                _logger.warning("Judges cannot run: %s", error)
        except CollectorError as error:  # the key is wrong, or the collector is older
            raise CommandFailed(str(error), REFUSED) from error
        job.stopped.wait(RUN_EVERY_S)
    return DONE
