"""The list of runs shows whether a run passes if its judge gives no scores, such as thumbs."""

import re
import time
from pathlib import Path

from otel_ml_collector.span import Span
from otel_ml_collector.times import SECOND_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service


def _list_results(service: Service, query: str) -> list[tuple[str, str]]:
    """List the address and the text of the last cell of each row."""
    answer = ask(service.app, f"/projects/p/runs?{query}columns=input&columns=score%3Athumbs")
    rows = re.findall(r"<tr data-run=.*?</tr>", answer.text, re.DOTALL)
    cells = [row.rpartition("<td")[2] for row in rows]
    links = [re.search(r'href="([^"]+)"', cell) for cell in cells]
    texts = [re.sub(r"^[^>]*>|<[^>]+>", "", cell).strip() for cell in cells]
    return [
        (link[1].rpartition("/")[2] if link else "", text)
        for link, text in zip(links, texts, strict=True)
    ]


def test_passes_in_the_list(tmp_path: Path) -> None:
    """A row says pass or fail; a request whose calls were judged links to one that fails."""
    now_ns = time.time_ns()
    request = make_call("agent", start_ns=now_ns - 3 * SECOND_NS, end_ns=now_ns)

    def call(number: int, **told: bool) -> Span:
        return make_call(
            "step",
            {f"otel_ml.passed.{name}": passed for name, passed in told.items()},
            trace_id=request.trace_id,
            parent_span_id=request.span_id,
            start_ns=now_ns - number * SECOND_NS,
        )

    good, bad = call(1, thumbs=True), call(2, thumbs=False)
    with open_service(tmp_path) as service:
        service.store.take("p", request, good, bad, now_ns=now_ns)
        assert _list_results(service, "") == [("", "pass"), ("", "fail"), ("", "–")]
        assert _list_results(service, "roots=1&") == [(id_of(bad), "fail")]
