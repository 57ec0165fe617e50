"""Ground truth: what this topic adds to the application."""

from otel_ml_collector.quality import pages, routes
from otel_ml_collector.services import Topic

topic = Topic(
    api=(routes.api,),
    pages=(pages.pages,),
)
