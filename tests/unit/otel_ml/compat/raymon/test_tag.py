"""Raymon's tags: names of few characters, both forms, and the way through a dict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_ml
from otel_ml import Client
from otel_ml.compat.raymon import DataException, Tag
from otel_ml.compat.raymon.tag import AnyTag, normalize, read_tags
from tests.support.otel_ml.recording import Recording, attributes


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("client", "client"),
        ("SDK Version", "sdk_version"),
        ("a-b_c@d.e/f9", "a-b_c@d.e/f9"),
        ("größe (mm)", "gre_mm"),
        ("trailing ", "trailing"),
        ("two  blanks", "two__blanks"),
    ],
)
def test_name_is_normalised(name: str, kept: str) -> None:
    """A name is in lower case, with ``_`` for blanks and nothing beyond a-z0-9_-@./ left."""
    assert Tag(name=name, value=1, type="label").name == kept


@pytest.mark.parametrize("name", ["", "   ", "äöü", 7, None])
def test_name_that_is_none_is_refused(name: object) -> None:
    """What leaves no name is an error that shows it."""
    with pytest.raises(ValueError, match=r"^Invalid tag name "):
        Tag(name=name, value=1, type="label")  # type: ignore[arg-type]  # what is refused


@given(st.text())
def test_normalised_name_stays(name: str) -> None:
    """A name that was normalised is not changed by it again."""
    try:
        kept = normalize(name)
    except ValueError:
        return
    assert normalize(kept) == kept


@given(
    st.text("abc_-@./09", min_size=1).filter(lambda name: name.strip("_") != ""),
    st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)),
    st.text(),
    st.none() | st.text(),
)
def test_dict_of_a_tag_is_the_tag(name: str, value: object, kind: str, group: str | None) -> None:
    """What `to_jcr` returns is read as an equal tag."""
    tag = Tag(name=name, value=value, type=kind, group=group)
    assert Tag.from_jcr(tag.to_jcr()) == tag


def test_form_has_four_keys() -> None:
    """The dict has type, name, value and group, absent or not."""
    assert Tag("Client", "acme", "label").to_jcr() == {
        "type": "label",
        "name": "client",
        "value": "acme",
        "group": None,
    }


def test_all_forms_are_read() -> None:
    """Tags of Raymon's, dicts of them and tags of ours are one list of tags."""
    given_tags: list[AnyTag] = [
        Tag("a", 1, "metric", "g"),
        {"name": "B c", "value": "x", "type": "label"},
        otel_ml.Tag("D", True),
    ]
    assert read_tags(given_tags) == [
        Tag("a", 1, "metric", "g"),
        Tag("b_c", "x", "label"),
        Tag("d", True),
    ]


@pytest.mark.parametrize("wrong", ["client", 7, None, {"name": "a"}, {"name": "a", "v": 1}])
def test_what_is_no_tag_is_refused(wrong: object) -> None:
    """Anything else is Raymon's own error, and a ValueError."""
    with pytest.raises(DataException, match=r"^Invalid tag "):
        read_tags([wrong])  # type: ignore[list-item]  # what is refused


def test_tag_of_theirs_is_a_tag_of_ours(recording: Recording, client: Client) -> None:
    """Types, also those with a meaning for Raymon, and groups are kept as they are."""
    types = ["label", "metric", "vector", "error", "profile-input", "profile-score-error"]
    with client.run("fit") as run:
        run.tag([Tag(kind, 1, kind, "quality") for kind in types])
    told = attributes(recording.run())
    assert {key: told[f"otel_ml.tag.{key}"] for key in types} == dict.fromkeys(types, 1)
    details = ",".join(f'"{kind}":{{"type":"{kind}","group":"quality"}}' for kind in types)
    assert told["otel_ml.tags"] == f"{{{details}}}"
