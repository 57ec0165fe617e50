"""One pair of versions has one verdict everywhere: word, figures, interval and counts of runs."""

import html
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.cli import main
from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

PROJECT: Final = "one verdict"
IN_ADDRESS: Final = "one%20verdict"
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
# The word of v2 compared with v1, by model. Both versions of `canary` and `same` ran in the same
# hours; v2 of the others replaced v1. Only some runs of `rolled` are scored.
WORDS: Final = {
    "canary": "worse",
    "rolled": "worse",
    "few": "not enough data",
    "same": "no difference",
}
SAME: Final = 800
MIRRORED: Final = {"worse": "better", "better": "worse"}
BOTH: Final = [(model, baseline, 3 - baseline) for model in WORDS for baseline in (1, 2)]
JSON: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}


def make_runs(
    model: str,
    version: int,
    rate: float,
    *,
    first_ns: int,
    step_s: int,
    count: int,
    scored: float = 1.0,
) -> list[Span]:
    """Make runs of two clients, with the scores of a judge."""
    draw = random.Random(f"{model}{version}{count}")  # noqa: S311 - not for secrets
    spans = []
    for place in range(count):
        start_ns = first_ns + place * step_s * SECOND_NS
        run = make_call(
            model,
            {
                "otel_ml.model.version": f"v{version}",
                "otel_ml.model.output_schema": "s",
                "otel_ml.outputs": '"yes"',
                "otel_ml.tag.client": "ab"[place % 2],
            },
            start_ns=start_ns,
            end_ns=start_ns + (100 + place * 7 % 91) * MS_NS,
        )
        spans.append(run)
        passed = draw.random() < rate
        if draw.random() < scored:
            spans.append(say(run, "a1", float(passed)))
    return spans


def make_spans() -> list[Span]:
    now_ns = time.time_ns() // HOUR_NS * HOUR_NS
    before_ns, since_ns = now_ns - 30 * HOUR_NS, now_ns - 6 * HOUR_NS
    spans = [
        tell("a1"),
        # The trial of v2 does not count.
        *make_runs("canary", 1, 0.9, first_ns=before_ns, step_s=60, count=90),
        *make_runs("canary", 2, 0.9, first_ns=before_ns + 4 * HOUR_NS, step_s=60, count=20),
        *make_runs("canary", 1, 0.9, first_ns=since_ns, step_s=30, count=480),
        *make_runs("canary", 2, 0.6, first_ns=since_ns, step_s=90, count=160),
        *make_runs("rolled", 1, 0.9, first_ns=before_ns, step_s=60, count=400),
        *make_runs("rolled", 2, 0.6, first_ns=since_ns, step_s=30, count=300, scored=0.8),
        *make_runs("few", 1, 0.9, first_ns=before_ns, step_s=60, count=150),
        *make_runs("few", 2, 0.7, first_ns=since_ns, step_s=60, count=50),
        *make_runs("same", 1, 1.0, first_ns=since_ns, step_s=15, count=SAME),
        *make_runs("same", 2, 1.0, first_ns=since_ns, step_s=15, count=SAME),
    ]
    return [
        replace(span, attributes={**span.attributes, "otel_ml.project": PROJECT}) for span in spans
    ]


@pytest.fixture(scope="module")
def filled(collector: CollectorProcess) -> CollectorProcess:
    """A collector with four models, each with two versions."""
    spans = make_spans()
    for first in range(0, len(spans), 1_000):
        collector.deliver(encode(spans[first : first + 1_000]), PROTOBUF)

    def has_scores() -> bool:
        found = collector.get(f"/projects/{IN_ADDRESS}/models/same/release")
        figures = found["releases"][0]["figures"] if found.get("releases") else []
        return any((one["name"], one["runs"]) == ("grounded", SAME) for one in figures)

    wait_until(has_scores)
    return collector


@dataclass(frozen=True, slots=True)
class Shown:
    """What a place shows about a pair of versions. None for what it does not show.

    Attributes:
        word: The verdict.
        change: Candidate minus baseline and its interval, in points of the pass rate.
        scored: Number of scored runs of v1 and v2.
        compared: Number of compared runs of v1 and v2.
    """

    word: str
    change: tuple[float, float, float] | None = None
    scored: tuple[int, int] | None = None
    compared: tuple[int, int] | None = None


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def by_version(sides: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Order counts of runs by version. Each side is a count and the number of its version."""
    counts = {version: int(number(count)) for count, version in sides}
    return counts["1"], counts["2"]


COUNTS: Final = r"([\d,]+) (?:scored )?runs with v(\d), ([\d,]+) with v(\d)"
DECIDED: Final = re.compile(
    rf"(\d+) pts (worse|better) \((?:99 % interval at all looks: )?(\d+) to (\d+) pts(?:\)|);? "
    rf"{COUNTS}"
)
OPEN: Final = re.compile(rf"(\d+) % pass, (\d+) % with v\d; ([−\d]+) to ([−\d]+) pts; {COUNTS}")
EQUAL: Final = re.compile(rf"100 % both \(± ([\d.]+) pts; {COUNTS}")
DIFFERENCE: Final = re.compile(
    r"Difference in the pass rate \(judge \"grounded\", judge version 1\): ([−+]\d+) pts "
    r"\(99 % interval at all looks: ([−\d.]+) to ([−\d.]+)\)"
)
HOURS: Final = re.compile("ours with both versions: ([\\d,]+) and ([\\d,]+) runs")
ROLLOUT: Final = re.compile(r"([\d,]+) runs with v(\d) before it, ([\d,]+) with v(\d) since")
CELL: Final = r"([−+]?[\d.]+)"


def read_word(text: str) -> str:
    """Read the verdict at the start of a banner."""
    if "Not enough data to say whether" in text:
        return "not enough data"
    found = re.search(r"(No difference|worse|better)", text)
    assert found, text
    return found[1].lower()


def read_change(text: str) -> tuple[tuple[float, float, float], tuple[int, int]]:
    """Read the difference of the pass rates, its interval, and the number of scored runs."""
    if found := DECIDED.search(text):
        size, word, low, high, *counts = found.groups()
        change = float(size), float(low), float(high)
        if word == "worse":
            change = -change[0], -change[2], -change[1]
    elif found := OPEN.search(text):
        now, before, low, high, *counts = found.groups()
        change = float(now) - float(before), number(low), number(high)
    else:
        found = EQUAL.search(text)
        assert found, text
        half, *counts = found.groups()
        change = 0.0, -float(half), float(half)
    return change, by_version([(counts[0], counts[1]), (counts[2], counts[3])])


def read_compared(text: str, baseline: int) -> tuple[int, int]:
    """Read the number of compared runs of v1 and v2."""
    if found := ROLLOUT.search(text):
        return by_version([(found[1], found[2]), (found[3], found[4])])
    found = HOURS.search(text)
    assert found, text
    return by_version([(found[1], str(baseline)), (found[2], str(3 - baseline))])


def read_sentences(word: str, text: str, baseline: int) -> Shown:
    """Read a verdict, the sentence of the judge, and which runs are compared."""
    return Shown(word, *read_change(text), read_compared(text, baseline))


@cache
def read_once(collector: CollectorProcess, path: str) -> str:
    """Return the response of a path. The data do not change, so each is read once."""
    return collector.get_text(path)


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks about two versions of a model, in one place each."""

    collector: CollectorProcess
    model: str
    baseline: int
    candidate: int

    def get(self, path: str) -> Any:
        """Return an answer of the API."""
        return json.loads(read_once(self.collector, f"/api/v1/projects/{IN_ADDRESS}/{path}"))

    def page(self, path: str) -> str:
        """Return the text of a page."""
        page = read_once(self.collector, f"/projects/{IN_ADDRESS}/{path}")
        text = re.sub("<[^>]*>", " ", html.unescape(page)).replace("\u202f", " ")
        return re.sub(r"\s+", " ", text)

    @property
    def pair(self) -> str:
        names = [f"{self.model}:v{version}" for version in (self.baseline, self.candidate)]
        return f"of={names[0]}&of={names[1]}&baseline={names[0]}"

    def verdict(self) -> Any:
        path = f"models/{self.model}/versions/{self.candidate}/verdict?against={self.baseline}"
        return self.get(path)

    def api(self) -> Shown:
        found = self.verdict()
        (judge,) = found["judges"]
        change = tuple(100 * judge["difference"][end] for end in ("value", "low", "high"))
        scored = [(str(judge[side]["n"]), str(getattr(self, side))) for side in SIDES]
        return Shown(
            found["word"],
            (change[0], change[1], change[2]),
            by_version(scored),
            read_compared(found["heading"], self.baseline),
        )

    def api_sentences(self) -> Shown:
        found = self.verdict()
        (judge,) = found["judges"]
        return read_sentences(
            found["word"], f"{judge['sentence']} {found['heading']}", self.baseline
        )

    def comparison(self) -> Shown:
        answer = self.get(f"compare?{self.pair}")
        verdict = answer["sides"][1]["version"]["verdict"]
        assert verdict == self.verdict()
        assert f"{verdict['word']}" in answer["sentence"]
        return read_sentences(
            verdict["word"],
            f"{verdict['judges'][0]['sentence']} {verdict['heading']}",
            self.baseline,
        )

    def comparison_page(self) -> Shown:
        page = self.page(f"compare?{self.pair}")
        banner = page.partition("Copy as Markdown")[2]
        figures = rf"[\d.]+ % [\d.]+ % → [\d.]+ % {CELL} pts {CELL} to {CELL} "
        row = re.search(f"grounded v1 {figures}", banner)
        assert row, banner
        word = read_word(banner[:80])
        change = number(row[1]), number(row[2]), number(row[3])
        return Shown(word, change, None, read_compared(banner, self.baseline))

    def markdown_to_copy(self) -> Shown:
        page = read_once(self.collector, f"/projects/{IN_ADDRESS}/compare?{self.pair}")
        markdown = html.unescape(page).replace("\\", "")
        (text,) = re.findall(r"\*\*(B [^*]*)\*\*.*?\n\n(\* B, .*?)\n\n", markdown, re.DOTALL)
        (word,) = (word for word in WORDS_IN_TEXT if word in text[0])
        return read_sentences(word, text[1], self.baseline)

    def model_page(self) -> Shown:
        path = f"model={self.model}&version={self.candidate}&against={self.baseline}"
        page = self.page(f"model-verdict?{path}")
        word, compared = read_word(page[:80]), read_compared(page, self.baseline)
        (row,) = re.findall(r"pass rate by judge “ grounded ” v1 (.*?) Latency ", page)
        change = re.search(
            rf"{CELL} pts (\w+) 99 % interval at all looks: {CELL} to {CELL} pts", row
        )
        if change is None:
            assert f" {word} " in f"{row} "
            return Shown(word, None, None, compared)
        assert change[2] == word
        numbers = number(change[1]), number(change[3]), number(change[4])
        return Shown(word, numbers, None, compared)

    def command(self, print_: Callable[..., str], folder: Path) -> list[Shown]:
        names = [f"{self.model}:v{version}" for version in (self.baseline, self.candidate)]
        file = folder / "report.md"
        printed = print_("compare", *names, "--markdown", str(file))
        shown = []
        for text in (printed, file.read_text()):
            head, _, rest = text.partition("\n")
            shown.append(read_sentences(head.rpartition(": ")[2], rest, self.baseline))
        return shown

    def assistant(self) -> Shown:
        names = [f"{self.model}:v{version}" for version in (self.baseline, self.candidate)]
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "compare",
                "arguments": {"project": PROJECT, "a": names[0], "b": names[1]},
            },
        }
        status, _, answer = self.collector.post("/mcp", json.dumps(body).encode(), JSON)
        assert status == 200, answer
        found = json.loads(answer)["result"]["structuredContent"]
        (row,) = found["judges"]["rows"]
        judge = dict(zip(found["judges"]["columns"], row, strict=True))
        change, scored = read_change(judge["says"])
        numbers = tuple(100 * judge[name] for name in ("difference", "low", "high"))
        assert numbers == pytest.approx(change, abs=0.6)
        assert sum(scored) == judge["n"]
        return Shown(found["verdict"], change, scored, read_compared(found["how"], self.baseline))

    # Places that only show the newest version, compared with the one before.

    def release(self) -> Shown:
        (release,) = self.get(f"models/{self.model}/release")["releases"]
        (judge,) = (one for one in release["figures"] if one["name"] == "grounded")
        counts = release["baseline"]["runs"], release["candidate"]["runs"]
        text = f"{judge['sentence']} {release['compared']}"
        shown = read_sentences(release["word"], text, self.baseline)
        assert shown.compared == counts
        return shown

    def release_command(self, print_: Callable[..., str]) -> Shown:
        rows = json.loads(print_("release", self.model, "--format", "json"))["releases"]
        (release,) = rows
        table = print_("release", self.model)
        (line,) = (line for line in table.splitlines() if " grounded " in line)
        (judge,) = (one for one in release["figures"] if one["name"] == "grounded")
        assert judge["sentence"] in line
        return Shown(release["word"], *read_change(line))

    def overview(self) -> Shown:
        found = self.get("overview")["newest_versions"]
        (newest,) = (one for one in found if one["model"] == self.model)
        page = self.page("news").partition("New versions, compared with")[2]
        row = re.search(rf"{self.model} v2 unknown \(no source code sent\) ([a-z ]+?) (is|N)", page)
        assert row, page
        assert row[1] == newest["word"]
        verdict = self.verdict()
        assert newest["sentence"] == verdict["sentence"]
        return Shown(newest["word"])

    def problem(self) -> Shown | None:
        """Read the problem on Home; None if the version is not worse."""
        page = self.page("news").partition("New versions, compared with")[0]
        (text,) = re.findall(rf"{self.model} v2 is worse .*?Show [\d,]+ runs", page) or [""]
        found = DIFFERENCE.search(text)
        if found is None:
            return None
        included = re.search(COUNTS, text.partition("Included: ")[2])
        counts = included.groups() if included else None
        return Shown(
            "worse",
            (number(found[1]), number(found[2]), number(found[3])),
            by_version([(counts[0], counts[1]), (counts[2], counts[3])]) if counts else None,
            read_compared(text, self.baseline),
        )

    def alert(self) -> tuple[bool, int]:
        """Return whether a rule fires at the last window, and how many runs of v2 it counts."""
        rule = {
            "when": 'worse("grounded")',
            "where": f'model == "{self.model}"',
            "window": "1h",
            "every": "1h",
            "hold": "1 of 1",
        }
        path = f"/api/v1/projects/{IN_ADDRESS}/alert-check"
        headers = {"content-type": "application/json"}
        status, _, answer = self.collector.post(path, json.dumps(rule).encode(), headers)
        assert status == 200, answer
        (own,) = json.loads(answer)["slices"]
        last = own["points"][-1]
        return last["value"] == 1.0, last["runs"]


SIDES: Final = ("baseline", "candidate")
WORDS_IN_TEXT: Final = ("worse", "better", "no difference", "not enough data")


@pytest.fixture
def print_(
    filled: CollectorProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Return what a command prints."""
    monkeypatch.setenv("OTEL_ML_ENDPOINT", filled.endpoint)
    monkeypatch.setenv("OTEL_ML_PROJECT", PROJECT)

    def run(*words: str) -> str:
        main([*words])
        return capsys.readouterr().out

    return run


def check(places: Mapping[str, Shown], expected: Shown) -> None:
    """Check that each place shows the same, as far as it shows it, rounded to whole points."""
    assert expected.change is not None
    for name, shown in places.items():
        assert (name, shown.word) == (name, expected.word)
        if shown.change is not None:
            # Two rounded rates can differ by a point more or less than their difference.
            rounded = [
                pytest.approx(value, abs=limit)
                for value, limit in zip(expected.change, (1.0, 0.6, 0.6), strict=True)
            ]
            assert (name, *shown.change) == (name, *rounded)
        assert (name, shown.scored) in ((name, None), (name, expected.scored))
        assert (name, shown.compared) in ((name, None), (name, expected.compared))


@sampled(only=("canary-1-2",))
@pytest.mark.parametrize(("model", "baseline", "candidate"), BOTH)
def test_one_verdict_everywhere(
    filled: CollectorProcess,
    print_: Callable[..., str],
    tmp_path: Path,
    *,
    model: str,
    baseline: int,
    candidate: int,
) -> None:
    """API, comparison, model page, Home, command, assistants and Markdown show one verdict."""
    asking = Asking(filled, model, baseline, candidate)
    expected = asking.api()
    word = WORDS[model]
    assert expected.word == (word if candidate == 2 else MIRRORED.get(word, word))
    printed, written = asking.command(print_, tmp_path)
    places = {
        "sentences of the API": asking.api_sentences(),
        "comparison": asking.comparison(),
        "comparison page": asking.comparison_page(),
        "Markdown of the page": asking.markdown_to_copy(),
        "model page": asking.model_page(),
        "command": printed,
        "Markdown of the command": written,
        "assistants": asking.assistant(),
    }
    if candidate == 2:
        places |= {
            "release": asking.release(),
            "release command": asking.release_command(print_),
            "Home": asking.overview(),
        }
        problem = asking.problem()
        assert (problem is not None) == (word == "worse")
        places |= {"problem": problem} if problem else {}
    check(places, expected)


@sampled(1)
@pytest.mark.parametrize("model", WORDS)
def test_alert_has_the_verdict(filled: CollectorProcess, model: str) -> None:
    """An alert rule fires if the newest version is worse, and counts the same runs."""
    asking = Asking(filled, model, 1, 2)
    expected = asking.api()
    assert expected.scored is not None
    assert asking.alert() == (expected.word == "worse", expected.scored[1])


@sampled(1)
@pytest.mark.parametrize("model", WORDS)
def test_swapped_versions_are_mirrored(filled: CollectorProcess, model: str) -> None:
    """If the versions are swapped, words, figures and counts of all measures are mirrored."""
    forward, backward = (
        Asking(filled, model, baseline, 3 - baseline).verdict() for baseline in (1, 2)
    )
    assert backward["word"] == MIRRORED.get(forward["word"], forward["word"])
    figures = [
        {one["name"]: one for one in found["judges"] + found["amounts"]}
        for found in (forward, backward)
    ]
    assert figures[0].keys() == figures[1].keys() == {"grounded", "latency"}
    for name, own in figures[0].items():
        other = figures[1][name]
        assert (own["baseline"], own["candidate"]) == (other["candidate"], other["baseline"])
        assert other["word"] == MIRRORED.get(own["word"], own["word"])
        if name == "grounded":
            low, value, high = (own["difference"][end] for end in ("low", "value", "high"))
            mirrored = -high, -value, -low
            theirs = other["difference"]
        else:
            low, value, high = (own["difference"][end] for end in ("low", "value", "high"))
            mirrored = 1 / high, 1 / value, 1 / low
            theirs = other["difference"]
        assert [theirs[end] for end in ("low", "value", "high")] == pytest.approx(mirrored)
        note = re.compile(r"no difference \(at most .*?\)|not enough data: [^(]*")
        assert note.findall(own["sentence"]) == note.findall(other["sentence"])


@sampled(only=("canary-1-2", "rolled-1-2"))
@pytest.mark.parametrize(("model", "baseline", "candidate"), BOTH)
def test_counts_of_runs_are_explained(
    filled: CollectorProcess, model: str, baseline: int, candidate: int
) -> None:
    """The model page says why it shows different counts of runs."""
    asking = Asking(filled, model, baseline, candidate)
    expected = asking.api()
    query = f"model={model}&version={candidate}&against={baseline}"
    page = asking.page(f"model-verdict?{query}")
    assert ("20 runs with v2 in other hours not counted" in page) == (model == "canary")
    whom = page.partition(" Verdict ")[2].partition("For whom")[2].partition(" Verdict ")[2]
    counts = re.findall(r"\b[ab] ([\d,]+) ([\d,]+) runs", whom)
    if counts:  # otherwise no client has runs of both versions, or too few of them
        sums = [sum(int(number(row[side])) for row in counts) for side in (0, 1)]
        assert expected.scored is not None
        assert sums == [expected.scored[version - 1] for version in (baseline, candidate)]
    assert bool(counts) == (model in ("canary", "rolled", "same"))
    if expected.scored != expected.compared:
        assert re.search(r"[\d,]+ scored runs", page)
