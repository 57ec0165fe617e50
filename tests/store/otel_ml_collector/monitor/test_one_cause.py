"""One cause is one problem, whichever time range is chosen."""

import html
import random
import re
import time
from collections.abc import Iterator
from typing import Final

import pytest

from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

# The problem of each function.
PROBLEMS: Final = {
    "canary": "canary v2 is worse",
    "country": "country v2 is worse for region PL",
    "hard": "hard is worse for region IT",
    "broken": "broken v2 fails in",
    "labelled": "labelled v2 is worse",
    "released": "released in release 2.0 is worse",
}
RELEASED: Final = ("labelled", "released")  # whose spans have `service.version`
RANGES: Final = ("1h", "24h", "7d", "30d")


def make_situations(now_ns: int) -> Iterator[Span]:
    """Make nine days of runs of six functions, each with one cause; v2 is three days old."""
    draw = random.Random(81)  # noqa: S311 - guards nothing
    steps = [
        *range(10 * MINUTE_NS, HOUR_NS, MINUTE_NS // 4),
        *range(HOUR_NS, 9 * DAY_NS, 12 * MINUTE_NS),
    ]
    for place, (model, age_ns) in enumerate((name, step) for name in PROBLEMS for step in steps):
        region = draw.choice(["DE", "FR", "IT", "PL"])
        is_new = age_ns < 3 * DAY_NS and model != "hard"
        is_new = is_new and draw.random() < (0.3 if model == "canary" else 0.5)
        fails = 0.05
        if (model, region) == ("hard", "IT") or (model, region, is_new) == ("country", "PL", True):
            fails = 0.6
        if model in ("canary", *RELEASED) and is_new:
            fails = 0.4
        is_error = model == "broken" and is_new and draw.random() < 0.4
        told: dict[str, Value] = {
            "otel_ml.tag.region": region,
            "otel_ml.tag.plan": draw.choice(["free", "paid"]),
            "otel_ml.passed.right": not is_error and draw.random() >= fails,
        }
        if model != "released":
            told["otel_ml.model.version"] = "bb" if is_new else "aa"
        resource: dict[str, Value] = {}
        if model in RELEASED:
            resource["service.version"] = "2.0" if is_new else "1.0"
        if is_error:
            told |= {"otel_ml.outcome": "error", "error.type": "ValueError"}
            del told["otel_ml.passed.right"]
        yield make_call(
            model,
            told,
            trace_id=trace_id(place + 1),
            start_ns=now_ns - age_ns,
            scope=Scope(resource, "tests", "1", {}),
            status_code=2 if is_error else 0,
            status_message="no such plan" if is_error else "",
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with the six situations."""
    with open_service(tmp_path_factory.mktemp("causes")) as opened:
        now_ns = time.time_ns()
        opened.store.take("causes", *make_situations(now_ns), now_ns=now_ns)
        yield opened


@sampled(1)
@pytest.mark.parametrize("last", RANGES)
def test_one_row_for_each_cause(service: Service, last: str) -> None:
    """Each situation is one problem about the same version or slice in every time range."""
    page = ask(service.app, f"/projects/causes/monitor/findings?last={last}").text
    found = re.findall("<div><p>(.*?)</p>", page, re.DOTALL)
    rows = [html.unescape(re.sub("<[^>]+>", "", row)) for row in found]
    claims = [next(claim for claim in PROBLEMS.values() if row.startswith(claim)) for row in rows]
    assert sorted(claims) == sorted(PROBLEMS.values())


@at_night
def test_releases_are_counted(service: Service) -> None:
    """The page says how many new versions and releases were compared."""
    page = ask(service.app, "/projects/causes/monitor/findings?last=24h").text
    checked = re.sub("<[^>]+>", "", page.partition("Checked ")[2])
    assert re.findall(r"\d+", checked)[:3] == ["4", "2", "1"]
