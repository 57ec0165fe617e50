"""Components of a profile: which value of a run to read, which values are valid, what was seen."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, cast

from otel_ml.arguments import check_callable, check_number, check_one_of, check_text, invalid
from otel_ml.columns import plain
from otel_ml.errors import untrusted
from otel_ml.statistics.fields import FieldKind, FieldSketch, describe_field
from otel_ml.statistics.sketches import MOST_VALUES, write_value
from otel_ml.tags import Tag

Side = Literal["input", "output", "actual", "eval"]
# Parts of a run by name: inputs, outputs, actuals. Missing parts are not validated.
Parts = Mapping[str, object]

DTYPES: Final[Mapping[str, FieldKind]] = {
    "INT": "number",
    "FLOAT": "number",
    "CAT": "category",
    "TEXT": "text",
}
LOWER: Final = "LowerBoundError"
UPPER: Final = "UpperBoundError"
DOMAIN: Final = "Domain Error"
NO_VALUE: Final = "Value None"
NOT_A_NUMBER: Final = "Value NaN"
DATA: Final = "DataException"
ERROR_SUFFIX: Final = "-error"
# The value of a part that a run does not have, such as ground truth that has not arrived.
ABSENT: Final = object()
PART_OF: Final[Mapping[Side, str]] = {"input": "inputs", "output": "outputs", "actual": "actuals"}
# Types of the tags of a component. The type of an error tag ends with `ERROR_SUFFIX`.
TAG_TYPES: Final[Mapping[Side, str]] = {
    "input": "profile-input",
    "output": "profile-output",
    "actual": "profile-actual",
    "eval": "profile-score",
}
_MOST_DOMAIN: Final = 10_000


class DataException(ValueError):
    """Raised for data that a profile or a tag cannot use, such as a value of the wrong type."""


class Component:
    """One value that a profile observes in each run, such as the age among the inputs.

    Use a subclass: `InputComponent`, `OutputComponent`, `ActualComponent` or `EvalComponent`.

    Args:
        name: Name of the component. Its tags and reports have this name.
        extractor: Function that computes the value. Its argument is the component's part of the
            run: inputs, output or ground truth. For an `EvalComponent`, the arguments are output
            and ground truth. The function runs in your process. If None, the value is read from
            `path`.
        dtype: ``INT``, ``FLOAT``, ``CAT`` for values that repeat, or ``TEXT``.
        low: Smallest valid number. Default: the smallest number seen when the profile was built.
        high: Largest valid number. Default: the largest number seen when the profile was built.
        path: Path of the value: ``inputs.age``, ``outputs.label``, or ``outputs`` for the whole
            output. By default, the component's name is looked up in its part of the run, such as
            the name ``age`` in the inputs. If that part is a single value, that value is used.
        values: Valid values of a ``CAT``. Default: the values seen when the profile was built.

    Attributes:
        sketch: Distribution of the values seen when the profile was built, and their types. None
            before that.
        invalid: Number of values that were invalid when the profile was built: missing, of another
            type, or not allowed.

    Raises:
        ValueError: An argument is invalid.
    """

    side: ClassVar[Side] = "input"

    def __init__(
        self,
        name: str,
        *,
        extractor: Callable[..., object] | None = None,
        dtype: str = "FLOAT",
        low: float | None = None,
        high: float | None = None,
        path: str | None = None,
        values: Iterable[object] | None = None,
    ) -> None:
        self.name = check_text("name", name)
        if extractor is not None:
            check_callable("extractor", extractor, "a function, or None")
            if path is not None:
                raise invalid("path", path, "either a path or an extractor")
        self.extractor = extractor
        self.dtype = check_one_of("dtype", dtype, DTYPES)
        self.low = _check_bound("low", low, dtype)
        self.high = _check_bound("high", high, dtype)
        if self.low is not None and self.high is not None and self.low > self.high:
            raise invalid("high", high, f"at least {self.low:g}")
        self.values = _check_domain(values, dtype)
        self.path = None if path is None else check_text("path", path)
        self.extractor_name = ""
        if extractor is not None:
            self.extractor_name = getattr(extractor, "__qualname__", type(extractor).__name__)
        self.sketch: FieldSketch | None = None
        self.invalid = 0

    @property
    def kind(self) -> FieldKind:
        """How the values are summarized and compared: as numbers, a category or texts."""
        return DTYPES[self.dtype]

    @property
    def tag_type(self) -> str:
        """Type of the tags that the component adds to runs, such as ``profile-input``."""
        return TAG_TYPES[self.side]

    @property
    def where(self) -> str:
        """Path of the value in a run, such as ``inputs.age``."""
        return f"{PART_OF[self.side]}.{self.name}" if self.path is None else self.path

    @property
    def part_names(self) -> list[str]:
        """Names of the parts of a run that the component reads, such as ``inputs``."""
        if self.path is not None:
            return [self.path.partition(".")[0]]
        return ["outputs", "actuals"] if self.side == "eval" else [PART_OF[self.side]]

    def is_built(self) -> bool:
        """Return whether the component was built from data."""
        return self.sketch is not None

    @property
    def rows(self) -> int:
        """Number of runs that the component was built from."""
        return 0 if self.sketch is None else self.sketch.runs

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Smallest and largest valid number.

        They are the `low` and `high` that you set, or else the smallest and largest number in the
        data that you passed to `build`. A bound is None if it is unknown.
        """
        low, high = self.low, self.high
        if self.sketch is not None:
            low = self.sketch.number.low if low is None else low
            high = self.sketch.number.high if high is None else high
        return low, high

    @property
    def domain(self) -> frozenset[str] | None:
        """Valid values of a component of type ``CAT`` (category). None if any value is valid.

        These are the `values` that you set, or else the values in the data that you passed to
        `build`. If the data had too many different values, any value is valid.
        """
        if self.dtype != "CAT":
            return None
        if self.values is not None:
            return self.values
        counts = None if self.sketch is None else self.sketch.category
        if counts is None or not counts.n or counts.rest or len(counts.values) >= MOST_VALUES:
            return None
        return frozenset(counts.values)

    def read(self, parts: Parts) -> object:
        """Read the value from a run. Return `ABSENT` if its part, such as the output, is unknown.

        Raises:
            Exception: The extractor raised an exception.
        """
        part = parts.get(PART_OF[self.side], ABSENT)
        if self.extractor is not None:
            return ABSENT if part is ABSENT else plain_value(self.extractor(part))
        if self.extractor_name:
            raise ValueError(
                f"Component {self.name!r} was loaded without its function: pass it in the "
                "extractors of load"
            )
        if self.path is None:
            return ABSENT if part is ABSENT else plain_value(step_into(part, self.name, True))
        return read_path(self.path, parts)

    def check_type(self, value: object) -> str | None:
        """Return the name of the error if a value has the wrong type. None if the type is right."""
        if value is None:
            return NO_VALUE
        if type(value) is float and math.isnan(value):
            return NOT_A_NUMBER
        if self.dtype == "TEXT":
            fits = isinstance(value, str)
        elif self.dtype == "CAT":
            fits = isinstance(value, str | int | float | bool)
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            if fits and self.dtype == "INT":
                fits = float(cast("float", value)).is_integer()
        return None if fits else DATA

    def check(self, value: object) -> str | None:
        """Return the name of the error if a value is not valid. None if it is valid.

        The names are listed in `ModelProfile.validate_input`.
        """
        error = self.check_type(value)
        if error is not None:
            return error
        if self.kind == "number":
            number, (low, high) = cast("float", value), self.bounds
            if high is not None and number > high:
                return UPPER
            return LOWER if low is not None and number < low else None
        domain = self.domain
        return DOMAIN if domain is not None and write_value(value) not in domain else None

    def build(self, values: Sequence[object], clusters: Sequence[Hashable] | None = None) -> None:
        """Learn the distribution and the bounds from values. Values that are `ABSENT` are left out.

        Args:
            values: One value per run.
            clusters: For each value, the session of its run. None if all values are independent.

        Raises:
            DataException: No value is of the component's type.
        """
        of_runs = range(len(values)) if clusters is None else clusters
        pairs = [pair for pair in zip(values, of_runs, strict=True) if pair[0] is not ABSENT]
        known = [value for value, _ in pairs]
        if all(self.check_type(value) is not None for value in known):
            raise DataException(
                f"Invalid values of component {self.name!r} in {' and '.join(self.part_names)}: "
                f"expected at least one of dtype {self.dtype} among {len(known)}"
            )
        self.sketch = None
        self.sketch = describe_field(
            known, kind=self.kind, clusters=[session for _, session in pairs]
        )
        self.invalid = sum(self.check(value) is not None for value in known)

    def validate(self, parts: Parts, group: str) -> list[Tag]:
        """Check this component's value in a run, and return the value and any error as tags.

        Args:
            parts: The known parts of the run: inputs, output and ground truth.
            group: Group of the tags, such as the profile's name.

        Returns:
            A tag with the value, a tag with the error, or both. An empty list if the part that
            contains the value is not known.
        """
        error: str | None = DATA
        value: object = None
        with untrusted:
            value = self.read(parts)
            error = None if value is ABSENT else self.check(value)
        if value is ABSENT:
            return []
        tags = []
        if error not in {NO_VALUE, NOT_A_NUMBER, DATA}:
            tags.append(Tag(self.name, value, self.tag_type, group))
        if error is not None:
            tags.append(
                Tag(f"{self.name}{ERROR_SUFFIX}", error, f"{self.tag_type}{ERROR_SUFFIX}", group)
            )
        return tags

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary for a JSON file. `component_of` reads it."""
        facts: dict[str, Any] = {"name": self.name, "side": self.side, "dtype": self.dtype}
        if self.extractor_name:
            facts["extractor"] = self.extractor_name
        else:
            facts["field"] = self.where
        facts |= {
            key: value
            for key, value in (("low", self.low), ("high", self.high))
            if value is not None
        }
        if self.values is not None:
            facts["values"] = sorted(self.values)
        if self.sketch is not None:
            facts |= {"sketch": self.sketch.to_dict(), "invalid": self.invalid}
        return facts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dtype={self.dtype!r})"


class InputComponent(Component):
    """A value among a model's inputs, such as the age. See `Component` for the arguments."""

    side = "input"


class OutputComponent(Component):
    """A value of a model's output, such as the label. See `Component` for the arguments."""

    side = "output"


class ActualComponent(Component):
    """A value of the ground truth (the correct result) that a profile checks.

    By default, it is the ground truth that has the same name as the component. For the arguments,
    see `Component`.
    """

    side = "actual"


class EvalComponent(Component):
    """A value that a profile computes from a run's output and ground truth, such as the error.

    Args:
        name: Name of the component.
        extractor: Function that takes output and ground truth, and returns the value.
        dtype: Type that the function returns: ``INT``, ``FLOAT``, ``CAT`` (category) or ``TEXT``.
        output: Path to the part of the output that the function gets. Default: the whole output.
        actual: Path to the part of the ground truth that the function gets. Default: all of it.
        low: Smallest valid number. Default: the smallest number in the data passed to `build`.
        high: Largest valid number. Default: the largest number in the data passed to `build`.
        values: Valid values of a ``CAT``. Default: the values in the data passed to `build`.
    """

    side = "eval"

    def __init__(
        self,
        name: str,
        extractor: Callable[..., object],
        *,
        dtype: str = "FLOAT",
        output: str = "outputs",
        actual: str = "actuals",
        low: float | None = None,
        high: float | None = None,
        values: Iterable[object] | None = None,
    ) -> None:
        super().__init__(name, extractor=extractor, dtype=dtype, low=low, high=high, values=values)
        if extractor is None:
            raise invalid("extractor", extractor, "a function of output and ground truth")
        self.output = check_text("output", output)
        self.actual = check_text("actual", actual)

    @property
    def where(self) -> str:
        """Paths of output and ground truth."""
        return f"{self.output}, {self.actual}"

    @property
    def part_names(self) -> list[str]:
        """Names of the parts of a run that the component reads: output and ground truth."""
        return [path.partition(".")[0] for path in (self.output, self.actual)]

    def read(self, parts: Parts) -> object:
        """Compute the value for a run. Return `ABSENT` if output or ground truth is missing.

        Raises:
            Exception: The extractor raised an exception.
        """
        output, actual = read_path(self.output, parts), read_path(self.actual, parts)
        if output is ABSENT or actual is ABSENT:
            return ABSENT
        if self.extractor is None:
            return super().read(parts)
        return plain_value(self.extractor(output, actual))

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary for a JSON file. `component_of` reads it."""
        return {**super().to_dict(), "output": self.output, "actual": self.actual}


SIDES: Final[Mapping[str, type[Component]]] = {
    component.side: component
    for component in (InputComponent, OutputComponent, ActualComponent, EvalComponent)
}


def _lost(*_: object) -> object:
    raise ValueError("This function is missing: pass it to load as an extractor")


def component_of(
    facts: Mapping[str, Any], extractors: Mapping[str, Callable[..., object]]
) -> Component:
    """Create a profile component from the dictionary that `Component.to_dict` returned.

    Args:
        facts: The dictionary. It contains no functions.
        extractors: The functions that compute values of components, by component name.

    Raises:
        ValueError: The dictionary is not a component.
    """
    try:
        name, made = str(facts["name"]), SIDES[facts["side"]]
        options: dict[str, Any] = {
            key: facts[key] for key in ("dtype", "low", "high", "values") if key in facts
        }
        extractor = extractors.get(name)
        component: Component
        if made is EvalComponent:
            paths = {key: facts[key] for key in ("output", "actual") if key in facts}
            component = EvalComponent(name, extractor or _lost, **paths, **options)
        elif extractor is not None:
            component = made(name, extractor=extractor, **options)
        else:
            own = f"{PART_OF[made.side]}.{name}"
            path = facts.get("field", own)
            component = made(name, path=None if path == own else path, **options)
        if extractor is None:
            component.extractor = None
            component.extractor_name = str(facts.get("extractor", ""))
        if "sketch" in facts:
            component.sketch = FieldSketch.from_dict(facts["sketch"])
            component.invalid = int(facts.get("invalid", component.sketch.missing))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("Invalid component: expected what Component.to_dict returned") from error
    return component


def read_path(path: str, parts: Parts) -> object:
    """Read a path such as ``inputs.user.age`` from a run's inputs, output and ground truth.

    Returns `ABSENT` if the inputs, output or ground truth that the path starts with are unknown.
    Returns None if they are known, but have no value at the path.
    """
    part, _, rest = path.partition(".")
    value = parts.get(part, ABSENT)
    if value is ABSENT:
        return ABSENT
    return plain_value(step_into(value, rest, False) if rest else value)


def step_into(value: object, path: str, is_default: bool) -> object:
    """Return the part of a nested value at a path, such as ``user.age``. None if there is none.

    Args:
        value: A dictionary or list, or a single value.
        path: Keys and list indexes, separated by dots. A key may contain dots itself.
        is_default: True if the user gave no path, so `path` is the component's name. In that case,
            if `value` is a single value or a list of one item, that value or item is returned.
    """
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        head, _, rest = path.partition(".")
        return step_into(value[head], rest, False) if rest and head in value else None
    if isinstance(value, list | tuple):
        if is_default:
            return value[0] if len(value) == 1 else None
        head, _, rest = path.partition(".")
        if not head.isdecimal() or int(head) >= len(value):
            return None
        return step_into(value[int(head)], rest, False) if rest else value[int(head)]
    return value if is_default else None


def plain_value(value: object) -> object:
    """Convert a value, such as a NumPy scalar, to a plain Python value.

    NaN is kept, because it differs from a missing value.
    """
    if type(value) is float:
        return value
    plain_ = plain(value)
    return math.nan if plain_ is None and value is not None else plain_


def _check_bound(argument: str, value: object, dtype: str) -> float | None:
    if value is None:
        return None
    if DTYPES[dtype] != "number":
        raise invalid(argument, value, f"None for a component of dtype {dtype}")
    return check_number(argument, value)


def _check_domain(values: Iterable[object] | None, dtype: str) -> frozenset[str] | None:
    if values is None:
        return None
    kind = type(values)
    if dtype != "CAT" or issubclass(kind, str) or not issubclass(kind, Iterable):
        raise invalid("values", values, "a list of the valid values of a CAT, or None")
    domain = frozenset(write_value(value) for value in values)
    if len(domain) > _MOST_DOMAIN:
        raise invalid("values", values, f"at most {_MOST_DOMAIN:,} values")
    return domain
