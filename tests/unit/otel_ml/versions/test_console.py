"""Versions in consoles and notebooks, where functions and constants are redefined."""

import ast
import code
import json
import linecache
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import pytest

from otel_ml import Client
from tests.support.otel_ml.recording import Recording, attributes

HELPER: Final = "def greet(name):\n    return 'Hello, ' + name\n"
MODEL: Final = "@client.trace\ndef model(name):\n    return greet(name) + MARK\n"
# The model is called once after each text is typed.
SESSION: Final = [
    HELPER + "\nMARK = '!'\n\n" + MODEL,
    "MARK = '?'\n",
    "MARK = '!'\n",
    HELPER.replace("Hello", "Goodbye"),
    HELPER + "# as it was\n",
    MODEL,
    MODEL.replace("+ MARK", "+ MARK * 2"),
    "UNREAD = 1\n",
]
# The number of the version of each call, in order of first use.
EXPECTED: Final = [1, 2, 1, 3, 1, 1, 4, 4]


class Console:
    """A session in Python's own console."""

    def __init__(self, client: Client) -> None:
        self._console = code.InteractiveConsole({"__name__": "__main__", "client": client})

    def run(self, text: str) -> None:
        for statement in ast.parse(text).body:
            lines = ast.unparse(statement).splitlines()
            assert not any([self._console.push(line) for line in [*lines, ""]][-1:])


class Notebook:
    """A notebook that runs cells like IPython: in `linecache`, with each statement compiled."""

    _numbers = count()

    def __init__(self, client: Client) -> None:
        self._namespace: dict[str, Any] = {"__name__": "__main__", "client": client, "In": []}

    def run(self, text: str) -> None:
        name = f"<ipython-input-{next(self._numbers)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        for statement in ast.parse(text).body:
            exec(compile(ast.Module([statement], []), name, "exec"), self._namespace)  # noqa: S102


def numbered(versions: list[str]) -> list[int]:
    seen: dict[str, int] = {}
    return [seen.setdefault(version, len(seen) + 1) for version in versions]


@pytest.fixture(autouse=True)
def _no_lines_are_left() -> Iterator[None]:
    yield
    for name in [name for name in linecache.cache if name.startswith("<ipython-input-")]:
        del linecache.cache[name]


@pytest.mark.parametrize("place", [Console, Notebook])
def test_session_has_its_versions(recording: Recording, place: type[Console | Notebook]) -> None:
    """A changed definition is a new version, a restored one the old version."""
    session = place(recording.client)
    for text in SESSION:
        session.run(text)
        session.run("model('x')\n")
    found = [attributes(run)["otel_ml.model.version"] for run in recording.runs()]
    assert numbered(found) == EXPECTED


def test_definition_follows(recording: Recording) -> None:
    """The definition recorded in a notebook is the one at the time of the call."""
    notebook = Notebook(recording.client)
    for text in SESSION[:2]:
        notebook.run(text)
        notebook.run("model('x')\n")
    told = [json.loads(attributes(run)["otel_ml.model.definition"]) for run in recording.runs()]
    assert [(one["source"], one["constants"]) for one in told] == [
        (MODEL.partition("\n")[2].rstrip(), {"MARK": "!"}),
        (MODEL.partition("\n")[2].rstrip(), {"MARK": "?"}),
    ]


def test_structures_are_counted_anew(recording: Recording) -> None:
    """Each version in a notebook has its own limit of eight output structures."""
    notebook = Notebook(recording.client)
    notebook.run("MARK = '!'\n@client.trace\ndef model(n):\n    return {f'a{n}': MARK}\n")
    for mark in "!?":
        notebook.run(f"MARK = {mark!r}\n")
        notebook.run("for n in range(9): model(n)\n")
    found = [attributes(run)["otel_ml.model.output_schema"] for run in recording.runs()]
    assert [index for index, text in enumerate(found) if text == "dynamic"] == [8, 17]


def test_removed_name_is_noticed(recording: Recording) -> None:
    """A removed helper changes the version, even of a call that fails."""
    notebook = Notebook(recording.client)
    notebook.run(SESSION[0])
    notebook.run("model('x')\n")
    with pytest.raises(NameError):
        notebook.run("del greet\nmodel('x')\n")
    found = [attributes(run)["otel_ml.model.version"] for run in recording.runs()]
    assert numbered(found) == [1, 2]


def test_value_that_does_not_count_is_not_held(recording: Recording) -> None:
    """A version does not keep a notebook's table alive that a model reads."""
    notebook = Notebook(recording.client)
    notebook.run("import weakref\nclass Table: pass\ntable = Table()\nseen = weakref.ref(table)\n")
    notebook.run("@client.trace\ndef model():\n    return str(table)\n")
    notebook.run("model()\ndel table\nassert seen() is None\n")
