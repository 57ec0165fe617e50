"""Versions in recorded spans, as the source of a model changes."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from otel_ml.versions.definition import define
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.otel_ml.written import imported

MODEL: Final = """
from shop import settings
from shop.first import first

PROMPT = "Answer: "

def make(limit):
    def model(text: str, mark="!") -> str:
        # In one word.
        def inner():
            return PROMPT + first(text)[:limit]
        return inner() + mark + settings.MODE
    return model

model = make(30)
"""
SOURCES: Final = {
    "shop.model": MODEL,
    "shop.first": "from shop.second import second\ndef first(a): return second(a)\n",
    "shop.second": "from shop.third import third\ndef second(a): return third(a)\n",
    "shop.third": "from shop.fourth import fourth\ndef third(a): return fourth(a)\n",
    "shop.fourth": "def fourth(a): return a\n",
    "shop.settings": "MODE = '.'\n",
}
# Single changes of the first state, and whether each creates a new version.
CHANGES: Final = [
    ("shop.model", "Answer: ", "Say: ", True),
    ("shop.model", 'mark="!"', 'mark="?"', True),
    ("shop.model", "text: str", "text: object", True),
    ("shop.model", "-> str", "-> object", True),
    ("shop.model", "make(30)", "make(40)", True),
    ("shop.model", "PROMPT + first", "first", True),
    ("shop.first", "second(a)", "second(a) + ''", True),
    ("shop.second", "third(a)", "third(a) + ''", True),
    ("shop.third", "fourth(a)", "fourth(a) + ''", True),
    ("shop.settings", "'.'", "','", True),
    ("shop.fourth", "return a", "return a + ''", False),
    ("shop.model", "# In one word.", '"""In one word."""', False),
    ("shop.model", "def inner", "\n        def inner", False),
    ("shop.model", '"!"', "'!'", False),
]


def test_each_state_has_its_version(recording: Recording, tmp_path: Path) -> None:
    """Each change of behaviour gives a new version; reverting it gives the first version again."""
    states = [SOURCES]
    for module, old, new, _ in CHANGES:
        assert SOURCES[module].count(old) == 1
        states += [{**SOURCES, module: SOURCES[module].replace(old, new)}, SOURCES]
    for sources in states:
        with imported(tmp_path, sources, "shop.model") as shop:
            recording.client.trace(name="model")(shop.model)("Hello")
    found = [attributes(run)["otel_ml.model.version"] for run in recording.runs()]
    assert found[::2] == [found[0]] * len(found[::2])
    opened = [version for version in found[1::2] if version != found[0]]
    assert [version != found[0] for version in found[1::2]] == [opens for *_, opens in CHANGES]
    assert len(set(opened)) == len(opened)


def test_module_that_is_run_has_the_same_digest(tmp_path: Path) -> None:
    """A module run with ``python -m`` has the same digest as when it is imported."""
    text = """
        from shop.first import first

        def model(a):
            return first(a)

        if __name__ == "__main__":
            from otel_ml.versions.definition import define

            print(define(model).digest)
    """
    sources = {"shop.model": text, "shop.first": "def first(a):\n    return a\n"}
    with imported(tmp_path, sources, "shop.model") as module:
        root = Path(module.__file__ or "").parents[1]
        digest = define(module.model).digest
    command = [sys.executable, "-m", "shop.model"]
    assert subprocess.check_output(command, cwd=root, text=True, timeout=180) == f"{digest}\n"
