"""Data sets: what this topic adds to the application."""

from otel_ml_collector.datasets import routes
from otel_ml_collector.evaluations.dataset_turns import Turns
from otel_ml_collector.services import Topic
from otel_ml_collector.store.connection import Connections

topic = Topic(
    api=(
        routes.api,
        routes.writes,
    ),
    pages=(routes.pages,),
    make_services=lambda services: [Turns(services.find(Connections))],
)
