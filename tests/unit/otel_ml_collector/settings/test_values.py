"""Tests of settings whose text has its own format."""

import pytest

from otel_ml_collector.settings.values import label_of, read_tags


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("client", ("client",)),
        (" Client , is-new ,, Client", ("Client", "is-new")),
        ("a,b,c,d,e", ("a", "b", "c", "d", "e")),
    ],
)
def test_tags(text: str, tags: tuple[str, ...]) -> None:
    """Tag names are read as written, each once."""
    assert read_tags(text) == tags


@pytest.mark.parametrize("text", ["a,b,c,d,e,f", "is-new,is_new", "größe,gr__e"])
def test_odd_tags(text: str) -> None:
    """Too many tags are rejected, and so are two tags with the same label."""
    with pytest.raises(ValueError, match=r"^expected at most 5 names that differ in letters"):
        read_tags(text)


@pytest.mark.parametrize(
    ("tag", "label"), [("client", "tag_client"), ("is-new", "tag_is_new"), ("7 é", "tag_7__")]
)
def test_label(tag: str, label: str) -> None:
    """The label of a tag contains only ASCII letters, digits and underscores."""
    assert label_of(tag) == label
