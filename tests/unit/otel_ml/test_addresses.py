"""Names as segments of addresses."""

from posixpath import normpath
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from otel_ml.addresses import read_segment, write_segment

NAMES = st.text(alphabet=st.one_of(st.sampled_from("~./%\\ ?#é"), st.characters(codec="utf-8")))


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("answer", "answer"),
        ("runs", "runs"),
        ("models/1", "models%2F1"),
        ("100% sure", "100%25%20sure"),
        (".", "~."),
        ("..", "~.."),
        ("~..", "~~.."),
        ("~/notes", "~%2Fnotes"),
        ("...", "..."),
        (".env", ".env"),
        ("größe", "gr%C3%B6%C3%9Fe"),
    ],
)
def test_segment(name: str, segment: str) -> None:
    """Only a name of one or two dots gets a tilde; other names are percent-encoded."""
    assert (write_segment(name), read_segment(segment)) == (segment, name)


@given(NAMES.filter(bool))
def test_any_name_arrives(name: str) -> None:
    """Any name is one segment, which no client removes, and is read back unchanged."""
    address = f"http://c/projects/shop/sessions/{write_segment(name)}"
    path = urlsplit(str(parse_url(address))).path
    assert normpath(path) == path
    assert [read_segment(part) for part in path[1:].split("/")] == [
        "projects",
        "shop",
        "sessions",
        name,
    ]


@given(st.text(alphabet="~.", max_size=6))
def test_names_do_not_collide(name: str) -> None:
    """Two names never have one segment."""
    assert read_segment(write_segment(name)) == name
