"""Assembles the collector: its parts, its application and its services."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from otel_ml_collector.alerts.news import find_alert_news
from otel_ml_collector.alerts.receivers import count_rules, find_receivers
from otel_ml_collector.alerts.rule import FileAlert, read_file_alerts
from otel_ml_collector.alerts.topic import AlertParts
from otel_ml_collector.alerts.trial import send_trial
from otel_ml_collector.api.problems import add_error_handlers
from otel_ml_collector.api.schema import describe
from otel_ml_collector.api.streams import Places
from otel_ml_collector.assistants import routes as assistants
from otel_ml_collector.assistants.writer import Writing
from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.errors import StoreUnreachable, Unavailable
from otel_ml_collector.evaluations.dataset_turns import Turns
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.forward.records import RecordForward
from otel_ml_collector.judges.news import find_judge_news
from otel_ml_collector.judges.rubric_judge import FileRubricJudge, read_file_judges
from otel_ml_collector.judges.topic import JudgeParts
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.loss import LossChecker
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.monitor.refresher import MonitorRefresher
from otel_ml_collector.problems.news import NewsSources
from otel_ml_collector.project_settings.find import SettingsSources
from otel_ml_collector.project_settings.storage import read_store_state
from otel_ml_collector.queues.queue import count_queues
from otel_ml_collector.receive.admission import Quotas
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.receive.health import Health, make_health_routes
from otel_ml_collector.receive.otlp import make_routes
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.receive.uploads import UploadIntake
from otel_ml_collector.records import Records
from otel_ml_collector.serve.middleware import BasePath, Compression, Drain, Gate, Guard, Heads
from otel_ml_collector.serve.proxies import Proxies
from otel_ml_collector.serve.read_audit import ReadAudit
from otel_ml_collector.serve.routes import ROUTES, TOPICS
from otel_ml_collector.serve.service_manager import notify_stopping
from otel_ml_collector.services import Services
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.artifacts import ArtifactWriter
from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.calls import CallResolver, NamedRuns
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.keys import KeyStore
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.outbox import Outbox
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Days, Purger, Retention
from otel_ml_collector.store.runs import find_experiment_traces
from otel_ml_collector.store.tables import warm_up
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.store.writer import Probe, Writer
from otel_ml_collector.telemetry.runs import RunNumbers
from otel_ml_collector.telemetry.service import (
    MEDIA_TYPE,
    LossNumbers,
    OtlpForwardNumbers,
    RecordNumbers,
    StoreNumbers,
    Telemetry,
)
from otel_ml_collector.web.render import Assets, show_problem
from otel_ml_collector.web.shared_file import FileLog

_DRAIN_S: Final = 10
# Seconds of shutdown for sending the forwarding queue.
_FORWARD_S: Final = 2


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
    alerts: AlertParts
    judges: JudgeParts
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
        self.judges.job.close()
        self.otlp_forward.close(_FORWARD_S)
        self.uploads.close()
        self.commit.close(_DRAIN_S)
        for forward in self.record_forwards:
            forward.close()
        self.alerts.delivery.close()
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
    sent, forwarded = RecordNumbers(), OtlpForwardNumbers()
    sizes = StoreNumbers(
        lambda: read_store_state(reader),
        connections.folder,
        lambda: calls.behind_s,
        connections.memory.updates.count_waiting,
    )
    for numbers in (runs, losses, sent, forwarded, sizes):
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
    days = Days(settings.keep_records_days, settings.keep_payloads_days)
    retention = Retention(connections, days, clocks=clocks)
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
        alerts=AlertParts.open(
            settings,
            reader,
            connections,
            telemetry=telemetry,
            retention=retention,
            file_alerts=file_alerts,
        ),
        judges=JudgeParts.open(
            settings, reader, connections, pipeline=pipeline, prices=prices, file_judges=file_judges
        ),
        monitors=MonitorRefresher(reader, lambda: pipeline.pressure.was_high),
    )


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
    services = Services(
        settings,
        *(getattr(collector, field.name) for field in fields(collector)),
        Documents(collector.connections),
        FileLog(collector.connections),
        NamedRuns(collector.connections),
        Places(),
        NewsSources((find_alert_news, find_judge_news)),
        SettingsSources(
            find_receivers,
            send_trial,
            {"alert rule": count_rules, "labelling queue": count_queues},
        ),
    )
    for topic in TOPICS:
        for part in topic.make_services(services):
            services.put(part)
    return services
