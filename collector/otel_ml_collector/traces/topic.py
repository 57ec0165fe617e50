"""Runs and traces: what this topic adds to the application."""

from collections.abc import Iterable
from typing import Final

from otel_ml_collector.receive.admission import Quotas
from otel_ml_collector.receive.uploads import UploadIntake
from otel_ml_collector.services import Services, Topic
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.telemetry.service import Telemetry
from otel_ml_collector.times import SECOND_NS
from otel_ml_collector.traces import (
    api,
    feedback,
    live,
    objects,
    page,
    run_list,
    sessions,
    trace_file,
    trace_pair,
    views,
)

# How far the clocks of other collectors at the same store may be behind this one's.
_OVERLAP_NS: Final = 5 * SECOND_NS


def _make_services(services: Services) -> Iterable[object]:
    settings, uploads = services.find(Settings), services.find(UploadIntake)
    # The clocks of other collectors at the same server may be behind, so live pages read a few
    # seconds back.
    pace = live.LivePace(overlap_ns=0 if settings.data_dir else _OVERLAP_NS)
    yield live.Listening(services.find(Reader), pace)
    yield objects.ArtifactEndpoint(
        uploads, services.find(Telemetry), services.find(Quotas), settings.artifact_limit_bytes
    )


topic = Topic(
    api=(
        run_list.api,
        api.router,
        sessions.api,
        trace_file.api,
        objects.router,
        feedback.router,
        live.router,
        views.router,
    ),
    pages=(
        run_list.pages,
        page.router,
        trace_pair.router,
        sessions.pages,
    ),
    make_services=_make_services,
)
