"""SciPy sparse matrices and arrays as JSON: their format and its arrays."""

from typing import Any, Final

from scipy import sparse

from otel_ml.types import array_form
from otel_ml.types.data import Decode, Form, Params, ValueWriter

_COMPRESSED: Final = frozenset({"csr", "csc", "bsr"})
_MAKERS: Final = {
    (form, kind): getattr(sparse, f"{form}_{kind}")
    for form in (*_COMPRESSED, "coo", "lil", "dok", "dia")
    for kind in ("matrix", "array")
    if hasattr(sparse, f"{form}_{kind}")
}


def write(value: Any, writer: ValueWriter) -> Form:
    """Serialise a sparse matrix or array."""
    form: Form = {
        "format": value.format,
        "kind": "matrix" if isinstance(value, sparse.spmatrix) else "array",
        "shape": list(value.shape),
    }
    if value.format in _COMPRESSED:
        parts = {"indices": value.indices, "indptr": value.indptr}
    elif value.format == "dia":
        parts = {"offsets": value.offsets}
    else:
        value = value.tocoo()
        coords = getattr(value, "coords", None) or (value.row, value.col)
        form["coords"] = [array_form.write(places, writer) for places in coords]
        parts = {}
    parts["data"] = value.data
    return {**form, **{name: array_form.write(part, writer) for name, part in parts.items()}}


def read(params: Params, decode: Decode) -> Any:
    """Rebuild a SciPy sparse matrix or array from its JSON form.

    Raises:
        ValueError: The format is unknown, or the arrays do not fit together.
    """
    form, shape = params["format"], tuple(params["shape"])
    make = _MAKERS.get((form, params["kind"]))
    if make is None:
        raise ValueError(f"Unknown sparse format {form!r}: expected one of scipy's")
    data = array_form.read(params["data"], decode)
    if form in _COMPRESSED:
        indices, indptr = (array_form.read(params[part], decode) for part in ("indices", "indptr"))
        made = make((data, indices, indptr), shape=shape)
        made.check_format()
        return made
    if form == "dia":
        return make((data, array_form.read(params["offsets"], decode)), shape=shape)
    coords = tuple(array_form.read(places, decode) for places in params["coords"])
    made = _MAKERS["coo", params["kind"]]((data, coords), shape=shape)
    return made if form == "coo" else made.asformat(form)
