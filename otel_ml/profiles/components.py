"""Components of a profile: where each value of a run is read, what is allowed, and its sketch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, cast

from otel_ml.arguments import check_callable, check_number, check_one_of, check_text, invalid
from otel_ml.columns import plain
from otel_ml.errors import untrusted
from otel_ml.statistics.sketches import MOST_VALUES, Kind, Sketch, sketch_values, write_value
from otel_ml.tags import Tag

Side = Literal["input", "output", "actual", "eval"]
# The parts of one run by name: inputs, outputs, actuals. A part that is not there is not judged.
Parts = Mapping[str, object]

DTYPES: Final[Mapping[str, Kind]] = {
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
# Stands for a value of a part that a run does not have, such as a truth that has not come.
ABSENT: Final = object()
PART_OF: Final[Mapping[Side, str]] = {"input": "inputs", "output": "outputs", "actual": "actuals"}
# Of the tags that a component makes; errors have `ERROR_SUFFIX` behind it.
TAG_TYPES: Final[Mapping[Side, str]] = {
    "input": "profile-input",
    "output": "profile-output",
    "actual": "profile-actual",
    "eval": "profile-score",
}
_MOST_DOMAIN: Final = 10_000


class DataException(ValueError):
    """Data is none of what a profile or a tag takes."""


class Component:
    """A value that each run has: its name, where it stands, what is allowed.

    Args:
        name: Under which its tags and its report stand.
        extractor: A function of the part that the component is of (the inputs, the output, the
            truth; of an `EvalComponent` output and truth), called in your process. None reads
            `path`.
        dtype: INT, FLOAT, CAT for values that repeat, or TEXT.
        low: The smallest number that is valid; the smallest that it was built from when not given.
        high: The largest, likewise.
        path: Where it is read: ``inputs.age``, ``outputs.label``, ``outputs`` itself. By default
            the component's name within its part, or the part itself where it is no mapping.
        values: The values of a CAT that are valid; those that it was built from when not given.

    Attributes:
        sketch: The values that it was built from; None before that. What was missing or of
            another type stands in it as missing.
        invalid: How many of them were missing, of another type, or not allowed.

    Raises:
        ValueError: An argument is none of what it takes.
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
                raise invalid("path", path, "no extractor beside it")
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
        self.sketch: Sketch | None = None
        self.invalid = 0

    @property
    def kind(self) -> Kind:
        """How its values are sketched."""
        return DTYPES[self.dtype]

    @property
    def tag_type(self) -> str:
        """The type of its tags."""
        return TAG_TYPES[self.side]

    @property
    def where(self) -> str:
        """The path that it reads."""
        return f"{PART_OF[self.side]}.{self.name}" if self.path is None else self.path

    @property
    def part_names(self) -> list[str]:
        """The parts of a run that it reads."""
        if self.path is not None:
            return [self.path.partition(".")[0]]
        return ["outputs", "actuals"] if self.side == "eval" else [PART_OF[self.side]]

    def is_built(self) -> bool:
        """Whether it knows values."""
        return self.sketch is not None

    @property
    def rows(self) -> int:
        """How many runs it was built from."""
        return 0 if self.sketch is None else self.sketch.n + self.sketch.missing

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The smallest and the largest valid number: as told, else as built."""
        low, high = self.low, self.high
        if self.sketch is not None:
            low = self.sketch.low if low is None else low
            high = self.sketch.high if high is None else high
        return low, high

    @property
    def domain(self) -> frozenset[str] | None:
        """The valid values of a CAT; None where any is valid, because not all were kept."""
        if self.dtype != "CAT":
            return None
        if self.values is not None:
            return self.values
        sketch = self.sketch
        if sketch is None or sketch.rest or len(sketch.values) >= MOST_VALUES:
            return None
        return frozenset(sketch.values)

    def read(self, parts: Parts) -> object:
        """Read its value out of a run; `ABSENT` where the run does not have that part.

        Raises:
            Exception: The extractor raised.
        """
        part = parts.get(PART_OF[self.side], ABSENT)
        if self.extractor is not None:
            return ABSENT if part is ABSENT else plain_value(self.extractor(part))
        if self.extractor_name:
            raise ValueError(
                f"Component {self.name!r} was read from a document, which holds no functions: "
                "expected it among the extractors of load"
            )
        if self.path is None:
            return ABSENT if part is ABSENT else plain_value(step_into(part, self.name, True))
        return read_path(self.path, parts)

    def check_type(self, value: object) -> str | None:
        """Name what is wrong with the type of a value, whatever is allowed of it."""
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
        """Name what is wrong with a value; None where nothing is."""
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

    def build(self, values: Sequence[object]) -> None:
        """Sketch values, of which those that are `ABSENT` are left out.

        Raises:
            DataException: None of them is of its type.
        """
        known = [value for value in values if value is not ABSENT]
        errors = [self.check_type(value) for value in known]
        fitting = [None if error else value for value, error in zip(known, errors, strict=True)]
        if all(value is None for value in fitting):
            raise DataException(
                f"Invalid values of component {self.name!r} in {' and '.join(self.part_names)}: "
                f"expected one of dtype {self.dtype} among {len(known)}"
            )
        self.sketch = None
        self.sketch = sketch_values(fitting, kind=self.kind)
        self.invalid = sum(self.check(value) is not None for value in known)

    def validate(self, parts: Parts, group: str) -> list[Tag]:
        """Return its tags of a run: its value, where it has one, and what is wrong with it."""
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
        """Return it as plain values, which `component_of` reads."""
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
    """A value of the inputs, see `Component`."""

    side = "input"


class OutputComponent(Component):
    """A value of the output, see `Component`."""

    side = "output"


class ActualComponent(Component):
    """A value of the truth, see `Component`: by default that of its name."""

    side = "actual"


class EvalComponent(Component):
    """A value of output and truth together, such as an error, see `Component`.

    Args:
        name: Its name.
        extractor: A function of output and truth.
        dtype: Of what it returns.
        output: The path of the output that it gets.
        actual: The path of the truth that it gets.
        low: The smallest number that is valid, as in `Component`.
        high: The largest.
        values: The values of a CAT that are valid.
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
            raise invalid("extractor", extractor, "a function of output and actual")
        self.output = check_text("output", output)
        self.actual = check_text("actual", actual)

    @property
    def where(self) -> str:
        """What it reads."""
        return f"{self.output}, {self.actual}"

    @property
    def part_names(self) -> list[str]:
        """The parts of a run that it reads."""
        return [path.partition(".")[0] for path in (self.output, self.actual)]

    def read(self, parts: Parts) -> object:
        """Read its value out of a run; `ABSENT` where output or truth is not there.

        Raises:
            Exception: The extractor raised.
        """
        output, actual = read_path(self.output, parts), read_path(self.actual, parts)
        if output is ABSENT or actual is ABSENT:
            return ABSENT
        if self.extractor is None:
            return super().read(parts)
        return plain_value(self.extractor(output, actual))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**super().to_dict(), "output": self.output, "actual": self.actual}


SIDES: Final[Mapping[str, type[Component]]] = {
    component.side: component
    for component in (InputComponent, OutputComponent, ActualComponent, EvalComponent)
}


def _lost(*_: object) -> object:
    raise ValueError("This function was not given to load")


def component_of(
    facts: Mapping[str, Any], extractors: Mapping[str, Callable[..., object]]
) -> Component:
    """Read a component that `Component.to_dict` returned.

    Args:
        facts: The component, as a document.
        extractors: The functions of components that have one, by the name of the component.

    Raises:
        ValueError: It is no component.
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
            component.sketch = Sketch.from_dict(facts["sketch"])
            component.invalid = int(facts.get("invalid", component.sketch.missing))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("Invalid component: expected what Component.to_dict returned") from error
    return component


def read_path(path: str, parts: Parts) -> object:
    """Read ``inputs.user.age`` out of the parts of a run; None where a step leads nowhere."""
    part, _, rest = path.partition(".")
    value = parts.get(part, ABSENT)
    if value is ABSENT:
        return ABSENT
    return plain_value(step_into(value, rest, False) if rest else value)


def step_into(value: object, path: str, is_default: bool) -> object:
    """Follow a path of keys and places; a key that has dots itself comes first.

    Args:
        value: Where it begins.
        path: What is left of it.
        is_default: A value that has no keys is itself what is meant.
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
    """Return a value as Python's own: NaN stays, as another word says that a value is missing."""
    if type(value) is float:
        return value
    plain_ = plain(value)
    return math.nan if plain_ is None and value is not None else plain_


def _check_bound(argument: str, value: object, dtype: str) -> float | None:
    if value is None:
        return None
    if DTYPES[dtype] != "number":
        raise invalid(argument, value, f"no bound of a component of dtype {dtype}")
    return check_number(argument, value)


def _check_domain(values: Iterable[object] | None, dtype: str) -> frozenset[str] | None:
    if values is None:
        return None
    kind = type(values)
    if dtype != "CAT" or issubclass(kind, str) or not issubclass(kind, Iterable):
        raise invalid("values", values, "a list of the valid values of a CAT, or None")
    domain = frozenset(write_value(value) for value in values)
    if len(domain) > _MOST_DOMAIN:
        raise invalid("values", values, f"at most {_MOST_DOMAIN:,} of them")
    return domain
