"""Assembles the collector and runs it: a single event loop for HTTP and gRPC."""

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from grpc import ServerCredentials, ssl_server_credentials
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from otel_ml_collector.alerts.delivery import AlertDelivery
from otel_ml_collector.alerts.evaluation import EVALUATE_S, AlertEvaluator
from otel_ml_collector.alerts.news import find_alert_news
from otel_ml_collector.alerts.receivers import count_rules, find_receivers
from otel_ml_collector.alerts.rule import FileAlert, read_file_alerts
from otel_ml_collector.alerts.series import SeriesUpdater
from otel_ml_collector.alerts.trial import send_trial
from otel_ml_collector.api.problems import add_error_handlers
from otel_ml_collector.api.schema import describe
from otel_ml_collector.api.streams import Places
from otel_ml_collector.assistants import routes as assistants
from otel_ml_collector.assistants.writer import Writing
from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.errors import BadSetting, StoreUnreachable, Unavailable
from otel_ml_collector.evaluations.dataset_turns import Turns
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.records import RecordForward
from otel_ml_collector.judges.filed import FiledJudges
from otel_ml_collector.judges.job import (
    RUN_EVERY_S,
    JudgeJobOptions,
    JudgeModels,
    RubricJudgeJob,
)
from otel_ml_collector.judges.judge_store import LocalJudgeStore
from otel_ml_collector.judges.news import find_judge_news
from otel_ml_collector.judges.rubric_judge import FileRubricJudge, read_file_judges
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.log import going_on
from otel_ml_collector.loss import LossChecker
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.measures.rollup import recompute_due
from otel_ml_collector.monitor.refresher import MonitorRefresher
from otel_ml_collector.problems.news import NewsSources
from otel_ml_collector.project_settings import keys
from otel_ml_collector.project_settings.find import SettingsSources
from otel_ml_collector.project_settings.storage import read_store_state
from otel_ml_collector.queues.find import OpenedRuns
from otel_ml_collector.queues.queue import count_queues
from otel_ml_collector.receive.admission import Quotas
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.receive.health import PROBE_EVERY_S, Health, make_health_routes
from otel_ml_collector.receive.otlp import make_routes, make_server
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.receive.refusals import REFUSALS
from otel_ml_collector.receive.uploads import UploadIntake
from otel_ml_collector.records import Records
from otel_ml_collector.serve.http_server import (
    KEEP_ALIVE_S,
    HttpServer,
    Limits,
    fit_limits,
    grpc_options,
    make_protocol,
)
from otel_ml_collector.serve.launched import LaunchFile
from otel_ml_collector.serve.middleware import BasePath, Compression, Drain, Gate, Guard, Heads
from otel_ml_collector.serve.proxies import Proxies
from otel_ml_collector.serve.read_audit import ReadAudit
from otel_ml_collector.serve.routes import ROUTES
from otel_ml_collector.serve.service_manager import notify_ready, notify_stopping
from otel_ml_collector.serve.waiting import make_waiting_app, report_wait, wait_for_store
from otel_ml_collector.services import Services
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.settings.values import Address, address_here
from otel_ml_collector.store.artifacts import ArtifactWriter
from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.calls import CallResolver, NamedRuns
from otel_ml_collector.store.connection import Connections, Memory
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.keys import KeyStore
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.notifications import NotificationBox
from otel_ml_collector.store.outbox import Outbox
from otel_ml_collector.store.predictions import keep_due
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.repair import Repair
from otel_ml_collector.store.retention import Days, Purger, Retention
from otel_ml_collector.store.runs import find_experiment_traces
from otel_ml_collector.store.sketches import SketchJob
from otel_ml_collector.store.sql import StoreClient
from otel_ml_collector.store.tables import warm_up
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.store.writer import Probe, Writer
from otel_ml_collector.telemetry.runs import RunNumbers
from otel_ml_collector.telemetry.series import ComputedSeries
from otel_ml_collector.telemetry.service import (
    MEDIA_TYPE,
    AlertPassNumbers,
    AlertSendNumbers,
    LossNumbers,
    OtlpForwardNumbers,
    RecordNumbers,
    StoreNumbers,
    Telemetry,
)
from otel_ml_collector.times import SECOND_NS
from otel_ml_collector.traces.live import Listening, LivePace
from otel_ml_collector.traces.objects import ArtifactEndpoint
from otel_ml_collector.web.render import Assets, show_problem
from otel_ml_collector.web.shared_file import FileLog

_DRAIN_S: Final = 10
# Seconds that the gRPC server waits for open calls at the end. Complete uploads have been answered
# by then.
_CALLS_S: Final = 1
# Seconds until a failed job runs again, at most.
_RETRY_S: Final = 60.0
# Seconds between two runs of a job while nothing is written. Results change even then: a day ends,
# or spans become older than 24 hours.
_DAYS_S: Final = 3_600.0
_LOSSES_S: Final = 600.0
# Number of threads for background jobs; each runs one lane at a time.
_JOBS_AT_ONCE: Final = 6
# Seconds from the signal to the forced end. Many service managers kill after 10 s.
_END_S: Final = 9.5
# Seconds of shutdown for sending the forwarding queue.
_FORWARD_S: Final = 2
_READ_THREADS: Final = 8
_BACKLOG: Final = 1024
# How far the clocks of other collectors at the same store may be behind this one's.
_OVERLAP_NS: Final = 5 * SECOND_NS

# New objects between two garbage collections: as many as about 30 requests create.
_GC_OBJECTS: Final = 100_000
# Seconds that the event loop waits for a busy thread to yield the GIL. Python's default is 5 ms.
_SWITCH_S: Final = 0.001

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """The parts of a running collector, in the order in which they stop."""

    pipeline: Intake
    uploads: UploadIntake
    commit: Commit
    reader: Reader
    connections: Connections
    telemetry: Telemetry
    health: Health
    keyring: Keyring
    quotas: Quotas
    prices: Prices
    losses: LossChecker
    runs: RunNumbers
    calls: CallResolver
    deleter: Deleter
    retention: Retention
    purger: Purger
    backups: Backups
    clocks: ClockTracker
    record_forwards: Sequence[RecordForward]
    otlp_forward: OtlpForward
    alert_delivery: AlertDelivery
    alert_evaluator: AlertEvaluator | None
    judge_store: LocalJudgeStore
    filed_judges: FiledJudges
    rubric_judges: RubricJudgeJob
    series: SeriesUpdater
    monitors: MonitorRefresher

    def send_away(self) -> None:
        """Refuse new requests and report not ready. Requests in progress are still answered."""
        notify_stopping()
        self.health.drain()
        self.pipeline.send_away()

    def close(self, jobs: Executor | None = None) -> None:
        """Store the received requests, then close the store.

        Args:
            jobs: The threads of background jobs, which end at their next statement.
        """
        self.pipeline.close()
        self.rubric_judges.close()
        self.otlp_forward.close(_FORWARD_S)
        self.uploads.close()
        self.commit.close(_DRAIN_S)
        for forward in self.record_forwards:
            forward.close()
        self.alert_delivery.close()
        self.connections.refuse()
        self.deleter.close()
        if jobs is not None:
            jobs.shutdown()
        self.reader.close()
        self.connections.close()


def open_collector(settings: Settings) -> Collector:
    """Open the store and start the threads that write to it.

    Raises:
        StoreUnreachable: The store does not answer.
        BadSetting: The settings or the store are wrong.
    """
    receivers = {target.name for target in settings.alert_targets}
    file_alerts = read_file_alerts(settings.alert, receivers)
    file_judges = read_file_judges(
        settings.judge, settings.judge_connections, Prices(settings.prices)
    )
    connections = connect(settings.store)
    try:
        collector = _assemble(settings, connections, file_alerts, file_judges)
    except Unavailable as error:
        connections.close()
        text = f"The store at {connections.name} cannot be opened: {error}"
        raise StoreUnreachable(text) from error
    except BaseException:
        connections.close()
        raise
    collector.health.probe()
    return collector


def _assemble(
    settings: Settings,
    connections: Connections,
    file_alerts: Sequence[FileAlert],
    file_judges: Sequence[FileRubricJudge],
) -> Collector:
    """Build the collector's parts on an open store.

    Raises:
        Unavailable: The store no longer answers.
    """
    keyring = Keyring(
        KeyStore(connections),
        required=settings.require_keys or bool(settings.auth_header),
        session_secret=settings.session_secret,
    )
    tombstones = Tombstones(connections)
    deleter = Deleter(connections, tombstones)
    deleter.resume()
    reader = Reader(connections, settings.margins)
    telemetry, losses = Telemetry(), LossNumbers()
    calls = CallResolver(connections, settings.collector_name, tombstones)
    runs = RunNumbers(
        settings.metrics_tags,
        lambda project, kind, names: version_numbers(reader, project, kind, names),
        calls.resolve,
        lambda project, traces: find_experiment_traces(reader, project, traces),
    )
    sent, forwarded, alerted = RecordNumbers(), OtlpForwardNumbers(), AlertSendNumbers()
    sizes = StoreNumbers(
        lambda: read_store_state(reader), connections.folder, lambda: calls.behind_s
    )
    series = ComputedSeries()
    for numbers in (runs, losses, sent, forwarded, alerted, sizes, series):
        telemetry.register(numbers)
    health = Health(Probe(connections), connections.folder, settings.min_free_disk_bytes)
    writer = Writer(connections, tombstones=tombstones, collector=settings.collector_name)

    def note(records: Records) -> None:
        runs.count(records, calls.note(records, writer.stamped_ns or 0))

    commit = Commit(
        health.watch(writer.write),
        telemetry,
        prepare=warm_up,
        on_stored=note,
        count_deletions=lambda: tombstones.generation,
        collect_s=settings.collect_ms / 1e3,
    )
    quotas = Quotas(on_refused=telemetry.count_quota_refusal)
    otlp_forward = OtlpForward(settings.forward_otlp, forwarded)
    clocks, prices = ClockTracker(), Prices(settings.prices)
    telemetry.watch_clock(lambda: clocks.behind_s, lambda: clocks.ahead_s)
    pipeline = Intake(
        commit,
        telemetry,
        quotas,
        otlp_forward if settings.forward_otlp else None,
        prices,
        by_service=settings.project_from == "service.name",
        refuses_metrics=settings.metrics == "refuse",
        clocks=clocks,
    )
    boxes = [
        (target, Outbox(connections, target.name, settings.collector_name))
        for target in settings.forward_records
    ]
    alert_delivery = AlertDelivery(
        settings.alert_targets,
        NotificationBox(connections),
        alerted,
        public_url=settings.page_url,
    )
    days = Days(settings.keep_records_days, settings.keep_payloads_days)
    retention = Retention(connections, days, clocks=clocks)
    alert_evaluator = None
    if settings.alerts.evaluate:  # else another collector evaluates the rules
        alert_delivery.start()
        alert_evaluator = AlertEvaluator(
            reader,
            connections,
            alert_delivery,
            file_alerts,
            trusts_clock=lambda: retention.trusts_clock,
        )
        passes = AlertPassNumbers(lambda: alert_evaluator.numbers)
        telemetry.register(passes)
    documents = Documents(connections)
    judge_store = LocalJudgeStore(
        reader,
        documents,
        pipeline.store_own,
        settings.judge_redact,
        settings.judges.quiet_s,
        settings.judges.session_quiet_s,
    )
    rubric_judges = RubricJudgeJob(
        judge_store,
        JudgeModels(settings.judge_connections, settings.judge_redact, prices),
        options=_judge_options(settings),
        is_busy=lambda: pipeline.pressure.was_high,
    )
    filed_judges = FiledJudges(reader, documents, file_judges, is_owner=settings.judges.run)
    return Collector(
        pipeline=pipeline,
        uploads=UploadIntake(ArtifactWriter(connections), telemetry, check_room=health.check_room),
        commit=commit,
        reader=reader,
        connections=connections,
        telemetry=telemetry,
        health=health,
        keyring=keyring,
        quotas=quotas,
        prices=prices,
        losses=LossChecker(reader, losses, settings.sampled_projects),
        runs=runs,
        calls=calls,
        deleter=deleter,
        retention=retention,
        purger=Purger(connections),
        backups=Backups(connections, tombstones),
        record_forwards=[
            RecordForward(target, outbox, lambda: writer.stamped_ns, sent)
            for target, outbox in boxes
        ],
        clocks=clocks,
        otlp_forward=otlp_forward,
        alert_delivery=alert_delivery,
        alert_evaluator=alert_evaluator,
        judge_store=judge_store,
        filed_judges=filed_judges,
        rubric_judges=rubric_judges,
        series=SeriesUpdater(reader, series),
        monitors=MonitorRefresher(reader, lambda: pipeline.pressure.was_high),
    )


def _judge_options(settings: Settings) -> JudgeJobOptions:
    """Choose how rubric judges run, and the name of this collector in their leases."""
    judges = settings.judges
    options = JudgeJobOptions(is_on=judges.run, threads=judges.threads)
    # An embedded store has only one collector. With a fixed name, it takes over the leases of an
    # earlier process that has ended.
    holder = "embedded" if settings.data_dir else settings.collector_name
    return replace(options, holder=holder) if holder else options


def _keep_temporary_files(folder: Path) -> None:
    """Keep temporary files of inserts private, on the store's disk, and remove leftover ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


def make_app(collector: Collector, settings: Settings) -> FastAPI:
    """Return the HTTP application: OTLP, API, pages, health."""
    app = FastAPI(title="otel-ml", version="1", docs_url=None, redoc_url=None)
    app.state.services = _services(collector, settings)
    app.router.routes += make_routes(collector.pipeline, collector.telemetry, settings.cors_origins)
    app.router.routes += ROUTES
    if not settings.no_mcp:
        writing = None
        if settings.mcp_writes:
            writing = Writing(collector.pipeline, app.state.services.find(Turns))
        route = assistants.make_route(
            collector.reader, collector.telemetry, collector.pipeline.pressure, writing
        )
        app.router.routes.append(route)
    app.mount("/static", Assets())
    add_error_handlers(app, show_problem)
    describe(app)

    def metrics(request: Request) -> Response:
        return Response(collector.telemetry.render(), media_type=MEDIA_TYPE)

    app.router.routes += make_health_routes(
        collector.health, collector.clocks, lambda: collector.retention.warning
    )
    app.add_route("/metrics", metrics)
    if settings.audit_reads:
        app.add_middleware(ReadAudit, connections=collector.connections)
    app.add_middleware(Heads)
    app.add_middleware(Compression)
    app.add_middleware(
        Gate,
        keyring=collector.keyring,
        metrics_open=settings.metrics_open,
        users=settings.auth_access,
    )
    is_open = not settings.http.is_loopback and not settings.allowed_hosts
    app.add_middleware(
        Guard,
        allowed_hosts=None if is_open else settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )
    app.add_middleware(BasePath, path=settings.base_path)
    app.add_middleware(
        Proxies, settings=settings, count_refusal=collector.telemetry.count_user_refusal
    )
    app.add_middleware(Drain)
    return app


def _services(collector: Collector, settings: Settings) -> Services:
    """Return the services that routes and pages use."""
    # The clocks of other collectors at the same server may be behind, so live pages read a few
    # seconds back.
    pace = LivePace(overlap_ns=0 if settings.data_dir else _OVERLAP_NS)
    return Services(
        settings,
        *(getattr(collector, field.name) for field in fields(collector)),
        Documents(collector.connections),
        FileLog(collector.connections),
        NamedRuns(collector.connections),
        Listening(collector.reader, pace),
        Places(),
        OpenedRuns(),
        Turns(collector.connections),
        NewsSources((find_alert_news, find_judge_news)),
        SettingsSources(
            find_receivers,
            send_trial,
            {"alert rule": count_rules, "labelling queue": count_queues},
        ),
        keys.Attempts(),
        ArtifactEndpoint(
            collector.uploads, collector.telemetry, collector.quotas, settings.artifact_limit_bytes
        ),
    )


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """A job that runs repeatedly in the background.

    Attributes:
        do: Runs the job once.
        every_s: Seconds between two runs.
        trouble: Start of the log line if the job fails; the reason follows.
        first_s: Seconds until the first run.
        has_work: Returns whether there is anything to do. Called on the event loop, so that an idle
            collector wakes no thread.
    """

    do: Callable[[], object]
    every_s: float
    trouble: str
    first_s: float = 0.0
    has_work: Callable[[], bool] = lambda: True


class AfterWrites:
    """Decides whether a background job has to run now.

    While the store changes, the job runs each time. Otherwise, it runs every `seldom_s` seconds.

    Args:
        is_changing: Returns whether the store may be changing: this process wrote to it recently,
            or other processes can write to it.
        seldom_s: Seconds between two runs while the store does not change.
        clock: Returns a monotonic time in seconds.
    """

    def __init__(
        self, is_changing: Callable[[], bool], seldom_s: float, clock: Callable[[], float]
    ) -> None:
        self._is_changing = is_changing
        self._seldom_s = seldom_s
        self._clock = clock
        self._due_s = clock()

    def __call__(self) -> bool:
        """Return whether to run the job now. If so, it counts as run."""
        now_s = self._clock()
        if not self._is_changing() and now_s < self._due_s:
            return False
        self._due_s = now_s + self._seldom_s
        return True


class Lane:
    """Runs its jobs one after the other. Jobs of other lanes do not delay them.

    Args:
        duties: The jobs. Jobs that are due at the same time run in this order.
        clock: Returns a monotonic time in seconds.
    """

    def __init__(self, *duties: BackgroundJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now_s = clock()
        self._due_s = {job: now_s + job.first_s for job in duties}
        self._is_ending = False

    def skip_idle(self) -> bool:
        """Postpone the due jobs that have nothing to do; return whether a job has to run."""
        now_s = self._clock()
        due = [job for job, due_s in self._due_s.items() if due_s <= now_s]
        idle = [job for job in due if not job.has_work()]
        for job in idle:
            self._due_s[job] = now_s + job.every_s
        return len(idle) < len(due)

    def next_s(self) -> float:
        """Return the seconds until the next job is due."""
        return max(min(self._due_s.values()) - self._clock(), 0.0)

    def run(self) -> None:
        """Run the jobs that are due.

        A failed job runs again after a minute at the latest. It does not stop the others.
        """
        for job, due_s in self._due_s.items():
            now_s = self._clock()
            if now_s < due_s or self._is_ending:
                continue
            wait_s = min(job.every_s, _RETRY_S)
            with going_on(partial(self._report, job.trouble)):
                job.do()
                wait_s = job.every_s
            self._due_s[job] = now_s + wait_s

    def end(self) -> None:
        """Start no further job. The job in progress may fail without a line in the log."""
        self._is_ending = True

    async def run_for_ever(self, jobs: Executor) -> None:
        """Run the jobs on the executor's threads until cancelled."""
        while True:
            if self.skip_idle():
                await asyncio.get_running_loop().run_in_executor(jobs, self.run)
            await asyncio.sleep(self.next_s())

    def _report(self, trouble: str, error: Exception) -> None:
        if not self._is_ending:
            _logger.warning("%s: %s", trouble, error)


@contextmanager
def running(lanes: Sequence[Lane], jobs: Executor) -> Iterator[None]:
    """Run background jobs on other threads, for as long as the `with` block runs.

    Args:
        lanes: Groups of background jobs. The jobs of a group run one after the other, and different
            groups run at the same time.
        jobs: The thread pool for the jobs. Do not pass the default one of the event loop, because
            the event loop waits for its threads when it ends.
    """
    tasks = [asyncio.create_task(lane.run_for_ever(jobs)) for lane in lanes]
    try:
        yield
    finally:
        for lane in lanes:
            lane.end()
        for task in tasks:
            task.cancel()


def make_lanes(collector: Collector, clock: Callable[[], float] = time.monotonic) -> Sequence[Lane]:
    """Make the lanes of a collector's background jobs. Jobs of a lane run one after another."""
    rollup = collector.connections.open()
    # Only this process changes the keys in a data directory, so it rereads them rarely.
    keys_s = 2.0 if collector.connections.folder is None else 60.0
    disorder = "Replaced files of the store could not be removed"
    unwritten = "Failed writes could not be repaired"

    def is_changing() -> bool:
        return collector.connections.folder is None or collector.connections.may_be_merging()

    def after_writes(seldom_s: float) -> AfterWrites:
        return AfterWrites(is_changing, seldom_s, clock)

    lanes = (
        # If another collector at the same store revokes a key, the key stops working here within
        # 3 s, and its streams end.
        (
            BackgroundJob(
                collector.keyring.refresh, keys_s, "API keys could not be reloaded", first_s=keys_s
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.losses.run_pass(time.time_ns()),
                60.0,
                "Missing spans could not be counted",
                has_work=after_writes(_LOSSES_S),
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.series.run_pass(time.time_ns()),
                30.0,
                "Metrics of drift, slices, ground truth and experiments could not be computed",
                first_s=30.0,
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.monitors.run_pass(time.time_ns()),
                30.0,
                "Pages of Monitor could not be prefetched",
                first_s=30.0,
            ),
        ),
        *(
            (
                (
                    BackgroundJob(
                        evaluator.evaluate,
                        EVALUATE_S,
                        "Alert rules could not be evaluated",
                        first_s=5.0,
                        has_work=lambda: evaluator.numbers.rules > 0 or is_changing(),
                    ),
                ),
            )
            if (evaluator := collector.alert_evaluator)
            else ()
        ),
        (
            BackgroundJob(
                collector.filed_judges.save,
                RUN_EVERY_S,
                "The judges of the configuration file could not be saved",
                has_work=collector.filed_judges.has_work,
            ),
            BackgroundJob(
                collector.rubric_judges.run_pass,
                RUN_EVERY_S,
                "Rubric judges could not run",
                first_s=RUN_EVERY_S,
                has_work=collector.rubric_judges.has_work,
            ),
        ),
        # Counts runs once it is known whether another run records the same call.
        (
            BackgroundJob(
                collector.runs.count_pending,
                0.25,
                "New runs are not counted in /metrics yet. The collector retries; if this line "
                "repeats, check the disk and the store. Reason",
                has_work=lambda: collector.runs.has_pending() or collector.calls.has_work(),
            ),
        ),
        # Probes the store only after a failed write.
        (
            BackgroundJob(
                collector.health.probe,
                PROBE_EVERY_S,
                "The store could not be checked",
                has_work=collector.health.has_trouble,
            ),
        ),
        # Every 2 s, long before the store removes the intact files that a repair needs.
        (
            BackgroundJob(
                Repair(collector.connections).run_pass,
                2.0,
                unwritten,
                first_s=2.0,
                has_work=collector.connections.may_be_merging,
            ),
        ),
        # Only speeds up statistics: without the totals they are correct but slow.
        (
            BackgroundJob(
                lambda: _roll_up(rollup, collector.connections.memory),
                30.0,
                "Daily totals could not be computed",
                has_work=after_writes(_DAYS_S),
            ),
            BackgroundJob(
                SketchJob(rollup, collector.connections.memory, clock).run,
                30.0,
                "Sketches of fields could not be computed",
                has_work=after_writes(_DAYS_S),
            ),
            BackgroundJob(
                lambda: keep_due(rollup, clock),
                30.0,
                "Predictions could not be materialized",
                has_work=after_writes(_DAYS_S),
            ),
        ),
        (
            BackgroundJob(
                lambda: _delete_unnamed(collector),
                3_600.0,
                "Artifacts that no record refers to could not be deleted",
                first_s=60.0,  # after the first pass of retention, which checks the clock
            ),
        ),
        (
            BackgroundJob(
                collector.deleter.complete,
                60.0,
                disorder,
                has_work=collector.deleter.may_be_undone,
            ),
            BackgroundJob(lambda: _delete_old(collector.retention), 3_600.0, disorder),
            BackgroundJob(lambda: _go_on(collector.retention), 5.0, disorder, first_s=5.0),
            BackgroundJob(collector.purger.purge, 86_400.0, disorder, first_s=86_400.0),
        ),
    )
    return [Lane(*duties, clock=clock) for duties in lanes]


def _roll_up(client: StoreClient, memory: Memory) -> None:
    days = recompute_due(client, memory)
    if days:
        _logger.debug("Daily totals were computed for %d days", days)


def _delete_old(retention: Retention) -> None:
    swept = retention.sweep()
    if swept.error:
        _logger.warning("%s", swept.error)
    if swept.rows:
        rows = ", ".join(f"{table} {number}" for table, number in swept.rows.items())
        _logger.info("Retention deleted rows: %s", rows)


def _go_on(retention: Retention) -> None:
    """Delete old records again as soon as there is evidence that the clock is right."""
    if retention.can_go_on():
        _logger.info("Retention deletes old data again: the clock is right")
        _delete_old(retention)


def _delete_unnamed(collector: Collector) -> None:
    if collector.retention.trusts_clock:
        collector.uploads.sweep()


def serve(settings: Settings, launch_file: LaunchFile | None = None) -> int:
    """Run the collector until SIGTERM or SIGINT; returns the exit status.

    Args:
        settings: The settings.
        launch_file: If given, the collector also stops when no other process uses it.

    Raises:
        StoreUnreachable: The store did not answer in time.
        BadSetting: The collector cannot start with these settings.
    """
    # Keep running when the terminal or the service manager that started the collector closes.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    limits = fit_limits(Limits(settings.max_connections, settings.request_timeout_s))
    listener = _listen(settings.http)
    try:
        collector: Collector | None = open_collector(settings)
    except StoreUnreachable as error:
        if not settings.store_wait_s:
            raise
        report_wait(error, settings.store_wait_s)
        collector = uvloop.run(_wait_for_store(settings, listener, limits))
    if collector is None:  # a signal ended the process while it waited
        return 0
    if collector.connections.folder is not None:
        _keep_temporary_files(collector.connections.folder / "tmp")
    jobs = ThreadPoolExecutor(_JOBS_AT_ONCE, "job")
    try:
        _refuse_open_address(settings, collector.keyring)
        uvloop.run(_serve(settings, listener, collector, limits, jobs, launch_file=launch_file))
    finally:
        collector.close(jobs)
        REFUSALS.close()
    _logger.info("Stopped. Everything that was acknowledged is stored")
    return 0


def _end_in_time() -> None:
    """End this process before a service manager kills it, even if work is left.

    By then all requests are answered. If a long statement of the store is interrupted, such as a
    purge, it resumes at the next start.
    """

    def end() -> None:
        _logger.warning("Background work is interrupted. It resumes at the next start")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)

    timer = threading.Timer(_END_S, end)
    timer.daemon = True
    timer.start()


async def _wait_for_store(
    settings: Settings, listener: socket.socket, limits: Limits
) -> Collector | None:
    server = HttpServer(_http_config(make_waiting_app(), settings, limits))
    _stop_on_signals(server)
    return await wait_for_store(
        partial(open_collector, settings), server, listener, settings.store_wait_s
    )


async def _serve(
    settings: Settings,
    listener: socket.socket,
    collector: Collector,
    limits: Limits,
    jobs: Executor,
    *,
    launch_file: LaunchFile | None,
) -> None:
    current_default_thread_limiter().total_tokens = _READ_THREADS
    grpc_server, grpc_port = make_server(
        collector.pipeline,
        collector.telemetry,
        str(settings.grpc),
        collector.keyring.find,
        _grpc_credentials(settings),
        limits=grpc_options(limits),
    )
    await grpc_server.start()
    app = make_app(collector, settings)
    http = Address(settings.http.host, listener.getsockname()[1])
    grpc_address = Address(settings.grpc.host, grpc_port)
    scheme = "https" if settings.tls_cert else "http"
    here = f"{scheme}://{address_here(http)}"
    collector.connections.note_address(here)

    def report_ready() -> None:
        _print_ready(settings, scheme, http, grpc_address, collector)
        if launch_file is not None:
            launch_file.announce(here)
            launch_file.stop_when_unused()

    def send_away() -> None:
        _logger.info("Stopping: requests in progress are finished, new ones are refused")
        _end_in_time()
        collector.send_away()
        app.state.services.find(Listening).end()

    http_server = HttpServer(
        _http_config(app, settings, limits),
        when_ready=report_ready,
        send_away=send_away,
        until_idle=collector.pipeline.until_idle,
    )
    _stop_on_signals(http_server)
    _tune_interpreter()
    with running(make_lanes(collector), jobs):
        await http_server.serve(sockets=[listener])
    await grpc_server.stop(_CALLS_S)


def _grpc_credentials(settings: Settings) -> ServerCredentials | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ssl_server_credentials([(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())])


def _http_config(app: ASGIApp, settings: Settings, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `Proxies` reads these headers
        timeout_keep_alive=KEEP_ALIVE_S,
        http=make_protocol(limits),
        ws="none",
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _stop_on_signals(server: HttpServer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise BadSetting(
            f"The HTTP address {address} cannot be used ({error.strerror}): probably "
            "another otel-ml, OpenTelemetry collector or Jaeger listens there; choose a different "
            "one with --http HOST:PORT"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _refuse_open_address(settings: Settings, keyring: Keyring) -> None:
    """Refuse to listen beyond loopback without keys, unless a setting allows it."""
    for address in (settings.http, settings.grpc):
        if not (address.is_loopback or keyring.is_on or settings.insecure):
            raise BadSetting(
                f"Listening at {address} without keys would let anyone who can connect read and "
                "write: create a key with 'otel-ml keys add', listen on 127.0.0.1, or use "
                "--insecure"
            )


def _tune_interpreter() -> None:
    """Collect garbage rarely, because spans and records have no cycles; switch threads often."""
    gc.freeze()  # no collection first: it would take 0.13 s and free less than 1 MB
    gc.set_threshold(_GC_OBJECTS)
    gc.enable()
    sys.setswitchinterval(_SWITCH_S)


def _print_ready(
    settings: Settings, scheme: str, http: Address, grpc: Address, collector: Collector
) -> None:
    who = "every user on this machine" if http.is_loopback else f"everyone who reaches {http}"
    if not collector.keyring.is_on:
        _logger.warning("There are no keys: %s can read and write", who)
    if settings.data_dir is None and not settings.session_secret:
        _logger.warning(
            "session_secret is not set: users of the web pages must sign in again when this "
            "collector restarts, and at every other collector of this ClickHouse server"
        )
    try:
        collector.health.check_room()
    except Unavailable as error:
        _logger.warning(
            "No data is accepted: %s. Free some disk space, or lower min_free_disk_bytes. Until "
            "then senders get 503 and should retry",
            error,
        )
    sys.stdout.write(f"otel-ml is ready: {scheme}://{http} (pages, API, OTLP), gRPC {grpc}\n")
    sys.stdout.flush()
    notify_ready()
