"""No text uses a former word for "not enough data" or "no difference" as a verdict."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.statistics.comparison import Word
from otel_ml_collector.verdicts import verdicts
from tests.support.folders import ROOT

PRODUCT: Final = ("otel_ml", "collector/otel_ml_collector")
# These never mean anything else.
ONLY_VERDICTS: Final = ("inconclusive", "no visible difference", "not certain yet")
# These are verdicts if nothing else is said. `unchanged` stays for a figure that is no verdict.
ALONE: Final = ("too early", "watching", "collecting", "collecting data")
FORMER: Final = (*ONLY_VERDICTS, *ALONE, "unchanged")
IN_SENTENCES: Final = re.compile(
    rf"{'|'.join(ONLY_VERDICTS)}|too early to (?:say|tell|know|judge)"
    rf"|: (?:{'|'.join(ALONE)})\b|\b(?:is|are) (?:watching|collecting)\b",
    re.IGNORECASE,
)
# In a template, a text between tags, or the result of a condition.
IN_TEMPLATES: Final = re.compile(rf"[>\"'](?:{'|'.join(ALONE)})[.<\"']", re.IGNORECASE)
VERDICT_FIELDS: Final = re.compile(r"(?:\.|\b)word\b\W{1,8}[\"']unchanged[\"']")


def list_files(*suffixes: str) -> Iterator[tuple[str, str]]:
    """List the names and texts of the product's files."""
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "vendor" not in path.parts and path.is_file():
                yield str(path.relative_to(ROOT)), path.read_text()


def list_texts(source: str) -> Iterator[str]:
    """List the string constants of a module that are no docstrings or comments."""
    tree = ast.parse(source)
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, scopes)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def is_former(text: str) -> bool:
    """Tell whether a text is a former verdict, or a sentence with one."""
    return text.strip().lower() in ALONE or IN_SENTENCES.search(text) is not None


def test_words() -> None:
    """A verdict has one of four words."""
    assert set(Word) == {"better", "worse", "no difference", "not enough data"}


def test_code() -> None:
    """No string of the code is a former verdict."""
    found = [
        (name, text)
        for name, source in list_files(".py")
        for text in list_texts(source)
        if is_former(text)
    ]
    assert found == []


def test_templates() -> None:
    """No template or script writes a former verdict, or compares a word with one."""
    found = [
        (name, match[0])
        for name, text in list_files(".html", ".js", ".css")
        for pattern in (IN_SENTENCES, IN_TEMPLATES, VERDICT_FIELDS)
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_docs() -> None:
    """No page of the docs, and no example of an answer, uses a former verdict."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        (path.name, match[0]) for path in pages for match in IN_SENTENCES.finditer(path.read_text())
    ]
    assert found == []


def list_words(value: Any) -> Iterator[object]:
    """List the values of all fields called `word`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "word" else list_words(item)
    elif isinstance(value, list):
        for item in value:
            yield from list_words(item)


def test_examples_of_the_api() -> None:
    """No field `word` in the examples of the API has a former word."""
    path = Path(verdicts.__file__).parents[1] / "api" / "examples.json"
    words = {word for word in list_words(json.loads(path.read_text())) if isinstance(word, str)}
    assert "not enough data" in words
    assert words.isdisjoint(FORMER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inconclusive: 9 of 20 items", True),
        ("4.8 pts worse, not certain yet (1.0 to 8.9 pts)", True),
        ("Too early to say whether v2 is better", True),
        ("grounded: watching, 186 runs", True),
        ("collecting data", True),
        ("the body is not gzip data: it ends too early", False),
        ("not enough data", False),
    ],
)
def test_search(text: str, expected: bool) -> None:
    """The search finds former verdicts, and nothing else."""
    assert is_former(text) is expected
