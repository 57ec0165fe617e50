"""Raymon's slices become filters, and a slice cannot add anything but tag conditions."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_ml.compat.raymon.api import to_filter
from otel_ml_collector.filter.grammar import Both, FieldComparison, parse

HOSTILE = 'a==x\' or model == "m && b!="] == 1 or tags["c && d==\\'
CONDITIONS = st.tuples(st.sampled_from(["a", "b c"]), st.sampled_from(["==", "!="]), st.text())
PIECES = ["a", "==", "!=", "<", ">=", "&&", " ", "'", '"', "\\", "]", "[", " or ", "5", "#", "\n"]


@pytest.mark.parametrize(
    ("slicestr", "where"),
    [
        (None, ""),
        ("  ", ""),
        ("client==Remax", "tags['client'] == 'Remax'"),
        ("client==Remax && app==v1.0.0", "tags['client'] == 'Remax' and tags['app'] == 'v1.0.0'"),
        ("SDK Version!=1.4.2", "tags['sdk_version'] != '1.4.2'"),
        ("client=='Re max'", "tags['client'] == 'Re max'"),
        ('client==""', "tags['client'] == ''"),
        ("prediction_time_ms>100", "tags['prediction_time_ms'] > 100.0"),
        ("t <= -1.5e3&&t>=0", "tags['t'] <= -1500.0 and tags['t'] >= 0.0"),
        ("client==a==b", "tags['client'] == 'a==b'"),
        ("client==O'Neill", "tags['client'] == \"O'Neill\""),
    ],
)
def test_slice_becomes_a_filter(slicestr: str | None, where: str) -> None:
    """Each condition becomes a comparison of one tag, and all conditions must hold."""
    assert to_filter(slicestr) == where


@pytest.mark.parametrize(
    "slicestr",
    ["client", "client=Remax", "&&", "a==1 &&", "==x", "a>b", "a>nan", "a>1e999", "a==1 || b==2"],
)
def test_what_is_no_slice_is_refused(slicestr: str) -> None:
    """A part of a slice that is not a condition raises an error."""
    with pytest.raises(ValueError, match=r"^Invalid "):
        to_filter(slicestr)


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(PIECES)).map("".join),
        st.lists(CONDITIONS.map("".join)).map("&&".join),
    )
)
@example(HOSTILE)
@example("a==" + "\ud800")
def test_slice_is_never_more_than_conditions(slicestr: str) -> None:
    """Each part of any slice becomes one comparison of one tag with the text of that part."""
    try:
        where = to_filter(slicestr)
    except ValueError:
        return
    tree = parse(where)
    if tree is None:
        assert not slicestr.strip()
        return
    found = tree.parts if isinstance(tree, Both) else [tree]
    parts = slicestr.split("&&")
    assert len(found) == len(parts)
    for one, part in zip(found, parts, strict=True):
        assert isinstance(one, FieldComparison)
        assert one.field.name == "tags"
        assert one.field.key is not None
        if isinstance(one.value, str):
            said = part.partition(one.operator)[2].strip()
            assert one.value in (said, said[1:-1])
        else:
            assert isinstance(one.value, float)
