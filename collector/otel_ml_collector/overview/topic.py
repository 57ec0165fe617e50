"""Home and the list of projects: what this topic adds to the application."""

from otel_ml_collector.overview import home, projects, routes
from otel_ml_collector.services import Topic

topic = Topic(
    api=(
        routes.api,
        projects.api,
    ),
    pages=(
        home.router,
        projects.pages,
        routes.pages,
    ),
)
