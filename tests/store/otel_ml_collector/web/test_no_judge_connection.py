"""Forms of rubric judges in a collector that has no connection to a language model."""

import json
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

from otel_ml_collector.judges.ready_rubrics import READY_RUBRICS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import open_service
from tests.support.sampling import sampled


@sampled(1)
@pytest.mark.parametrize("path", ["judge-rubric", "judge-trial"])
def test_without_a_connection_the_form_says_how_to_make_one(tmp_path: Path, path: str) -> None:
    """A judge that cannot ask a language model is refused with what to do about it."""
    form = urlencode({"name": "fits", "instruction": "Does it fit?", "model": "gpt-4o-mini"})
    headers = {"content-type": "application/x-www-form-urlencoded"}
    address = f"/projects/shop/{path}"
    with open_service(tmp_path, judge_connections="") as service:
        page = ask(service.app, address, method="POST", headers=headers, body=[form.encode()])
    assert "There is no connection to a language model yet. To make one, add it" in page.text


def test_form(tmp_path: Path) -> None:
    """The form starts with the settings to add, and offers ready rubrics."""
    with open_service(tmp_path, judge_connections="") as service:
        page = ask(service.app, "/projects/shop/judge-rubric").text
        ready = ask(service.app, "/projects/shop/judge-rubric?ready=conciseness").text
    assert page.index("First add a connection") < page.index("<form")
    assert "[judge_connections.openai]" in page
    assert all(f">{name}</a>" in page for name in READY_RUBRICS)
    assert "How concise is the output?" in ready
    assert '<option value="score" selected>' in ready
    assert 'name="pass_at_least" value="4"' in ready


def test_models(tmp_path: Path) -> None:
    """The models of a form are those that its connection lists, and no other can be saved."""
    connection = {"kind": "openai", "url": "http://127.0.0.1:9/v1", "projects": ["*"]}
    connections = json.dumps({"local": {**connection, "models": ["small", "large"]}})
    form = {"name": "fits", "instruction": "Does it fit?", "connection": "local"}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = "/projects/shop/judge-rubric"
    with open_service(tmp_path, judge_connections=connections) as service:
        page = ask(service.app, path).text
        answers = [
            ask(service.app, path, method="POST", headers=headers, body=[body.encode()])
            for body in (urlencode({**form, "model": name}) for name in ("other", "small"))
        ]
    models = page.partition('<select name="model"')[2].partition("</select>")[0]
    assert re.findall(r"<option[^>]*>(\w+)</option>", models) == ["small", "large"]
    assert [answer.status for answer in answers] == [400, 303]
    assert "expected one of small, large" in answers[0].text
