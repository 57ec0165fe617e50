"""Texts that reorder, hide or flood are shown in place, with visible names, in bounded parts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Event, Value
from tests.nightly.browser.hostile import (
    MEGABYTE,
    PROJECT,
    Story,
    Watch,
    address,
    choose,
    model_address,
    payload,
    scroll,
    telling,
    unfold,
)
from tests.support.otel_ml_collector.spans import make_artifact, make_record

REORDERING = "\u202egnp.exe\u202c \u2067never closed"
UNSEEN = "nul\x00 esc\x1b[31m del\x7f nel\x85 zero\u200bwidth bom\ufeff tag\U000e0041"
SEEN = "nul␀ esc␛[31m del␡ nel[U+0085] zero[U+200B]width bom[U+FEFF] tag[U+E0041]"
EMOJI = "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👍🏽 \u2068isolated\u2069"
WORD = "x" * MEGABYTE
TEXT = "word " * (MEGABYTE // 5)
LONG_MODEL = "model " + "m" * 100_000


class Texts(Story):
    """A run with such texts in every field, and other runs with a megabyte in every field."""

    def tell(self) -> None:
        self.odd = self._tell_all("odd", f"{REORDERING} {UNSEEN}")
        self.words = self._tell_all("words", WORD)
        self.texts = self._tell_all("texts", TEXT)
        self.plain = self.add("emoji", payload(EMOJI, {"surrogate": "\ud800 alone"}))
        self.add(LONG_MODEL, {"otel_ml.model.version": "0" * 64, **payload(1, 2)})
        self.models = [model_address(model) for model in ("odd", "words", "texts")]

    def _tell_all(self, model: str, text: str) -> str:
        told: dict[str, Value] = {
            "otel_ml.tag.long": text,
            "otel_ml.model.version": model.ljust(64, "0"),
            "session.id": text,
            "user.id": text,
            "otel_ml.trace_key": text[:1_000],
            "error.type": text,
            "otel_ml.outcome": "error",
            "deployment.environment.name": text,
            **{f"otel_ml.{name}": quoted({"key": text}) for name in ("inputs", "params")},
            "otel_ml.outputs": quoted(text),
            "otel_ml.model.definition": quoted({"source": f"def f():\n    {text}"}),
            f"other.{text[:1_000]}": text,
            f"otel_ml.tag.{text[:1_000]}": "short",
        }
        trouble: dict[str, Value] = {
            "exception.type": text,
            "exception.message": text,
            "exception.stacktrace": text,
        }
        run = self.call(
            model,
            told,
            status_code=2,
            status_message=text,
            events=[
                Event("exception", self.now_ns, trouble),
                Event("otel_ml.log", self.now_ns, {"otel_ml.log.message": text}),
                make_artifact(text[:1_000], quoted(text), type=text[:200], preview=quoted(text)),
            ],
        )
        at = {"start_ns": self.now_ns, "end_ns": self.now_ns}
        judge: dict[str, Value] = {"otel_ml.judge.name": text[:10_000], "otel_ml.score.value": 0.5}
        said: dict[str, Value] = {"otel_ml.judge.version": "v", "otel_ml.explanation": text}
        points: dict[str, Value] = {
            "otel_ml.metric.names": [text[:1_000]],
            "otel_ml.metric.values": [1.0],
        }
        self.send(
            run,
            make_record("evaluation", run, {**judge, **said}, **at),
            make_record("update", run, points, **at),
        )
        return address(run)


def quoted(value: object) -> str:
    return str(payload(value)["otel_ml.inputs"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Texts]:
    with telling(tmp_path_factory.mktemp("texts")) as told:
        texts = Texts(told.collector)
        texts.tell()
        yield texts


@pytest.fixture(params=[1280, 390])
def watch(request: pytest.FixtureRequest, chromium: Browser, story: Texts) -> Iterator[Watch]:
    watched = Watch(chromium, story.collector.endpoint, request.param)
    yield watched
    watched.close()


def shown(page: Page) -> str:
    """Return all text of a page, including folded text and text for screen readers."""
    text: str = page.evaluate(
        "[document.documentElement.textContent, ...[...document.querySelectorAll('*')].flatMap("
        "(one) => ['title', 'aria-label', 'alt', 'value'].map((name) => one.getAttribute(name)))]"
        ".join(' ')"
    )
    return text


def test_nothing_is_reordered_or_unseen(watch: Watch, story: Texts) -> None:
    """Invisible characters, and characters that reorder text, are shown by their names."""
    lists = [f"/projects/{PROJECT}/{part}" for part in ("runs", "models", "metrics")]
    for path in ["/", *lists, story.odd, *story.models[:1]]:
        text = shown(watch.visit(path))
        found = {char for char in REORDERING + UNSEEN if not char.isprintable()}
        assert found.intersection(text) == set(), path
    text = shown(watch.open(story.odd))
    assert SEEN in text
    assert "[U+202E]gnp.exe[U+202C] [U+2067]never closed" in text


def test_what_scripts_are_written_with_stays(watch: Watch, story: Texts) -> None:
    """Joined emoji, flags and closed isolates are shown unchanged.

    Half a surrogate pair is shown as the replacement character, and the text around it stays.
    """
    page = watch.visit(story.plain)
    expect(page.locator("#input")).to_contain_text(EMOJI)
    expect(page.locator("#output")).to_contain_text("\ufffd alone")


def test_right_to_left_text_stays_in_its_place(watch: Watch, story: Texts) -> None:
    """The name of a right-to-left tag is shown left of its value."""
    path = story.add("hebrew", {"otel_ml.tag.שלום": "123 עולם", **payload("שלום", 1)})
    places = watch.visit(path).evaluate(
        "[...document.querySelectorAll('.tag > *')].map((one) => one.getBoundingClientRect().left)"
    )
    assert places == sorted(places)
    assert len(places) == 2


@pytest.mark.parametrize("name", ["words", "texts"])
def test_a_megabyte_in_every_field(watch: Watch, story: Texts, name: str) -> None:
    """A megabyte in every text field of a run neither freezes its page nor widens it."""
    page = watch.visit(getattr(story, name), scroll, unfold, scroll)
    expect(page.locator("#output")).to_contain_text("1 to 20,000 of 1,000,000 characters")
    watch.visit(getattr(story, name), choose("output", "Raw"), choose("input", "Raw"), scroll)


def test_a_megabyte_in_lists(watch: Watch, story: Texts) -> None:
    """Lists, pages of models and metrics, and the home page stay fast with such runs."""
    lists = [f"/projects/{PROJECT}/{part}" for part in ("runs", "models", "metrics")]
    for path in ["/", *lists, *story.models[1:]]:
        watch.visit(path, scroll, unfold)


def test_a_freeze_is_seen(watch: Watch) -> None:
    """The check for freezes, which these tests rely on, detects a task of 300 ms."""

    def freeze(page: Page) -> None:
        page.evaluate(
            "new Promise((next) => setTimeout(() => {"
            "const end = performance.now() + 300; while (performance.now() < end); next(); }))"
        )

    with pytest.raises(AssertionError, match="a task of 3"):
        watch.visit("/", freeze)
