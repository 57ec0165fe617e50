"""Answers with keys and sessions are not compressed: their length would reveal them."""

import gzip
import json
from pathlib import Path

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import open_service

GZIP = {"accept-encoding": "gzip"}


def test_no_secret_is_compressed(tmp_path: Path) -> None:
    """A new key, a session and pages about settings are never in a compressed answer."""
    with open_service(tmp_path) as service:
        service.store.take("p", make_call())
        made = ask(
            service.app,
            "/api/v1/keys",
            method="POST",
            headers={**GZIP, "content-type": "application/json"},
            body=[
                json.dumps({"name": "all", "scopes": ["admin", "read"], "projects": ["*"]}).encode()
            ],
        )
        key = made.json["key"]
        assert "content-encoding" not in made.headers
        headers = {**GZIP, "authorization": f"Bearer {key}"}
        for path in ("/projects/p/settings", "/sign-in"):
            answered = ask(service.app, path, headers=headers)
            assert answered.status == 200
            assert "content-encoding" not in answered.headers
        for path in ("/", "/status", "/projects/p", "/projects/p/runs"):
            packed = ask(service.app, path, headers=headers)
            assert packed.headers["content-encoding"] == "gzip"
            assert key.encode() not in gzip.decompress(packed.body)
