"""Tests of previews in lists."""

import json
import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.web.previews import (
    find_shared,
    leave_out_shared,
    write_differences,
    write_preview,
)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"area": 119, "rooms": 5, "city": "Leipzig"}', "area 119 · rooms 5 · Leipzig"),
        ('{"area": 52.123456, "heating": null}', "area 52.12 · no heating"),
        ('{"lift": true, "garden": false}', "lift · not garden"),
        (
            '{"houses": 1,200 × 6 table: area, rooms, "city": "Leipzig"}',
            "houses 1,200 × 6 table: area, rooms · Leipzig",
        ),
        (
            '{"photo": {"type":"PIL.Image","size":[1024,768]}, "rooms": 4}',
            "photo 1,024 × 768 · rooms 4",
        ),
        ('{"area": 119, "note": "a long te…', "area 119 · a long te…"),
        ('{"area": 119, "rooms": …', "area 119 · …"),
        ("[1,4.25,7.123456]", "1, 4.25, 7.123"),
        (
            '{"type": "numpy.ndarray", "dtype": "float64", "shape": [1200, 3], "he…',
            "array 1,200 × 3 float64",
        ),
        ("0.8712345678", "0.8712"),
        ("618624.84", "618,600"),
        ("12.345", "12.35"),
        ("1.10", "1.10"),
        ('[{"city": "Leipzig", "rooms": 4}]', "Leipzig · rooms 4"),
        ('[{"city": "Leipzig"}, {"city": "Halle"}]', "Leipzig · 2 values"),
        ('[{"city": "Leipzig"}, {"city": "Ha…', "Leipzig · …"),
        ('[{"city": "Leipzig", "note": "a long te…', "Leipzig · a long te…"),
        ("[1,4,2,8…", "1, 4, 2, …"),
        (
            '{"capital": 2, "documents": [{"page_content":"Paris is the cap…',
            "capital 2 · documents Paris is the cap…",
        ),
        ('{"capital":2,"documents":[{"page_con…', "capital 2 · documents …"),
        ('{"note": "a \\"long\\" te…', 'a "long" te…'),
        ('{"note": "a li\\u00…', "a li…"),
        ("[[1, 2], [3.5, 4]]", "1, 2, 3.5, 4"),
        ("[INFO] started", "[INFO] started"),
        ("{name}", "{name}"),
        ("[x]", "[x]"),
        ("[1 of 3] done", "[1 of 3] done"),
        ("data:audio/wav;base64,UklGRqQ", "audio"),
        ("Why is 119 m² cheaper?", "Why is 119 m² cheaper?"),
        ("", ""),
    ],
)
def test_previews(stored: str, shown: str) -> None:
    """Objects and lists read as words, also if the stored preview is cut."""
    assert write_preview(stored) == shown


NESTED: Final[dict[str, Any]] = {
    "question": 'Where is "it"?\n\u00e4',
    "documents": [
        {"page_content": "Paris", "metadata": {"source": "a", "page": 12, "is_new": True}},
        {"page_content": "Rome\tItaly", "scores": [0.5, None, [1, 2]], "empty": {}},
    ],
    "limits": {"top": {"k": 3}, "names": ["a", "b"]},
    "capital": 2,
}


@pytest.mark.parametrize("document", [NESTED, NESTED["documents"], [[1, 2], ["a", {"b": "c"}]]])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("end", ["…", ""])
def test_cut_json(document: object, separators: tuple[str, str], end: str) -> None:
    """JSON that is cut at any position has a preview without its punctuation."""
    for is_ascii in (True, False):
        text = json.dumps(document, separators=separators, ensure_ascii=is_ascii)
        for place in range(1, len(text)):
            shown = write_preview(text[:place] + end)
            assert not re.search(r'[{\[\]}\\]|":', shown), (text[:place], shown)


@given(st.text(max_size=200))
def test_any_preview(text: str) -> None:
    """Any text has a preview, and what is no JSON stays."""
    for stored in (text, '{"' + text, "[" + text, '{"a": ' + text):
        write_preview(stored)
    if text[:1] not in ("{", "[", "d", "-") and not text[:1].isdigit():
        assert write_preview(text) == text


def test_differences() -> None:
    """Of two objects, only the members that differ are written; other values are whole."""
    before, after = (
        '{"city": "Leipzig", "rooms": 4}',
        '{"city": "Leipzig", "rooms": 5, "lift": true}',
    )
    assert write_differences(before, after) == ("rooms 4", "rooms 5 · lift")
    assert write_differences("yes", after) == ("yes", "Leipzig · rooms 5 · lift")


def test_what_rows_share_comes_last() -> None:
    """Members with the same value in all rows come behind those that differ."""
    rows = [f'{{"city": "Leipzig", "area": {area}}}' for area in (64, 88, 119)]
    shared = find_shared(rows)
    assert [write_preview(row, shared) for row in rows] == [
        *("area 64 · Leipzig", "area 88 · Leipzig", "area 119 · Leipzig")
    ]
    assert find_shared(rows[:2]) == find_shared([rows[0]] * 3) == frozenset()


def test_items_with_the_same_history() -> None:
    """Items that begin with the same history show what differs."""
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    questions = ("Why?", "How?", "When?")
    objects = [{"history": history, "question": question} for question in questions]
    assert leave_out_shared(objects) == [{"question": question} for question in questions]
    lists = [[*history, {"role": "user", "content": question}] for question in questions]
    assert leave_out_shared(lists) == [[each[-1]] for each in lists]
    assert leave_out_shared(objects[:2]) == objects[:2]
    assert leave_out_shared([1, "a", None]) == [1, "a", None]
    assert leave_out_shared([{"a": 1}] * 3) == [{"a": 1}] * 3
