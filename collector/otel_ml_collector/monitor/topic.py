"""Monitoring: what this topic adds to the application."""

from otel_ml_collector.monitor import (
    field_pages,
    fields,
    known,
    page,
    problem_page,
    problem_pairs,
    profiles,
    routes,
    slice_page,
    unusual,
)
from otel_ml_collector.services import Topic

topic = Topic(
    api=(
        routes.api,
        known.api,
        fields.api,
        profiles.api,
    ),
    pages=(
        field_pages.pages,
        unusual.pages,
        page.pages,
        slice_page.pages,
        known.pages,
        problem_page.pages,
        problem_pairs.pages,
    ),
)
