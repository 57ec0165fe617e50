"""Slow cases of tests/store/otel_ml_collector/api/test_views.py."""

from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.traces.views import VIEW, WantedView
from tests.store.otel_ml_collector.api.test_views import SLOW, call
from tests.support.otel_ml_collector.stores import Service


def test_too_many(service: Service, project: str) -> None:
    """A project has at most 200 views; existing views can still be changed at the limit."""
    services = service.app.state.services
    store, reader = services.find(Documents), services.find(Reader)
    for number in range(200):
        store.save(reader, project, VIEW, f"{number:03}", WantedView().model_dump())
    assert call(service, "PUT", project, "one more", SLOW).json["error"]["field"] == "name"
    assert call(service, "PUT", project, "199", SLOW).status == 200
