"""Tests of the API and Python calls that pages show for their data."""

import ast
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import pytest

from tests.support.browser.fixtures import Tab
from tests.support.browser.tour import DOCS
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")
ERRORS: Final = 'outcome == "error"'
FAILED: Final = f"{DOCS}/runs?where={quote(ERRORS)}"
# A page, a selector for its rows, and the same values from the API and from the reader.
PAGES: Final[Sequence[tuple[str, str, Callable[[Any], Any], Callable[[Any], Any]]]] = [
    (
        "/",
        "main table >> nth=0 >> tbody td:first-child a",
        lambda told: [one["project"] for one in told["projects"]],
        lambda found: [one.project for one in found],
    ),
    (
        FAILED,
        "tr[data-run]",
        lambda told: [one["run_id"] for one in told["runs"]],
        lambda found: [one.run_id for one in found],
    ),
    (
        f"{DOCS}/models",
        "main tbody td:first-child a",
        lambda told: [one["model"] for one in told["models"]],
        lambda found: [one.model for one in found],
    ),
    (
        f"{DOCS}/models/answer",
        "#versions table >> nth=0 >> tbody td:first-child a",
        lambda told: [f"v{one['version']}" for one in told["versions"]],
        lambda found: [f"v{one.version}" for one in found],
    ),
]


def ask_as_shown(line: str) -> Any:
    """Send the request of a curl line; return the decoded response."""
    curl, *words = shlex.split(line)
    assert curl == "curl"
    address = next(word for word in words if word.startswith("http"))
    given = [
        words[place + 1].split("=", 1)
        for place, word in enumerate(words)
        if word in {"-d", "--data-urlencode"}
    ]
    assert ("-G" in words) is bool(given)
    with urlopen(f"{address}?{urlencode([(name, value) for name, value in given])}") as answer:
        return json.loads(answer.read())


def run_as_copied(text: str) -> Any:
    """Run the Python code of the copy button; return the value of its last line."""
    *before, last = ast.parse(text).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(before, []), "copied", "exec"), names)  # noqa: S102
    found = eval(compile(ast.Expression(last.value), "copied", "eval"), names)  # noqa: S307
    result = list(found) if hasattr(found, "__iter__") else found
    names["reader"].close()
    return result


@sampled(1)
@pytest.mark.parametrize(("path", "shown", "of_api", "of_reader"), PAGES)
def test_calls_give_what_the_page_shows(
    tab: Tab,
    path: str,
    shown: str,
    of_api: Callable[[Any], Any],
    of_reader: Callable[[Any], Any],
) -> None:
    """The API call and the Python line below a list return exactly its rows."""
    page = tab.open(path)
    rows = page.locator(shown)
    texts = [row.get_attribute("data-run") or row.inner_text() for row in rows.all()]
    assert texts
    order: Callable[[Any], Any] = sorted if path == "/" else list  # the worst project is first
    assert order(of_api(ask_as_shown(page.locator("#api-call").inner_text()))) == order(texts)
    copied = page.locator("#python-call").get_attribute("data-text") or ""
    assert order(of_reader(run_as_copied(copied))) == order(texts)


@at_night
def test_calls_of_one_run_and_its_metrics(tab: Tab, demo: CollectorProcess) -> None:
    """The calls on a run's page return the run; those on its metrics page return its curves."""
    [owner, *_] = demo.get("/projects/digits/metrics")["runs"]
    page = tab.open(f"/projects/digits/runs/{owner['run_id']}")
    told = ask_as_shown(page.locator("#api-call").inner_text())
    found = run_as_copied(page.locator("#python-call").get_attribute("data-text") or "")
    assert told["run_id"] == found.run_id == owner["run_id"]
    page = tab.open(f"/projects/digits/metrics?run_id={owner['run_id']}")
    told = ask_as_shown(page.locator("#api-call").inner_text())
    found = run_as_copied(page.locator("#python-call").get_attribute("data-text") or "")
    assert [one["name"] for one in told["series"]] == found == ["accuracy", "loss"]
