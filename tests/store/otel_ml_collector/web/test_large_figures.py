"""Pages of projects whose figures are very large or very small."""

import json
import re
import time
from typing import Final
from urllib.parse import quote

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.houses import MODEL, TARGET, make_houses
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

JSON: Final = {"content-type": "application/json"}
HARBOUR: Final = quote('tags["district"] == "harbour"')
_PAGES: Final = (
    "",
    "/news?last=7d",
    "/monitor?last=7d",
    "/monitor/findings?last=7d&fresh=1",
    f"/monitor/slice?model={MODEL}&where={HARBOUR}&last=7d",
    "/models",
    f"/models/{MODEL}",
    f"/newest-verdict?model={MODEL}",
    f"/model-verdict?model={MODEL}&version=2&against=1",
    "/targets/price",
    f"/fields?model={MODEL}&field=outputs.price",
    "/runs",
    f"/compare?of={MODEL}:v1&of={MODEL}:v2",
)
_ANSWERS: Final = (
    "findings?last=7d",
    "overview?last=7d",
    "slices",
    "targets/price?last=30d&slices=1",
    f"models/{MODEL}/versions",
    "stats?last=7d",
)


@sampled(only=("300000.0",))
@pytest.mark.parametrize("scale", [300_000.0, 1e300, 1e-300])
def test_pages_of_large_figures(service: Service, project: str, scale: float) -> None:
    """Every page and answer about predictions, scores and costs of any size is complete."""
    now_ns = time.time_ns()
    service.store.take(project, *make_houses(now_ns, scale), now_ns=now_ns)
    saved = f"/api/v1/projects/{project}/targets/price"
    body = json.dumps(TARGET).encode()
    assert ask(service.app, saved, method="PUT", headers=JSON, body=[body]).status == 200
    addresses = [f"/projects/{project}{page}" for page in _PAGES]
    addresses += [f"/api/v1/projects/{project}/{answer}" for answer in _ANSWERS]
    answers = {address: ask(service.app, address) for address in addresses}
    assert {address: it.text for address, it in answers.items() if it.status != 200} == {}
    assert [address for address, it in answers.items() if "internal error" in it.text] == []


def test_no_exponents(service: Service) -> None:
    """No page writes a number with an exponent, if figures are near 0.003."""
    now_ns = time.time_ns()
    service.store.take("tiny", *make_houses(now_ns, 0.003), now_ns=now_ns)
    saved = "/api/v1/projects/tiny/targets/price"
    body = json.dumps(TARGET).encode()
    assert ask(service.app, saved, method="PUT", headers=JSON, body=[body]).status == 200
    for page in _PAGES:
        text = re.sub(r"<[^>]*>", " ", ask(service.app, f"/projects/tiny{page}").text)
        assert re.findall(r"\S*\d[eE][+-]?\d+\b(?![\w-])\S*", text) == [], page
