"""The normalised structure of an output, which is part of the model version."""

import heapq
import numbers
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from otel_ml.errors import reraise_host_error, untrusted

DYNAMIC: Final = "dynamic"

# Elements of a list that count, half from its start and half from its end, so that neither a longer
# list nor a different last element changes the version.
_ELEMENTS: Final = 16
_END: Final = _ELEMENTS // 2
_LEAVES_A_STEP: Final = 4
_MAX_KEYS: Final = 64
_KEYS_COMPARED: Final = 512
_STRUCTURE_DEPTH: Final = 16
_MAX_STEPS: Final = 2_000
_SHAPE_STEPS: Final = 1_000
_CONTAINERS: Final = (dict, list, tuple)
_LEAVES: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
_TABLE_TYPES: Final = frozenset(
    {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}
    | {("pyarrow", "RecordBatch")}
)

_TABLE_NAMES: Final = frozenset(name for _, name in _TABLE_TYPES)

# Key tuples that are known to be identifiers. Outputs of one function mostly have the same keys.
_MOST_NAMES: Final = 1_000
_names: Final[set[tuple[object, ...]]] = set()


def output_structure(value: object) -> str | None:
    """Return the structure of an output as text, such as ``{answer: str, sources: [str]}``.

    An output with a new structure creates a new model version. All numeric types except bool are
    ``number``. A list is described by its first and last elements, a table by its columns. The keys
    of a dict are left out if there are more than 64, or if they are not identifiers, because such
    keys are probably data.

    Returns:
        The text. None if the output contains None or an empty list, because it then does not show
        the type of every part.
    """
    with untrusted:
        return _Reader().read(value, 0)
    return None


def stream_part(chunks: object) -> object:
    """Return the part of a streamed output that the model version depends on.

    An output with a new structure creates a new model version. But an output with more chunks
    should not create one, so only the first chunk is used.

    Args:
        chunks: The list of chunks, or the output that was joined from the chunks.

    Returns:
        For a list of chunks: the first chunk if it is text, otherwise a list with only the first
        chunk. For a joined output: the output if it is text, otherwise None, because other joined
        outputs, such as messages of a language model, have no fixed structure.
    """
    if type(chunks) is not list:
        return chunks if type(chunks) is str else None
    first: list[object] = chunks[:1]
    return first[0] if first and isinstance(first[0], str) else first


def structure_digest(text: str) -> str:
    """Return the digest of a structure, 16 hex digits."""
    import hashlib  # imported late, because it loads OpenSSL, which slows down start-up

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flat_shape(value: object) -> object:
    """Return a dictionary key for the structure of an output that is a scalar or a dict of scalars.

    It is the same key as `shape` returns, but found faster. For all other values, the result is a
    key that `shape` never returns.
    """
    if type(value) is dict and len(value) <= _MAX_KEYS:
        return (*value, *map(type, value.values()))
    return type(value)


def shape(value: object) -> object:
    """Return a dictionary key for the structure of an output, to look up its model version.

    Outputs with equal keys have the same structure. To compare two structures, these keys are
    faster than `output_structure`.

    Returns:
        The key. None if the output is too complex or contains unusual containers.
    """
    kind = type(value)
    if kind in _LEAVES:
        return kind
    try:
        return _shape(value, [_SHAPE_STEPS])
    except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
        reraise_host_error(error)
        return None


def _shape(value: object, left: list[int]) -> object:
    kind = type(value)
    if kind in _LEAVES:
        return kind
    if kind is dict:
        items: dict[object, object] = value  # type: ignore[assignment]  # just checked
        _step(left, len(items))
        keys = tuple(items)
        if keys not in _names and not _are_names(keys):
            raise TypeError  # a map, whose keys are data
        kinds = tuple(map(type, items.values()))
        if _LEAVES.issuperset(kinds):
            return (*keys, *kinds)
        shapes = [k if (k := type(v)) in _LEAVES else _shape(v, left) for v in items.values()]
        return dict, keys, tuple(shapes)
    if kind is list or kind is tuple:
        elements: Sequence[object] = value  # type: ignore[assignment]  # just checked
        part = _ends(elements)
        part_kinds = frozenset(map(type, part))
        if part_kinds <= _LEAVES:
            _step(left, len(part_kinds) + len(part) // _LEAVES_A_STEP)
            return list, part_kinds
        _step(left, len(part))
        # a list, because a generator could swallow the error of a signal handler
        nested = [kind for kind in part_kinds if issubclass(kind, _CONTAINERS) or _is_table(kind)]
        if not nested:
            return list, part_kinds  # a list of tensors, for example
        return list, frozenset([_shape(item, left) for item in part])
    if issubclass(kind, _CONTAINERS):
        raise TypeError
    return (kind, _columns(value)) if _is_table(kind) else kind


def _ends(items: Sequence[Any]) -> Sequence[Any]:
    """Return the first and last elements of a list."""
    if len(items) <= _ELEMENTS:
        return items
    first, last = items[:_END], items[-_END:]
    return first + last if type(items) is list else [*first, *last]  # type: ignore[operator]


def _is_table(kind: type) -> bool:
    if kind.__name__ not in _TABLE_NAMES:
        return False
    return (kind.__module__.partition(".")[0], kind.__name__) in _TABLE_TYPES


def _columns(table: Any) -> tuple[str, ...] | None:
    """Return the column names of a table; None if they are not strings or too many."""
    # check the type: a pandas frame would search its columns for the name `column_names`
    columns = table.column_names if hasattr(type(table), "column_names") else table.columns
    if len(columns) > _MAX_KEYS:
        return None
    if type(columns) is not list:  # a pandas index, which is slow to iterate over
        columns = _list_index(columns)
    return tuple(columns) if _TEXT.issuperset(map(type, columns)) else None


def _list_index(index: Any) -> list[Any]:
    """Return the labels of a pandas index as a list."""
    # private, but Arrow converts its own texts in a quarter of the time that `to_numpy` takes
    stored = getattr(index.array, "_pa_array", None) if index.nlevels == 1 else None
    labels: list[Any] = (
        index.to_numpy(dtype=object).tolist() if stored is None else stored.to_pylist()
    )
    return labels


def _are_names(keys: tuple[object, ...]) -> bool:
    if not all(type(key) is str and key.isidentifier() for key in keys):
        return False
    if len(keys) <= _MAX_KEYS:
        if len(_names) >= _MOST_NAMES:
            _names.clear()
        _names.add(keys)
    return True


def _step(left: list[int], steps: int) -> None:
    """Subtract steps from those that are left. Raise `RecursionError` if too few are left.

    The limit must be below that of `output_structure`, or key order would matter.
    """
    left[0] -= steps + 1
    if left[0] < 0:
        raise RecursionError


def _name(value: object) -> str:
    """Return the class name of an object, or the columns of a table."""
    kind = type(value)
    if not _is_table(kind):
        return f"{kind.__module__}.{kind.__qualname__}"
    columns = _columns(value)
    return "table{*}" if columns is None else f"table{{{', '.join(columns)}}}"


class _Reader:
    """Reads an output with a limited number of steps, because self-referring values have no end."""

    def __init__(self) -> None:
        self._left = _MAX_STEPS

    def read(self, value: object, depth: int) -> str | None:
        self._left -= 1
        if value is None:
            return None
        if isinstance(value, bool):
            return "bool"
        if isinstance(value, numbers.Number):
            return "number"
        if isinstance(value, str):
            return "str"
        if depth >= _STRUCTURE_DEPTH or self._left <= 0:
            return "…"
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        if isinstance(value, dict):
            return self._object(value, depth)
        return _name(value)

    def _list(self, value: Sequence[object], depth: int) -> str | None:
        if type(value) is not list and type(value) is not tuple:
            part: Sequence[object] = list(islice(value, _ELEMENTS))
        else:
            part = _ends(value)
            kinds = {type(item): item for item in part}
            if _LEAVES.issuperset(kinds):
                self._left -= len(part) // _LEAVES_A_STEP
                part = list(kinds.values())
        union = self._union(part, depth)
        return f"[{union}]" if union else None

    def _object(self, value: dict[object, object], depth: int) -> str | None:
        if not value:
            return "{}"
        names = [key for key in islice(value, _MAX_KEYS + 1) if isinstance(key, str)]
        whole = len(names) == len(value) <= _MAX_KEYS
        if not whole or not all(name.isidentifier() for name in names):
            # the smallest keys, not the first ones, because the order of a dict does not count
            keys = heapq.nsmallest(
                _ELEMENTS,
                islice(value, _KEYS_COMPARED),
                key=lambda key: (type(key).__name__, str(key)),
            )
            union = self._union((value[key] for key in keys), depth)
            return f"{{*: {union}}}" if union else None
        fields = []
        for name in sorted(names):
            structure = self.read(value[name], depth + 1)
            if structure is None:
                return None
            fields.append(f"{name}: {structure}")
        return f"{{{', '.join(fields)}}}"

    def _union(self, values: Iterable[object], depth: int) -> str | None:
        parts = set()
        for value in values:
            structure = self.read(value, depth + 1)
            if structure is None:
                return None
            parts.add(structure)
        return "|".join(sorted(parts)) or None
