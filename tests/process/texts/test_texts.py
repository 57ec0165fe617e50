"""Tests of the texts of all pages and commands: their prose, their figures and their links."""

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import pytest

from otel_ml_collector.cli.program import program
from otel_ml_collector.serve.routes import ROUTES
from tests.support.folders import ROOT
from tests.support.texts.__main__ import FACTS, SNAPSHOTS
from tests.support.texts.commands import COMMANDS, OTHER_COMMANDS
from tests.support.texts.figures import (
    Known,
    Rule,
    find_figures,
    find_names,
    find_values,
    is_number,
    read_answers,
)
from tests.support.texts.pages import PROJECT_ROUTE, read_pages
from tests.support.texts.story import READ_NS

_LIMIT_BYTES: Final = 200_000
_TIMEOUT_S: Final = 300
# Routes that are not pages, and pages that the story cannot show, with the reason.
_NOT_ASKED: Final[Mapping[str, str]] = {
    "/favicon.ico": "a redirect",
    f"{PROJECT_ROUTE}/profiles": "a redirect",
    f"{PROJECT_ROUTE}/problem-of": "a redirect",
    f"{PROJECT_ROUTE}/switch": "a redirect",
    "/sign-in": "needs a collector with keys: test_sign_in",
    "/status": "a mark that replaces another, of one word",
    f"{PROJECT_ROUTE}/newest-verdict": "needs a release of the service: test_releases",
    f"{PROJECT_ROUTE}/version-pairs": "needs versions that ran on the same inputs: test_pairs",
    f"{PROJECT_ROUTE}/problem-pairs": "needs versions that ran on the same inputs: test_pairs",
    f"{PROJECT_ROUTE}/problem-curve": "a picture",
    f"{PROJECT_ROUTE}/experiments/{{run_id}}/markdown": "a file, which has the same content",
}
# Numbers that are part of the program, not of its data.
_FIXED: Final[Mapping[str, str]] = {
    r"9[59] % (interval|confidence)": "level of all intervals",
    r"Last 15 minutes .* Last 30 days": "choices of a period",
    r"1 ?h 24 ?h 7 ?d( 30d)?|7d 30d 60d": "choices of a period",
    r"last 24 hours": "default period",
    r"[Ll]ast 30 days|in 30 days|Calls, 30 days|p95, cost and .*30 days": "period of this page",
    r"the 28 days before": "default reference of fields",
    r"Changes of the last 400 days": "how long changes are kept",
    r"more than 400 days ago": "the oldest run that can be sent",
    r"newest 100 runs": "the most items that can be saved at once",
    r"Try on 20 runs": "size of a trial",
    r"Such as 7d or 24h": "example of a form",
    r"1 to 5, passes from 4.*": "example of a form",
    r"at least 50 answers": "the fewest answers for a correction",
    r"at least 30 known outcomes": "the fewest outcomes of a slice",
    r"the 100 values that are needed": "the fewest values of a slice",
    r"input = 0.10, output = 0.40": "example of a setting",
    r"hooks.slack.com/services/\S+": "example of a setting",
    r"localhost:4318|127\.0\.0\.1": "address of the collector",
    r"All 3 days are checked": "the API has no progress of the checks",
    r"each of the 2,880 windows": "30 days of quarters of an hour",
    r"1970-01-01 to 2100-01-01": "all times, which the story's backfill covers",
    r"Thu 19 Nov 20:30": "the middle of the period",
    r"55 other values": "sessions, of which the API lists at most fifty",
    r"must differ by at least 2 percentage points.*margins": "the default margins",
    r"limit=50": "size of a page of the API",
    r"\[30d\]|\[last\(\"7d\"\)\]": "default of a form",
    r"^(4h|1d|7d)$": "choices of a form",
    r"fewer than 100 values": "the fewest values of a field",
    r"\d+…": "a number that is cut off",
    r"^\w+ +(score|pass|label) +40 .*": "a rubric of the program, which asks no collector",
}
# Texts without figures or links that the API could have, with the reason.
_NO_ANSWERS: Final[Mapping[str, str]] = {
    "pages/monitor": "a frame, whose parts have texts of their own",
    "pages/monitor.progress": "the API has no progress of the checks",
    "commands/judge-ready": "the rubrics of the program, which ask no collector",
}
# Words in links that no answer has.
_WORDS: Final[Mapping[str, str]] = {
    "running": "an outcome",
    "crashed": "an outcome",
    "marked": "the tag of marked runs",
    "quality": "a kind of problem",
}
# Parameters of links whose values are words of the program.
_CHOICES: Final = frozenset(
    {"order", "group", "last", "models", "users", "figure", "format", "window", "roots", "traces"}
    | {"hold", "every", "severity", "min_runs", "name", "when", "limit", "show", "part", "columns"}
    | {"input", "output", "view", "smooth", "is_new", "fresh"}
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the texts and facts of this code, made in a process of its own."""
    folder = tmp_path_factory.mktemp("texts")
    command = [sys.executable, "-m", "tests.support.texts", str(folder)]
    made = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="module")
def facts(written: Path) -> Any:
    """Of each page and command: its text, its links, and the answers of the API."""
    return json.loads((written / FACTS).read_text())


def read_texts(folder: Path) -> dict[str, str]:
    return {f"{path.parent.name}/{path.name}": path.read_text() for path in folder.glob("*/*.txt")}


def test_texts(written: Path) -> None:
    """Each page and command shows the text of its snapshot."""
    before, after = read_texts(SNAPSHOTS), read_texts(written)
    changes = [
        line
        for name in sorted({*before, *after})
        for line in difflib.unified_diff(
            before.get(name, "").splitlines(),
            after.get(name, "").splitlines(),
            f"tests/process/texts/{name}",
            "this code",
            "",
            "",
            1,
            "",
        )
    ]
    assert not changes, "\n".join(
        ["Texts changed. If this is right, type `make texts` and commit the files:", *changes]
    )


def test_every_page_and_command_has_a_text() -> None:
    """No page and no command is left out without a reason, and all texts are short."""
    routes = {
        str(getattr(route, "path", ""))
        for route in ROUTES
        if "GET" in (getattr(route, "methods", None) or ())
    }
    pages = {path for path in routes if not path.startswith(("/api/", "/jaeger/"))}
    assert {*read_pages(), *_NOT_ASKED} == pages
    assert not {*read_pages()} & {*_NOT_ASKED}
    assert {*COMMANDS, *OTHER_COMMANDS} == {*find_commands(program, "")}
    assert not {*COMMANDS} & {*OTHER_COMMANDS}
    assert sum(path.stat().st_size for path in SNAPSHOTS.glob("*/*.txt")) <= _LIMIT_BYTES


def find_commands(command: click.Command, name: str) -> Iterator[str]:
    """Return the names of a command's commands, or of the command itself."""
    if not isinstance(command, click.Group):
        yield name
        return
    context = click.Context(command)
    for part in command.list_commands(context):
        inner = command.get_command(context, part)
        assert inner is not None
        yield from find_commands(inner, f"{name} {part}".strip())


def in_percent(item: Mapping[str, Any]) -> Iterable[float]:
    """Return shares in percent, for columns that have the unit in their header."""
    return [100 * value for value in item.values() if is_number(value) and -1 <= value <= 1]


def change_in_percent(item: Mapping[str, Any]) -> Iterable[float]:
    """Return a ratio as a change in percent."""
    return [100 * value - 100 for value in item.values() if is_number(value) and 0 < value < 2]


def subtract_sides(item: Mapping[str, Any]) -> Iterable[float]:
    """Subtract the baseline from the candidate."""
    before, after = item.get("baseline"), item.get("candidate")
    if isinstance(before, dict) and isinstance(after, dict) and "value" in before:
        yield after["value"] - before["value"]


def add_up(item: Mapping[str, Any]) -> Iterable[float]:
    """Add up the runs, errors and costs of all projects, and divide errors by runs."""
    for parts in item.values():
        if isinstance(parts, list) and parts and isinstance(parts[0], dict):
            sums = {
                name: sum(part.get(name) or 0 for part in parts)
                for name, value in parts[0].items()
                if is_number(value)
            }
            yield from sums.values()
            if sums.get("runs"):
                yield sums.get("errors", 0) / sums["runs"]


def add_others(item: Mapping[str, Any]) -> Iterable[float]:
    """Add up the tokens of the groups after the eight that are shown, in thousands."""
    if len(item.get("groups") or []) > 8:
        tokens = [group["total"]["tokens"] for group in item["groups"][8:]]
        yield sum(part["input"] + part["output"] for part in tokens) / 1_000


def count_others(item: Mapping[str, Any]) -> Iterable[float]:
    """Count the items of a list after the eight that are shown."""
    return [len(parts) - 8 for parts in item.values() if isinstance(parts, list) and len(parts) > 8]


def divide_versions(item: Mapping[str, Any]) -> Iterable[float]:
    """Divide the error of a version by that of the version before it."""
    values = [
        figure["value"]["value"]
        for version in item.get("versions") or []
        for figure in version.get("figures", [])
        if figure["name"] == "mae"
    ]
    return [after / before for after, before in pairwise(values)]


def divide_latencies(item: Mapping[str, Any]) -> Iterable[float]:
    """Divide the latency of a call by that of the call above it."""
    values = [run["latency_ms"] for run in item.get("runs") or [] if "latency_ms" in run]
    return [part / whole for whole, part in pairwise(values)]


def subtract_errors(item: Mapping[str, Any]) -> Iterable[float]:
    """Subtract the failed runs from all runs."""
    if is_number(item.get("runs")) and is_number(item.get("errors")):
        yield item["runs"] - item["errors"]


def count_fields(item: Mapping[str, Any]) -> Iterable[float]:
    """Count the changes of an entry that have no room."""
    changes = item.get("changes")
    return [len(changes) - shown for shown in (2, 3, 4)] if isinstance(changes, list) else []


# Figures that are computed from the answers; `read_answers` has two more rules for all texts.
_COMPUTED: Final[Mapping[str, tuple[Rule, ...]]] = {
    "pages/home": (add_up,),
    "pages/project": (count_others, add_others),
    "pages/facets": (count_others, subtract_errors),
    "pages/runs.run_id.tree": (divide_latencies,),
    "pages/model-verdict": (in_percent, subtract_sides),
    "pages/compare": (in_percent, change_in_percent),
    "pages/experiments.run_id": (in_percent,),
    "pages/judge-rubric": (in_percent,),
    "pages/judge-backfill": (in_percent,),
    "pages/targets.target": (divide_versions,),
    "pages/activity": (count_fields,),
}


def test_every_text_has_facts(facts: Any) -> None:
    """Each snapshot is compared with answers of the API, unless there is a reason."""
    snapshots = {path.removesuffix(".txt") for path in read_texts(SNAPSHOTS)}
    assert {*facts} == snapshots
    assert {name for name, content in facts.items() if not content["answers"]} == {*_NO_ANSWERS}


def read_known(name: str, content: Mapping[str, Any]) -> Known:
    return read_answers(content["answers"], READ_NS, _COMPUTED.get(name, ()))


def cut_fixed(text: str) -> str:
    for pattern in _FIXED:
        text = re.sub(pattern, " ", text)
    return text


def test_figures(facts: Any) -> None:
    """Each number, time and name with digits is in the API's answers, or computed from them."""
    unknown = []
    for name, content in facts.items():
        known = read_known(name, content)
        for text in content["blocks"]:
            cut = cut_fixed(text)
            lacking = [
                f"{figure.value:g} {figure.unit}".strip()
                for figure in find_figures(cut)
                if not known.has_figure(figure)
            ]
            lacking += [
                each.written
                for each in find_names(cut)
                if not known.has_name(each) and each.written not in content["asked"]
            ]
            if lacking:
                unknown.append(f"{name}: {', '.join(lacking)} in {text!r}")
    assert not unknown, "\n".join(["The API does not answer:", *unknown])


def test_links(facts: Any) -> None:
    """Each name, number and ID in a link is in the API's answers, or a word of an address."""
    words = {word for route in ROUTES for word in str(getattr(route, "path", "")).split("/")}
    words |= {*_WORDS}
    unknown = []
    for name, content in facts.items():
        known = read_known(name, content)
        asked = {*find_values(content["asked"].removeprefix("GET "), ())}
        for link in content["links"]:
            lacking = [
                value
                for value in find_values(link, _CHOICES)
                if value not in words and value not in asked and not is_known(value, link, known)
            ]
            if lacking:
                unknown.append(f"{name}: {', '.join(lacking)} in {link}")
    assert not unknown, "\n".join(["The API does not answer:", *unknown])


def is_known(value: str, link: str, known: Known) -> bool:
    if f"/problems/{value}" in link:  # a problem is named after its parts
        return all(part in known.text.lower() or part in _WORDS for part in value.split("-"))
    return json.dumps(value, ensure_ascii=False)[1:-1] in known.text


def test_wrong_figures_are_noticed(facts: Any) -> None:
    """Most figures would be unknown if they were a tenth larger."""
    changed = noticed = 0
    for name, content in facts.items():
        known = read_known(name, content)
        for text in content["blocks"]:
            for figure in find_figures(cut_fixed(text)):
                changed += 1
                noticed += not known.has_figure(figure.change())
    assert noticed > changed / 2, (noticed, changed)
