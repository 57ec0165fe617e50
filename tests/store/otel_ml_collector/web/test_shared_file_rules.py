"""Who may make a file, and what `judge_redact` removes from it."""

import json
from pathlib import Path

from otel_ml_collector.access import ANNOTATE, READ, Access
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.span import Value
from tests.store.otel_ml_collector.web.test_shared_file import get_file, make_trace
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call, make_record
from tests.support.otel_ml_collector.stores import open_service


def test_redaction(tmp_path: Path) -> None:
    """What judges must not see is removed: in payloads, previews, texts, names and attributes."""
    rules = json.dumps({"keys": ["email"], "patterns": ["[0-9]{16}"]})
    secret, card = "ada@example.com", "4111111111111111"
    told: dict[str, Value] = {
        "otel_ml.inputs": json.dumps({"email": secret, "text": f"pay with {card}"}),
        "otel_ml.outputs": json.dumps({"email": secret}),
        "otel_ml.tag.email": secret,
        "session.id": f"s {card}",
        "note": f"card {card}",
    }
    with open_service(tmp_path, judge_redact=rules) as service:
        spans = make_trace(8, 5, told)
        score = make_record(
            "evaluation",
            spans[0],
            {"otel_ml.judge.name": "j", "otel_ml.score.value": 1.0, "otel_ml.explanation": card},
        )
        service.store.take("shop", *spans, score)
        path = f"shop/runs/{id_of(spans[0])}"
        plain = get_file(service, path).text
        assert secret in plain
        assert card in plain
        redacted = get_file(service, path, redact="1").text
        assert secret not in redacted
        assert card not in redacted
        assert "Values that judges must not see are replaced by [removed]" in redacted
        of = [id_of(span) for span in spans[:2]]
        compared = get_file(service, "shop/compare", of=of, redact="1").text
        assert secret not in compared
        assert card not in compared


def test_rights(tmp_path: Path) -> None:
    """A file needs the right to read; another project looks as if it did not exist."""
    with open_service(tmp_path, require_keys="true") as service:
        keyring = service.app.state.services.find(Keyring)
        call = make_call()
        service.store.take("shop", call)
        statuses = []
        for scope, projects in ((READ, ["shop"]), (READ, ["bank"]), (ANNOTATE, ["shop"])):
            key = keyring.add(Access("", "k", frozenset({scope}), tuple(projects))).text
            answered = ask(
                service.app,
                f"/api/v1/projects/shop/runs/{id_of(call)}/file",
                headers={"authorization": f"Bearer {key}"},
            )
            statuses.append(answered.status)
        assert statuses == [200, 404, 403]
