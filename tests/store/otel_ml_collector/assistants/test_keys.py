"""The keys that assistants need."""

from otel_ml_collector.access import INGEST, READ, Access
from otel_ml_collector.keyring import Keyring
from tests.process.otel_ml_collector.assistants.test_protocol import post
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service


def test_keys(service: Service) -> None:
    """If the store has keys, a request needs a key with the scope read; a cookie is not enough."""
    ring: Keyring = service.app.state.services.find(Keyring)
    reads = ring.add(Access("", "reads", frozenset({READ}), ("asked",))).text
    sends = ring.add(Access("", "sends", frozenset({INGEST}), ("asked",))).text
    nobody = post(service)
    assert (nobody.status, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert post(service, authorization=f"Bearer {sends}").status == 403
    assert post(service, authorization=f"Bearer {reads}").status == 200
    signed = ask(
        service.app,
        "/sign-in",
        method="POST",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=(f"key={reads}".encode(),),
    )
    cookie = signed.headers["set-cookie"].partition(";")[0]
    assert ask(service.app, "/api/v1/projects", headers={"cookie": cookie}).status == 200
    assert post(service, cookie=cookie).status == 401
