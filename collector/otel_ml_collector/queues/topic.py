"""Labelling queues: what this topic adds to the application."""

from otel_ml_collector.queues import pages, routes
from otel_ml_collector.queues.find import OpenedRuns
from otel_ml_collector.services import Topic

topic = Topic(
    api=(routes.api,),
    pages=(pages.pages,),
    make_services=lambda services: [OpenedRuns()],
)
