"""Hides what is secret in the written form of data, and leaves the rest readable."""

from typing import Any, Final

from otel_ml.capture.values import clean
from otel_ml.redaction import REDACTED, Redaction
from otel_ml.types import DataFrame, Native, Series, Text
from otel_ml.types.data import Data, Form
from otel_ml.types.scalars import TAG, VALUE, from_base64

_OURS: Final = "otel_ml.types."
_ITEMS: Final = frozenset({"tuple", "set", "frozenset"})
_FORMS: Final = frozenset({"data", "value"})


def is_secret(data: Data, ref: str, redaction: Redaction) -> bool:
    """Tell whether all of it is secret, by its reference or the name of a series."""
    return redaction.is_secret(ref) or (
        isinstance(data, Series) and redaction.is_secret(data.data.name)
    )


def without_secret_columns(data: Data, redaction: Redaction) -> Data:
    """Leave out the columns of a table that have secret names; any other data stays itself."""
    if not isinstance(data, DataFrame):
        return data
    shown = [not redaction.is_secret(name) for name in data.data.columns]
    return data if all(shown) else DataFrame(data.data.loc[:, shown])


def hide(form: Form, redaction: Redaction) -> Form:
    """Hide what is secret in the form of data: values of secret keys, and what texts hold.

    Numbers, dates and what is binary stay.
    """
    kind, params = form["type"], form["params"]
    if kind == Text.type_name and isinstance(params["data"], str):
        shown: Any = {"data": redaction.text(params["data"])}
    elif kind in {Text.type_name, Native.type_name} or not kind.startswith(_OURS):
        shown = _hide(params, redaction)
    else:
        shown = _hide_elements(params, redaction)
    return {**form, "params": shown}


def _hide(node: Any, redaction: Redaction) -> Any:
    if isinstance(node, str):
        return redaction.shown(node)
    if isinstance(node, list):
        return [_hide(item, redaction) for item in node]
    if not isinstance(node, dict):
        return node
    if TAG in node:
        return _hide_tagged(node, redaction)
    return {
        redaction.shown(key): REDACTED if redaction.is_secret(key) else _hide(item, redaction)
        for key, item in node.items()
    }


def _hide_tagged(node: Form, redaction: Redaction) -> Any:
    tag, value = node[TAG], node.get(VALUE)
    if tag == "text":
        text = from_base64(str(value)).decode("utf-8", "surrogatepass")
        return redaction.shown(clean(text))
    if tag == "repr":
        return {TAG: tag, VALUE: redaction.text(str(value))}
    if tag in _ITEMS:
        return {TAG: tag, VALUE: _hide(value, redaction)}
    if tag in _FORMS and isinstance(value, dict):
        return {TAG: tag, VALUE: hide(value, redaction)}
    if tag == "path" and isinstance(value, list):
        return {TAG: tag, VALUE: [_hide(value[0], redaction), *value[1:]]}
    if tag == "dict" and isinstance(value, list):
        pairs = [
            [
                _hide(key, redaction),
                REDACTED if redaction.is_secret(key) else _hide(item, redaction),
            ]
            for key, item in value
        ]
        return {TAG: tag, VALUE: pairs}
    return node


def _hide_elements(node: Any, redaction: Redaction) -> Any:
    """Hide what elements of arrays and tables hold; what describes these stays."""
    if isinstance(node, list):
        return [_hide_elements(item, redaction) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _hide(item, redaction) if key == "values" else _hide_elements(item, redaction)
        for key, item in node.items()
    }
