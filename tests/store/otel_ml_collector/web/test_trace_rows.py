"""The rows below a row of a trace follow what is stored."""

import json
import re
from pathlib import Path

from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service


def _below(root: Span, number: int, name: str = "step") -> Span:
    start_ns = root.start_ns + number * MS_NS
    return make_call(
        name,
        trace_id=root.trace_id,
        parent_span_id=root.span_id,
        start_ns=start_ns,
        end_ns=start_ns + MS_NS,
    )


def _list_runs(service: Service, root: Span) -> list[str]:
    path = f"/projects/p/runs/{id_of(root)}/rows?key={root.span_id.hex()}&view=order&level=2"
    answer = ask(service.app, path)
    assert answer.status == 200
    return re.findall(r'data-run="([^"]+)"', answer.text)


def test_rows_of_a_growing_trace(tmp_path: Path) -> None:
    """Spans that arrive, or are deleted, after rows were shown change the next rows."""
    root = make_call("agent", {"otel_ml.kind": "agent"})
    steps = [_below(root, number) for number in range(3)]
    with open_service(tmp_path) as service:
        service.store.take("p", root, *steps[:2])
        for _ in range(2):  # the second answer comes from memory
            assert _list_runs(service, root) == [id_of(steps[0]), id_of(steps[1])]
        service.store.take("p", steps[2])
        assert _list_runs(service, root) == [id_of(step) for step in steps]
        deleted = ask(
            service.app,
            "/api/v1/projects/p/delete-runs",
            method="POST",
            headers={"content-type": "application/json"},
            body=[json.dumps({"run_ids": [id_of(steps[0])]}).encode()],
        )
        assert deleted.status == 200
        assert _list_runs(service, root) == [id_of(steps[1]), id_of(steps[2])]


def test_rows_of_a_run_of_another_project(tmp_path: Path) -> None:
    """Rows are shown only below the address of the run's own project."""
    root = make_call("agent", {"otel_ml.kind": "agent"})
    with open_service(tmp_path) as service:
        service.store.take("p", root, _below(root, 1))
        path = f"/runs/{id_of(root)}/rows?key={root.span_id.hex()}&level=2"
        assert ask(service.app, f"/projects/p{path}").status == 200
        assert ask(service.app, f"/projects/q{path}").status == 404
