"""Hypothesis strategies for values of a host."""

from collections.abc import Callable

from hypothesis import strategies as st

from tests.support.otel_ml.hostile import VALUES

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)

json_leaves = (
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
json_values: st.SearchStrategy[object] = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


# Hypothesis reads each value's class.
_DRAWN = [make for name, make in VALUES.items() if name != "hostile class"]


def _make(make: Callable[[], object]) -> object:
    return make()


# Any text, including lone surrogates and control characters.
any_text = st.text(st.characters())

any_values: st.SearchStrategy[object] = st.recursive(
    json_leaves | any_text | st.binary() | st.sampled_from(_DRAWN).map(_make),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(any_text | st.integers() | st.booleans(), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
