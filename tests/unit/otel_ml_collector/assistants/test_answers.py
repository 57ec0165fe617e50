"""Tests of answers to assistants: size limits, omissions, and marks on foreign texts."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.assistants.answers import (
    ASKED_CHARS,
    LEVELS,
    USUAL_CHARS,
    Digest,
    DigestTable,
    Excerpt,
    Own,
    cut,
    leaves,
    number,
    show,
    step_into,
    take,
    to_text,
    unshow,
    write,
)
from otel_ml_collector.assistants.read import read_steps, without_media

# Characters that must never reach a model invisibly. Written by hand from the Unicode blocks.
UNSEEN: Final = [
    *range(0x09),
    *range(0x0B, 0x20),
    *range(0x7F, 0xA0),
    *(0xAD, 0x34F, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *(0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB),
    *range(0xE0000, 0xE0080),
    *range(0xE0100, 0xE01F0),
]
TEXTS: Final = st.text(
    st.characters() | st.sampled_from([chr(one) for one in UNSEEN]) | st.just("\ud800"),
    max_size=400,
)


def test_unseen() -> None:
    """An invisible character is shown as a visible escape, which can be decoded."""
    for code in [*UNSEEN, 0xD800, 0xDFFF]:
        shown = show(f"a{chr(code)}b")
        assert shown == f"a\\u{{{code:x}}}b"
        assert unshow(shown) == f"a{chr(code)}b"


def test_seen() -> None:
    """Tabs, newlines and the joiners of emoji and scripts are unchanged."""
    text = "a\tb\n\u200c\u200d 👩\u200d💻 é ﷽"
    assert show(text) == text


@given(TEXTS, st.integers(1, 400))
def test_cut(text: str, most: int) -> None:
    """A text is cut to the given length, and the number of omitted characters is appended."""
    shown, unseen = cut(text, most)
    match = re.fullmatch(r"(.*)…\(\+(\d+)\)", shown, re.DOTALL)
    whole, used, _ = take(text, most)
    assert len(whole) <= most
    if len(text) > used:
        assert match is not None
        assert (match[1], int(match[2])) == (whole, len(text) - used)
    else:
        assert shown == show(text)
    assert unseen == sum(len(show(char)) > 1 for char in text[:used])
    assert not any(
        unicodedata.category(char) in {"Cs", "Cc"} for char in whole if char not in "\t\n"
    )


@given(TEXTS, st.integers(8, 40))
def test_take_goes_on(text: str, most: int) -> None:
    """The pieces of a text, taken one after another, add up to the whole text."""
    found, at = "", 0
    while at < len(text):
        piece, used, _ = take(text[at:], most)
        assert used
        found, at = found + piece, at + used
    assert found == show(text)


ROWS: Final = st.lists(
    st.lists(TEXTS | st.integers() | st.floats(), min_size=2, max_size=2), max_size=60
)


@given(ROWS, st.sampled_from([USUAL_CHARS, ASKED_CHARS]), st.integers(0, 1_000))
def test_caps(rows: list[list[Any]], chars: int, more: int) -> None:
    """An answer never exceeds its size limit. Omitted rows are counted and can be requested."""

    def go_on(shown: int) -> Mapping[str, Any]:
        return {"tool": "t", "arguments": {"shown": shown}}

    total = len(rows) + more
    written = write(Digest({}, DigestTable(("a", "b"), rows, total, go_on), chars=chars))
    assert len(to_text(written)) <= chars
    shown = len(written["rows"])
    assert written.get("left_out", 0) == total - shown
    assert (written.get("next") is not None) == (total > shown)
    if total > shown:
        assert written["next"]["arguments"]["shown"] == shown
    assert shown or not rows


@given(TEXTS, TEXTS)
def test_foreign(own: str, stranger: str) -> None:
    """Every field with foreign text is listed by its path, and no other field is."""
    table = DigestTable(("mine", "theirs"), [[Own(own[:100]), stranger]])
    written = write(Digest({"word": Own("x"), "deep": {"text": stranger}, "list": table}))
    expected = ["deep.text", "list.rows.theirs"] if stranger else []
    assert written["foreign"] == expected
    unseen = sum(len(show(char)) > 1 for char in own[:100])
    assert written.get("escaped", 0) >= unseen


def test_one_row_too_long() -> None:
    """If a single row is too long, its texts are cut shorter and the row is kept."""
    columns = [f"c{place}" for place in range(40)]
    table = DigestTable(columns, [["x" * 5_000] * 40])
    written = write(Digest({}, table))
    assert len(to_text(written)) <= USUAL_CHARS
    assert len(written["rows"]) == 1
    assert all(re.fullmatch(r"x+…\(\+\d+\)", cell) for cell in written["rows"][0])


def test_whole() -> None:
    """A requested piece is not cut again, and the characters after it are counted."""
    written = write(Digest({"text": Excerpt("y" * 3_000, 12)}, chars=4_000))
    assert written == {"text": "y" * 3_000 + "…(+12)", "foreign": ["text"]}


def test_numbers() -> None:
    """Numbers have three significant digits. Counts keep all their digits."""
    found = [number(one) for one in (123_456, 123.456, 0.000123456, 1.0, float("inf"))]
    assert found == [123_456, 123, 0.000123, 1, "inf"]


def test_leaves() -> None:
    """A payload is listed leaf by leaf: 5 elements per array, 4 levels, and omissions are noted."""
    payload = {"a": [1, 2, 3, 4, 5, 6, 7], "b": {"c": {"d": {"e": {"f": 1}}}}}
    assert leaves(payload, "inputs") == [
        *((f"inputs.a[{place}]", place + 1) for place in range(5)),
        ("inputs.a[5:]", "…(+2 elements)"),
        ("inputs.b.c.d.e", "…(1 inside)"),
    ]


def test_depth() -> None:
    """A payload of any depth is cut at four levels."""
    deep: Any = "end"
    for _ in range(10_000):
        deep = {"k": deep}
    assert leaves(deep) == [(".".join("k" * LEVELS), "…(1 inside)")]


def test_steps() -> None:
    """A path that an answer printed leads to its leaf."""
    payload = {"outputs": {"items": [{"a b": "x"}]}}
    assert step_into(payload, read_steps("outputs.items[0].a b")) == "x"
    assert step_into(payload, read_steps('outputs.items[0]["a b"]')) == "x"
    with pytest.raises(LookupError):
        step_into(payload, read_steps("outputs.items[1]"))


def test_media() -> None:
    """Images and binary content are replaced by their content type and size."""
    image = "data:image/png;base64," + "iVBORw0KGgo" * 40
    assert without_media(f"see {image} there") == "see (image/png, 330 bytes) there"
    assert without_media("aB3" * 200) == "(binary, 450 bytes)"
    assert without_media("a plain text") == "a plain text"
