"""Pages with lists of thousands show one part, its total, and keep the position in the address."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from otel_ml_collector.span import Event, Span, Value
from tests.nightly.browser.hostile import (
    PROJECT,
    Story,
    Watch,
    address,
    go_on,
    model_address,
    payload,
    scroll,
    telling,
    unfold,
)
from tests.support.otel_ml_collector.spans import make_artifact, make_record

MANY = 10_000


class Lists(Story):
    """A run with thousands of records of each kind, and models with many versions or lines."""

    def tell(self) -> None:
        run = self.call(
            "many",
            payload(1, 2),
            events=[
                *(Event("otel_ml.log", self.now_ns + n, line(n)) for n in range(5_000)),
                *(make_artifact(f"ref {n}", f"{n}", at_ns=self.now_ns + n) for n in range(900)),
            ],
        )
        self.send(run, self._update(run, {f"otel_ml.tag.tag {n:05}": n for n in range(MANY)}))
        self.send(self._update(run, points([f"metric {n:05}" for n in range(MANY)])))
        for _ in range(10):
            self.send(self._update(run, points(["metric 00000"] * MANY)))
        self.send(*(self._score(run, n) for n in range(3_000)))
        self.address = address(run)
        source = "".join(f"    a{n} = {n}\n" for n in range(20_000))
        self._version("long", "def f():\n" + source, "def f():\n" + source.replace(" = ", " = 1"))
        self._version("line", "x = " + "a b " * 100_000, "x = " + "a c " * 100_000)
        self._version("often", *(f"x = {n}" for n in range(2_000)))

    def _update(self, run: Span, told: dict[str, Value]) -> Span:
        return make_record("update", run, told, start_ns=self.now_ns, end_ns=self.now_ns)

    def _score(self, run: Span, number: int) -> Span:
        told: dict[str, Value] = {
            "otel_ml.judge.name": f"judge {number:04}",
            "otel_ml.score.value": number / 3_000,
            "otel_ml.explanation": "because " * 100,
        }
        return make_record("evaluation", run, told, start_ns=self.now_ns, end_ns=self.now_ns)

    def _version(self, model: str, *sources: str) -> None:
        spans = [
            self.call(
                model,
                {
                    "otel_ml.model.version": f"{number:064x}",
                    "otel_ml.model.definition": str(payload({"source": source})["otel_ml.inputs"]),
                },
                start_ns=self.now_ns - 10**12 + number,
            )
            for number, source in enumerate(sources)
        ]
        self.send(*spans)


def line(number: int) -> dict[str, Value]:
    return {"otel_ml.log.message": f"line {number}", "otel_ml.log.severity": "info"}


def points(names: list[str]) -> dict[str, Value]:
    return {
        "otel_ml.metric.names": names,
        "otel_ml.metric.values": [float(n % 97) for n in range(len(names))],
        "otel_ml.metric.steps": list(range(len(names))),
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lists]:
    with telling(tmp_path_factory.mktemp("lists")) as told:
        lists = Lists(told.collector)
        lists.tell()
        yield lists


@pytest.fixture(params=[1280])
def watch(request: pytest.FixtureRequest, chromium: Browser, story: Lists) -> Iterator[Watch]:
    watched = Watch(chromium, story.collector.endpoint, request.param)
    yield watched
    watched.close()


def test_parts_of_lists(watch: Watch, story: Lists) -> None:
    """Tags, log lines, scores and artifacts of a run are shown in parts."""
    sections = ("tags", "log", "scores", "artifacts")
    page = watch.visit(story.address, scroll, *(go_on(section) for section in sections), unfold)
    for section, text in {
        "tags": "101 to 200 of 10,000 tags",
        "log": "101 to 200 of 5,000 lines",
        "scores": "101 to 200 of 3,000 scores",
        "artifacts": "51 to 100 of 900 artifacts",
    }.items():
        assert f"{section}_from=" in page.url
        expect(page.locator(f"#{section} .pager")).to_contain_text(text)
    page.reload()
    expect(page.locator("#tags")).to_contain_text("tag 00100")
    expect(page.locator("#log")).to_contain_text("line 100")
    expect(page.locator("#scores")).to_contain_text("judge 0100")
    expect(page.locator("#artifacts")).to_contain_text("ref 849")
    go_on("tags", "Previous")(page)
    watch.settle()
    expect(page.locator("#tags .pager")).to_contain_text("1 to 100 of 10,000 tags")


def test_pages_beside_such_a_run(watch: Watch, story: Lists) -> None:
    """The lists of runs, models and metrics stay fast in a project with such a run."""
    for path in ("/", *(f"/projects/{PROJECT}/{part}" for part in ("runs", "models", "metrics"))):
        watch.visit(path, scroll)


def test_versions(watch: Watch, story: Lists) -> None:
    """A model with 2,000 versions shows 50 of them, and any two requested versions compared."""
    path = model_address("often")
    page = watch.visit(path, scroll, go_on("versions"), scroll)
    expect(page.locator("#versions .pager")).to_contain_text("51 to 100 of 2,000 versions")
    page = watch.visit(f"{path}?from=3&to=1000")
    expect(page.locator(".diff")).to_contain_text("x = 999")


@pytest.mark.parametrize("model", ["long", "line"])
def test_long_sources(watch: Watch, model: str) -> None:
    """Only the first part of two sources with 20,000 lines or a very long line is compared."""
    page = watch.visit(model_address(model), scroll)
    expect(page.locator("main")).to_contain_text("first 1,000 lines and 100,000 characters")
    assert page.locator(".diff tbody tr").count() <= 2_000
