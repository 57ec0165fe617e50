"""Raymon's tags: normalized names, conversion to otel-ml's tags, and the round trip as a dict."""

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
    """A name becomes lower case, blanks become ``_``, and only a-z0-9_-@./ remain."""
    assert Tag(name=name, value=1, type="label").name == kept


@pytest.mark.parametrize("name", ["", "   ", "äöü", 7, None])
def test_name_that_is_none_is_refused(name: object) -> None:
    """A name that is no string, or is empty after normalization, raises an error."""
    with pytest.raises(ValueError, match=r"^Invalid tag name "):
        Tag(name=name, value=1, type="label")  # type: ignore[arg-type]  # what is refused


@given(st.text())
def test_normalised_name_stays(name: str) -> None:
    """Normalizing a normalized name does not change it."""
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
    """`from_jcr` turns the result of `to_jcr` into an equal tag."""
    tag = Tag(name=name, value=value, type=kind, group=group)
    assert Tag.from_jcr(tag.to_jcr()) == tag


def test_form_has_four_keys() -> None:
    """The dict always has the keys type, name, value and group."""
    assert Tag("Client", "acme", "label").to_jcr() == {
        "type": "label",
        "name": "client",
        "value": "acme",
        "group": None,
    }


def test_all_forms_are_read() -> None:
    """`read_tags` accepts Raymon's tags, dicts and otel-ml's tags in one list."""
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
    """Anything else raises `DataException`, which is Raymon's own error and a ValueError."""
    with pytest.raises(DataException, match=r"^Invalid tag "):
        read_tags([wrong])  # type: ignore[list-item]  # what is refused


def test_tag_of_theirs_is_a_tag_of_ours(recording: Recording, client: Client) -> None:
    """Types and groups are recorded unchanged, including types with a meaning for Raymon."""
    types = ["label", "metric", "vector", "error", "profile-input", "profile-score-error"]
    with client.run("fit") as run:
        run.tag([Tag(kind, 1, kind, "quality") for kind in types])
    told = attributes(recording.run())
    assert {key: told[f"otel_ml.tag.{key}"] for key in types} == dict.fromkeys(types, 1)
    details = ",".join(f'"{kind}":{{"type":"{kind}","group":"quality"}}' for kind in types)
    assert told["otel_ml.tags"] == f"{{{details}}}"
