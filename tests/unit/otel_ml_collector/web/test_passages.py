"""Tests of retrieved documents, as libraries return them."""

from typing import Any

import pytest

from otel_ml_collector.web.passages import RetrievedPassage, find_passages

DOCUMENT = {"page_content": "69 hours", "metadata": {"source": "a"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"content": "69 hours", "score": 0.912}], [("69 hours", "0.91")]),
        ([[DOCUMENT, 0.5], [DOCUMENT, 0.25]], [("69 hours", "0.50"), ("69 hours", "0.25")]),
        ([{"node": {"text": "69 hours"}, "score": 0.5}], [("69 hours", "0.50")]),
        ({"documents": [DOCUMENT]}, [("69 hours", "")]),
        (["one", "two"], [("one", ""), ("two", "")]),
    ],
    ids=["scored", "langchain", "llama_index", "haystack", "texts"],
)
def test_documents(value: Any, expected: list[tuple[str, str]]) -> None:
    """Documents are read in their order, with the start of their text and their score."""
    expected_passages = [RetrievedPassage(*each) for each in expected]
    assert find_passages(value, is_retriever=True) == expected_passages


@pytest.mark.parametrize("value", [None, "text", 5, [], {}, [1, 2], [{"x": 1}], {"documents": 3}])
def test_no_documents(value: Any) -> None:
    """Any other value has no documents."""
    assert find_passages(value, is_retriever=True) == []


def test_output_of_a_tool() -> None:
    """Texts that a tool returns are documents only if they have scores."""
    assert find_passages(["one", "two"], is_retriever=False) == []
    assert find_passages([{"text": "one", "score": 1}], is_retriever=False) == [
        RetrievedPassage("one", "1.00")
    ]
