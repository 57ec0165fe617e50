"""Alerts: what this topic adds to the application."""

from collections.abc import Sequence
from dataclasses import dataclass

from otel_ml_collector.alerts import pages, routes
from otel_ml_collector.alerts.delivery import AlertDelivery
from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.rule import FileAlert
from otel_ml_collector.alerts.series import SeriesUpdater
from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.services import Topic
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.notifications import NotificationBox
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention
from otel_ml_collector.telemetry.series import ComputedSeries
from otel_ml_collector.telemetry.service import AlertPassNumbers, AlertSendNumbers, Telemetry


@dataclass(frozen=True, slots=True)
class AlertParts:
    """The parts of a collector that evaluate alert rules and send alerts.

    Attributes:
        delivery: Sends alerts to receivers.
        evaluator: Evaluates the rules. None if another collector does.
        series: Computes the series of rules for `/metrics`.
    """

    delivery: AlertDelivery
    evaluator: AlertEvaluator | None
    series: SeriesUpdater

    @classmethod
    def open(
        cls,
        settings: Settings,
        reader: Reader,
        connections: Connections,
        *,
        telemetry: Telemetry,
        retention: Retention,
        file_alerts: Sequence[FileAlert],
    ) -> "AlertParts":
        """Make the parts, and start to send alerts if this collector evaluates the rules."""
        sent, series = AlertSendNumbers(), ComputedSeries()
        telemetry.register(sent)
        telemetry.register(series)
        delivery = AlertDelivery(
            settings.alert_targets,
            NotificationBox(connections),
            sent,
            public_url=settings.page_url,
        )
        evaluator = None
        if settings.alerts.evaluate:
            delivery.start()
            evaluator = AlertEvaluator(
                reader,
                connections,
                delivery,
                file_alerts,
                trusts_clock=lambda: retention.trusts_clock,
            )
            telemetry.register(AlertPassNumbers(lambda: evaluator.numbers))
        return cls(delivery, evaluator, SeriesUpdater(reader, series))

    def list_lanes(self, changes: StoreChanges) -> list[Sequence[BackgroundJob]]:
        """List the background jobs, in groups that run at the same time."""
        own = [] if self.evaluator is None else [self.evaluator.list_jobs(changes)]
        return [self.series.list_jobs(), *own]


topic = Topic(api=[routes.api], pages=[pages.pages])
