"""Settings of a project: what this topic adds to the application."""

from otel_ml_collector.project_settings import keys, routes, storage
from otel_ml_collector.services import Topic

topic = Topic(
    api=(
        routes.api,
        storage.router,
        keys.api,
    ),
    pages=(
        keys.pages,
        routes.pages,
    ),
    make_services=lambda services: [keys.Attempts()],
)
