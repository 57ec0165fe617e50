"""The facets of a list of runs: the values with their counts, as links that narrow the list."""

import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

_LINK = re.compile(r'<a href="([^"]+)"[^>]*><span[^>]*>([^<]*)</span><span>(\d+)</span>')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("facets")) as service:
        yield service


def read_links(text: str) -> dict[str, tuple[str, int]]:
    """Return the filter and the count behind each value."""
    return {
        html.unescape(name): (
            parse_qs(urlsplit(html.unescape(link)).query).get("where", [""])[0],
            int(count),
        )
        for link, name, count in _LINK.findall(text)
    }


def make_estimates() -> list[Span]:
    """Make six calls: four in Leipzig, two in a city with a name that attacks; one failed."""
    calls = [
        make_call(
            "estimate",
            {
                "otel_ml.tag.city": "Leipzig" if place < 4 else '"><script>',
                "session.id": f"s-{place // 3}",
                **{f"otel_ml.tag.t{number}": "x" for number in range(place)},
            },
            status_code=2 if place == 5 else 0,
        )
        for place in range(6)
    ]
    inside = make_call(
        "inner", trace_id=calls[0].trace_id, parent_span_id=calls[0].span_id, status_code=0
    )
    return [*calls, inside]


def test_facets(service: Service) -> None:
    """Each value has the number of runs that its filter lists; only five tags are shown."""
    service.store.take("homes", *make_estimates())
    page = ask(service.app, "/projects/homes/facets?roots=true").text
    links = read_links(page)
    assert links["Leipzig"] == ('tags["city"] == "Leipzig"', 4)
    assert links['"><script>'] == ('tags["city"] == "\\"><script>"', 2)
    assert "<script>" not in page
    assert links["error"] == ('outcome == "error"', 1)
    assert links["s-0"] == ('session == "s-0"', 3)
    assert "inner" not in links
    assert re.findall(r"<h2>(\w+)</h2>", page)[-5:] == ["city", "t0", "t1", "t2", "t3"]
    for where, count in links.values():
        rows = ask(service.app, f"/api/v1/projects/homes/runs?roots=true&where={quote(where)}").json
        assert len(rows["runs"]) == count, where
    every = read_links(ask(service.app, "/projects/homes/facets").text)
    assert every["inner"] == ('model == "inner"', 1)
    narrow = ask(
        service.app, "/projects/homes/facets?where=tags%5B%22city%22%5D+%3D%3D+%22Leipzig%22"
    )
    assert 'aria-current="true"><span title="Leipzig">' in narrow.text
    assert read_links(narrow.text)["ok"][0] == 'tags["city"] == "Leipzig" and outcome == "ok"'
    assert (
        "No values"
        in ask(service.app, "/projects/homes/facets?start=2001-01-01&end=2001-01-02").text
    )


def test_preview(service: Service) -> None:
    """A run is shown next to its list, without the actions of its page."""
    run, *_ = make_estimates()
    service.store.take("previewed", run)
    run_id = f"{run.trace_id.hex()}-{run.span_id.hex()}"
    text = ask(service.app, f"/projects/previewed/runs/{run_id}/preview").text
    assert f'data-run="{run_id}"' in text
    assert f'href="/projects/previewed/runs/{run_id}" data-open-run' in text
    assert "<html" not in text
    assert 'id="save-test"' not in text
    assert ask(service.app, "/projects/previewed/runs/wrong/preview").status == 400


@at_night
def test_runs_with_many_tags(service: Service) -> None:
    """Every run counts, however many values the runs have together."""
    tags = {f"otel_ml.tag.t{number}": "x" for number in range(100)}
    calls = [make_call("tagged", tags) for _ in range(5_100)]
    service.store.take("tags", *calls)
    page = ask(service.app, "/projects/tags/facets").text
    assert re.search(r">tagged</span><span>5,?100</span>", page), page[:2_000]
