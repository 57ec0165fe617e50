"""Write a value, read it back, and compare it with the promised result."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.types import Data, TextOnly, dump, load, wrap
from otel_ml.types.data import File
from otel_ml.types.walker import BuiltIn
from tests.support.otel_ml.types.trips import same

_CHARS: Final = 60


@dataclass(frozen=True)
class Sample:
    """A value and its expected form after reading.

    Attributes:
        name: Its name in the table.
        make: Makes the value.
        plain: The expected value if it is reduced; None if it stays the same.
        less: What `plain` lacks; empty if nothing, ``text`` if only the text is kept.
        equals: Compares the value with the one read, if `same` cannot.
    """

    name: str
    make: Callable[[], Any]
    plain: Any = None
    less: str = ""
    equals: Callable[[Any, Any], bool] = same


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        kept: The wrapper, and the bytes of the document.
        read: ``same``, ``plain data ...``, ``its text, said so``, or the error.
    """

    value: str
    kept: str
    read: str
    is_true: bool


def try_sample(sample: Sample) -> Row:
    """Write a value, read it back and compare."""
    value = sample.make()
    data = wrap(value)
    document = dump(data)
    found = load(document).data
    if not _is_same_from_file(sample, data):
        return Row(sample.name, "a file", "other than the value", is_true=False)
    kept = f"{data.type_name.removeprefix('otel_ml.types.')}, {len(document):,} bytes"
    if sample.less == "text":
        is_true = isinstance(found, TextOnly) and bool(found) and bool(found.of)
        return Row(sample.name, kept, f"its text, said so: {found.of}", is_true)
    if sample.less:
        is_true = same(found, sample.plain)
        return Row(sample.name, kept, f"plain data {sample.less}: {found!r}", is_true)
    return Row(
        sample.name, kept, "same", type(found) is type(value) and sample.equals(found, value)
    )


def _is_same_from_file(sample: Sample, data: Data) -> bool:
    """Return whether the file of a value, if it has one, is read back as promised."""
    made = data._to_file({}) if isinstance(data, BuiltIn) else ""
    if not isinstance(made, File):
        return True
    found = load(made.content, data.type_name).data
    expected = sample.plain if sample.less else data.data
    return type(found) is type(expected) and sample.equals(found, expected)


def rows_of(samples: Mapping[str, Sample] | Iterable[Sample]) -> list[Row]:
    """Try samples in order."""
    each = samples.values() if isinstance(samples, Mapping) else samples
    return [try_sample(sample) for sample in each]


def write_table(rows: Iterable[Row]) -> str:
    """Return the table as text."""
    lines = [("value", "what is kept", "what is read back")]
    lines += [(row.value, row.kept, row.read.replace("\n", " ")) for row in rows]
    return "\n".join(f"{a:<44} {b:<26} {c[:_CHARS]}" for a, b, c in lines)
