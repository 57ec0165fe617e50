"""Models and their versions: what this topic adds to the application."""

from otel_ml_collector.models import routes
from otel_ml_collector.services import Topic

topic = Topic(
    api=(
        routes.api,
        routes.writes,
    ),
    pages=(routes.pages,),
)
