"""The page of a problem: its examples, and pairs of them."""

import html
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from otel_ml_collector.evaluations.right_answers import find_right_answers, name_kinds
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.spans import (
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

PAGE: Final = f"/projects/{PROJECT}"
PROBLEM: Final = f"{PAGE}/problems/reply-v2-quality"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a service with a help desk whose newest version is worse."""
    with open_service(tmp_path_factory.mktemp("desk")) as opened:
        now_ns = time.time_ns()
        opened.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        yield opened


def make_answer(place: int, version: str, inputs: str, score: float, start_ns: int) -> Span:
    told: dict[str, Value] = {
        "otel_ml.model.version": version,
        "otel_ml.inputs": inputs,
        "otel_ml.outputs": json.dumps(f"answer {place}"),
        "otel_ml.score.brief": score,
        "otel_ml.passed.brief": score > 0.5,
    }
    return make_call("sort", told, trace_id=trace_id(place), start_ns=start_ns)


def ask_pairs(service: Service, project: str, where: str, now_ns: int) -> tuple[int, str]:
    asked = {
        "where": where,
        "before": 'model == "sort" and version == 1',
        "start": to_rfc3339(now_ns - 20 * MINUTE_NS),
        "end": to_rfc3339(now_ns + MINUTE_NS),
        "version": 2,
        "baseline": 1,
        "measured": "brief",
    }
    answered = ask(service.app, f"/projects/{project}/problem-pairs?{urlencode(asked)}")
    return answered.status, html.unescape(answered.text)


def runs_in(part: str) -> list[str]:
    """Return the IDs of the runs of pairs, two for each pair."""
    return re.findall('class="v" href="[^"]+/runs/([^"]+)"', part)


@at_night
def test_pairs(service: Service) -> None:
    """A failed run of the new version is shown with the baseline's newest run of the same input."""
    now_ns = time.time_ns()
    calls = [
        make_answer(1, "aa", '{"text": "where", "client": "x"}', 0.7, now_ns - 2 * DAY_NS),
        make_answer(2, "aa", '{"text": "where", "client": "x"}', 0.93, now_ns - DAY_NS),
        make_answer(3, "aa", '{"text": "only before"}', 0.9, now_ns - DAY_NS),
        make_answer(4, "bb", '{"client": "x", "text": "where"}', 0.31, now_ns - 3 * MINUTE_NS),
        make_answer(5, "bb", '{"text": "only now"}', 0.2, now_ns - 2 * MINUTE_NS),
    ]
    told: dict[str, Value] = {
        "otel_ml.judge.name": "place",
        "otel_ml.source": "actual",
        "otel_ml.actual": "nowhere",
    }
    truth = make_record("evaluation", calls[3], told)
    service.store.take("pairs", *calls, truth, now_ns=now_ns)
    where = 'model == "sort" and version == 2 and passed["brief"] == False'
    status, part = ask_pairs(service, "pairs", where, now_ns)
    assert status == 200
    assert runs_in(part) == [id_of(calls[1]), id_of(calls[3])]
    assert "answer <del>2</del>" in part
    assert "answer <ins>4</ins>" in part
    assert "0.93" in part
    assert "Ground truth: <b>nowhere</b>" in part
    assert "only before" not in part
    assert "only now" not in part


def test_right_answers(service: Service) -> None:
    """What would have been right is ground truth, an expected value, a label, or a reason."""
    now_ns = time.time_ns()
    runs = [
        make_answer(place, "bb", "{}", 0.2, now_ns - place * SECOND_NS) for place in range(1, 6)
    ]
    of_item: dict[str, Value] = {"otel_ml.item.digest": "ab" * 32, "otel_ml.item.id": "i1"}
    runs[1] = replace(runs[1], attributes={**runs[1].attributes, **of_item})
    item: dict[str, Value] = {
        **of_item,
        "otel_ml.record": "item",
        "otel_ml.item.expected": '"three"',
        "otel_ml.inputs": "{}",
    }

    def tell(run: Span, source: str, **told: Value) -> Span:
        named = {f"otel_ml.{name.replace('__', '.')}": value for name, value in told.items()}
        record = {"otel_ml.judge.name": "brief", "otel_ml.source": source, **named}
        return make_record("evaluation", run, record, start_ns=now_ns)

    records = [
        tell(runs[0], "actual", actual="two"),
        tell(runs[0], "human", score__label="ignored"),
        make_call("qa", item),
        tell(runs[2], "human", score__label="four"),
        tell(runs[3], "judge", score__value=0.1, passed=False, explanation="It is too long."),
    ]
    service.store.take("right", *runs, *records, now_ns=now_ns)
    query = RunsQuery("right", 'model == "sort"', limit=5, start_ns=0, end_ns=now_ns + 1)
    shown = find_runs(service.store.reader, query, now_ns).runs
    right = find_right_answers(service.store.reader, shown, "brief", now_ns)
    assert {run_id: (own.kind, own.text) for run_id, own in right.items()} == {
        id_of(runs[0]): ("Ground truth", "two"),
        id_of(runs[1]): ("Expected value", "three"),
        id_of(runs[2]): ("Label", "four"),
        id_of(runs[3]): ("Judge's reason", "It is too long."),
    }
    assert name_kinds(right) == "Ground truth or expected value or label or judge's reason"


@at_night
def test_small_worst_value(service: Service) -> None:
    """The tag value that the release calls worst is marked worse, even with fewer than 100 runs."""
    began_ns = time.time_ns() // HOUR_NS * HOUR_NS - 60 * MINUTE_NS
    calls = []
    for place in range(360):
        version, client = ("aa", "bb")[place // 180], "xyz"[place % 3]
        score = 0.1 if (version, client) == ("bb", "x") else 0.9
        start_ns = began_ns + (place - 180) * MINUTE_NS // 4
        call = make_answer(place, version, "{}", score, start_ns)
        calls.append(replace(call, attributes={**call.attributes, "otel_ml.tag.client": client}))
    service.store.take("worst", *calls, now_ns=time.time_ns())
    page = ask(service.app, "/projects/worst/problems/sort-v2-quality?by=client").text
    rows = page.partition("Version × client")[2].partition("</table>")[0].split("<tr")
    text = html.unescape(re.sub("<[^>]+>", " ", next(row for row in rows if ">x<" in row)))
    assert text.split()[-1] == "worse"
    assert "not enough data" not in text


def test_pair_of_an_old_input(service: Service) -> None:
    """A pair is found although a hundred newer inputs went only to the new version."""
    now_ns = time.time_ns()
    calls = [
        make_answer(1, "aa", '{"text": "old"}', 0.9, now_ns - DAY_NS),
        make_answer(2, "bb", '{"text": "old"}', 0.2, now_ns - 10 * MINUTE_NS),
        *(
            make_answer(3 + number, "bb", f'{{"text": "{number}"}}', 0.2, now_ns - MINUTE_NS)
            for number in range(100)
        ),
    ]
    service.store.take("old", *calls, now_ns=now_ns)
    status, part = ask_pairs(service, "old", 'model == "sort" and version == 2', now_ns)
    assert status == 200
    assert runs_in(part)[1::2] == [id_of(calls[1])]


def test_largest_change_first(service: Service) -> None:
    """Pairs are ordered by how much the outputs changed, not by time."""
    now_ns = time.time_ns()
    calls = [
        make_answer(10, "aa", '{"text": "flipped"}', 0.9, now_ns - DAY_NS),
        make_answer(11, "aa", '{"text": "unchanged"}', 0.9, now_ns - DAY_NS),
        make_answer(12, "aa", '{"text": "lower"}', 0.9, now_ns - DAY_NS),
        make_answer(13, "bb", '{"text": "flipped"}', 0.4, now_ns - 9 * MINUTE_NS),
        make_answer(14, "bb", '{"text": "unchanged"}', 0.9, now_ns - 8 * MINUTE_NS),
        make_answer(15, "bb", '{"text": "lower"}', 0.6, now_ns - 7 * MINUTE_NS),
    ]
    service.store.take("changes", *calls, now_ns=now_ns)
    status, part = ask_pairs(service, "changes", 'model == "sort" and version == 2', now_ns)
    assert status == 200
    expected = [id_of(calls[place]) for place in (3, 5, 4)]
    assert runs_in(part)[1::2] == expected


def test_no_pairs(service: Service) -> None:
    """If the versions share no input, the response is empty and the examples stay."""
    assert ask_pairs(service, "pairs", 'input == "nothing"', time.time_ns()) == (204, "")


def test_figures_of_the_chart(service: Service) -> None:
    """The chart shows the problem's figure, or errors, latency, cost or the number of runs."""
    for figure, caption, tick in (
        ("", 'Pass rate by judge "brief".', "\u202f%</text>"),
        ("errors", "Share of failed runs.", "\u202f%</text>"),
        ("latency", "Typical latency.", "s</text>"),
        ("runs", "Number of runs.", "0</text>"),
    ):
        page = html.unescape(ask(service.app, f"{PROBLEM}?figure={figure}").text)
        chart = page.partition('id="since"')[2].partition("</section>")[0]
        assert f"<small>{caption} " in chart
        assert tick in chart
        [current] = re.findall(r'href="([^"]*)#since" aria-current="true"', chart)
        assert parse_qs(urlsplit(current).query).get("figure", [""]) == [figure]
        assert "v2, " in chart
        assert re.search(r'class="hotline" d="M[\d. ]+"', chart)
    assert "figure=latency#since" in page
    assert ask(service.app, f"{PROBLEM}?figure=unknown").status == 400


@at_night
def test_ticks(service: Service) -> None:
    """Examples can be selected, with the same actions as in the list of runs."""
    page = ask(service.app, PROBLEM).text
    assert page.count('name="of"') == 5
    for action in ('data-save-test="selected"', 'data-open="queue-runs"', 'data-open="tag-runs"'):
        assert action in page
    [address] = re.findall(r'hx-get="([^"]+/problem-pairs[^"]+)"', page)
    assert ask(service.app, html.unescape(address)).status == 204


@at_night
def test_scores_of_a_slice(service: Service) -> None:
    """Mean scores of a client are shown as scores, not as shares."""
    now_ns = time.time_ns()
    calls = [
        make_call(
            "rate",
            {
                "otel_ml.model.version": "aa",
                "otel_ml.tag.client": "acme" if place % 4 == 0 else "zenith",
                "otel_ml.score.fit": (2.0 if place % 4 == 0 else 4.0) + place % 3 / 2,
            },
            trace_id=trace_id(place),
            start_ns=now_ns - DAY_NS // 2 + place * MINUTE_NS,
        )
        for place in range(600)
    ]
    service.store.take("scores", *calls, now_ns=now_ns)
    page = html.unescape(
        ask(service.app, "/projects/scores/problems/rate-quality-client-acme?last=24h").text
    )
    [table] = re.findall("<table.*?</table>", page, re.DOTALL)[:1]
    assert '<td class="n">4.5</td>' in table
    assert "−2 (−2.07 to −1.92)" in table
    assert "%)" not in table
