"""Forms of rubric judges in a collector that has no connection to a language model."""

from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import open_service


@pytest.mark.parametrize("path", ["judge-rubric", "judge-trial"])
def test_without_a_connection_the_form_says_how_to_make_one(tmp_path: Path, path: str) -> None:
    """A judge that cannot ask a language model is refused with what to do about it."""
    form = urlencode({"name": "fits", "instruction": "Does it fit?", "model": "gpt-4o-mini"})
    headers = {"content-type": "application/x-www-form-urlencoded"}
    address = f"/projects/shop/{path}"
    with open_service(tmp_path, judge_connections="") as service:
        page = ask(service.app, address, method="POST", headers=headers, body=[form.encode()])
    assert "There is no connection to a language model yet. To make one, add it" in page.text
