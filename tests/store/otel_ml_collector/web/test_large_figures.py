"""Pages of projects whose figures are very large or very small."""

import json
import re
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.houses import MODEL, TARGET, make_houses
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

JSON: Final = {"content-type": "application/json"}
HARBOUR: Final = quote('tags["district"] == "harbour"')
_SLICE: Final = f"/monitor/slice?model={MODEL}&where={HARBOUR}&last=7d"
_PAGES: Final = (
    "",
    "/news?last=7d",
    "/monitor?last=7d",
    "/monitor/findings?last=7d&fresh=1",
    _SLICE,
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


@at_night
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
    if scale == 300_000.0:
        differences = answers[f"/projects/{project}{_SLICE}"].text
        assert re.search(r">\+\d\d,\d\d0<", differences)


@at_night
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


COLUMNS: Final = ("latency_ms", "first_token_ms", "output")


def show_calls(service: Service, project: str, lasting_ms: Sequence[float]) -> list[list[str]]:
    """Return the cells of `COLUMNS` of a list of calls, for each call."""
    now_ns = time.time_ns()
    calls = [
        make_call(
            "price",
            {
                "otel_ml.outputs": f"{lasted_ms * 5.01083:.6f}",
                "gen_ai.response.time_to_first_chunk": lasted_ms / 3e3,
            },
            trace_id=trace_id(place + 1),
            start_ns=now_ns - 600 * SECOND_NS - place,
            end_ns=now_ns - 600 * SECOND_NS - place + round(lasted_ms * 1e6),
        )
        for place, lasted_ms in enumerate(lasting_ms)
    ]
    service.store.take(project, *calls, now_ns=now_ns)
    asked = "&".join(f"columns={name}" for name in COLUMNS)
    page = ask(service.app, f"/projects/{project}/runs?{asked}").text
    rows = re.findall(r"<tr data-run.*?</tr>", page, re.DOTALL)
    cells = [[re.sub("<[^>]*>", "", cell) for cell in row.split("<td")[2:]] for row in rows]
    return [[cell.rpartition(">")[2].split()[-1] for cell in row][:3] for row in cells]


def test_one_style_in_a_column(service: Service, project: str) -> None:
    """Latencies, first tokens and outputs of any size have at most four significant digits."""
    lasting_ms = (0.0895, 1.5, 12.3456, 40.0, 604.21, 1_103.4, 11_516.7, 123_456.7)
    shown = show_calls(service, project, lasting_ms)
    assert len(shown) == len(lasting_ms)
    for place in range(len(COLUMNS)):
        for text in (row[place] for row in shown):
            digits = text.replace(",", "").replace(".", "").lstrip("0")
            whole = "." not in text
            assert len(digits.rstrip("0") if whole else digits) <= 4, text
            assert not (text.endswith("0") and not whole), text
            assert whole or "," not in text, text
    assert [row[0] for row in shown] == (
        ["0.0895", "1.5", "12.3", "40", "604", "1,103", "11,520", "123,500"]
    )


def test_same_decimals_in_a_column(service: Service, project: str) -> None:
    """If the numbers of a column are of similar size, all have the same decimals."""
    shown = show_calls(service, project, (0.0906, 0.1334, 7.4, 24.0))
    assert [row[0] for row in shown] == ["0.09", "0.13", "7.40", "24.00"]
    assert [row[1] for row in shown] == ["0.030", "0.044", "2.467", "8.000"]
