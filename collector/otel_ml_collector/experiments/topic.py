"""Experiments: what this topic adds to the application."""

from otel_ml_collector.experiments import routes
from otel_ml_collector.services import Topic

topic = Topic(
    api=(routes.api,),
    pages=(routes.pages,),
)
