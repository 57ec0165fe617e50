"""Tests of showing texts: with a length limit, and with invisible characters named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.web.view import Exact, short, show, whole
from otel_ml_collector.wording import visible

FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e007f"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, with\ttab and\r\nlines", "plain, with\ttab and\r\nlines"),
        ("a\0b\x1b[31m\x7f", "a␀b␛[31m␡"),
        ("\x85\u200b\ufeff\u2060", "[U+0085][U+200B][U+FEFF][U+2060]"),
        ("user\u202egnp.exe", "user[U+202E]gnp.exe"),
        (
            "\u2067closed\u2069 \u2068\u2066too\u2069\u2069",
            "\u2067closed\u2069 \u2068\u2066too\u2069\u2069",
        ),
        ("\u2067open", "[U+2067]open"),
        ("\u2069\u2067", "[U+2069][U+2067]"),
        ("half \ud800", "half [U+D800]"),
        ("hidden \U000e0041", "hidden [U+E0041]"),
        (FLAG, FLAG),
        (
            "\u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f4bb a\u200cb",
            "\u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f4bb a\u200cb",
        ),
    ],
    ids=ascii,
)
def test_visible(text: str, seen: str) -> None:
    """Characters that hide or reorder text are named. Those of scripts and emoji are kept."""
    assert visible(text) == seen


def test_bounds() -> None:
    """A long text is cut and its length is shown, unless it is already limited elsewhere."""
    assert show("x" * 10_001) == "x" * 10_000 + "… (10,001 characters)"
    assert short("x" * 201) == "x" * 200 + "… (201 characters)"
    assert show(whole("x" * 20_000)) == "x" * 20_000
    assert show(Exact("\x1b")) == "\x1b"
    assert show(3) == 3


@given(st.text(st.characters(codec=None)))
def test_any_text(text: str) -> None:
    """Any text can be written to a page, and naming invisible characters twice changes nothing."""
    seen = visible(text)
    seen.encode()
    assert visible(seen) == seen
