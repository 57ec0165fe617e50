"""Model profiles: what the values of a model's runs were, and which are valid."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml.arguments import check_mapping, check_path, check_text, invalid
from otel_ml.columns import is_run, parts_of_run, read_columns
from otel_ml.items import digest_of
from otel_ml.profiles import page
from otel_ml.profiles.components import (
    Component,
    DataException,
    Parts,
    component_of,
)
from otel_ml.profiles.contrast import Contrast, Side, contrast
from otel_ml.profiles.raymon_json import is_of_raymon, read_raymon
from otel_ml.profiles.scores import ProfileScore, score_of
from otel_ml.statistics.sketches import Sketch
from otel_ml.tags import Tag

if TYPE_CHECKING:
    from otel_ml.reader.records import Run as StoredRun

DOCUMENT: Final = "profile"
# A document is an attribute of one record: a longer one is refused where it is to be sent.
DOCUMENT_BYTES: Final = 1024 * 1024
_DIGEST_CHARS: Final = 16
_MOST_COMPONENTS: Final = 500
_DOCUMENT: Final = "what ModelProfile.to_dict returned"
_EXTRACTORS: Final = "functions by the names of components, or None"
_RUNS: Final = "runs, as Reader.runs lists them"


class ProfileStateException(RuntimeError):
    """A profile is asked about data before it was built."""


class ModelProfile:
    """The values that a model's runs had: by component a sketch and bounds, and scores.

    It is known by its content: the same components, sketches and scores are the same version.

    Args:
        name: Its name.
        version: Your own word for its version.
        components: What it looks at, see `InputComponent`, `OutputComponent`, `ActualComponent`
            and `EvalComponent`.
        scores: Numbers of components, see `MeanScore`, `PrecisionScore` and `RecallScore`.

    Attributes:
        components: By name, in their order.
        scores: By name.

    Raises:
        ValueError: An argument is none of what it takes.
    """

    def __init__(
        self,
        name: str = "default",
        version: str = "0.0.0",
        components: Iterable[Component] | Mapping[str, Component] = (),
        scores: Iterable[ProfileScore] | Mapping[str, ProfileScore] = (),
    ) -> None:
        self.name = check_text("name", name)
        if "@" in self.name:
            raise invalid("name", name, "a text without @")
        self.version = check_text("version", version)
        self.components = {
            item.name: item for item in _check_all("components", components, Component)
        }
        self.scores = {item.name: item for item in _check_all("scores", scores, ProfileScore)}
        if len(self.components) > _MOST_COMPONENTS:
            raise ValueError(
                f"Invalid components of {len(self.components)}: expected at most {_MOST_COMPONENTS}"
            )

    @property
    def tag(self) -> str:
        """``name@version``: the group of its tags."""
        return f"{self.name}@{self.version}"

    def is_built(self) -> bool:
        """Whether each component knows values."""
        return all(component.is_built() for component in self.components.values())

    @property
    def digest(self) -> str:
        """16 hex digits of its content."""
        return digest_of(self.to_dict())[:_DIGEST_CHARS]

    @property
    def sketches(self) -> dict[str, Sketch]:
        """The sketches of inputs and outputs by the field that they are read from."""
        return {
            component.where: component.sketch
            for component in self.components.values()
            if component.sketch is not None
            and component.side in ("input", "output")
            and not component.extractor_name
        }

    def build(self, inputs: object = None, outputs: object = None, actuals: object = None) -> None:
        """Learn the values of tables, a row for each run.

        Args:
            inputs: A table of pandas, polars or pyarrow, an array of numpy, or a list with a
                value for each run, such as a mapping.
            outputs: Likewise.
            actuals: The truths, likewise.

        Raises:
            DataException: A part that a component reads is not given, or is no table, or none of
                a component's values is of its type.
            ValueError: The parts have different numbers of rows.
        """
        given = {"inputs": inputs, "outputs": outputs, "actuals": actuals}
        parts = {name: read_rows(name, value) for name, value in given.items() if value is not None}
        for component in self.components.values():
            for name in component.part_names:
                if name not in parts:
                    raise DataException(
                        f"Invalid {name} None: expected a table, as component {component.name!r} "
                        "reads it"
                    )
        sizes = {len(rows) for rows in parts.values()}
        if len(sizes) > 1:
            raise ValueError(
                "Invalid tables: expected as many rows of each, not "
                + ", ".join(f"{len(rows)} of {name}" for name, rows in parts.items())
            )
        size = sizes.pop() if sizes else 0
        self.learn([{name: rows[place] for name, rows in parts.items()} for place in range(size)])

    def build_from(self, runs: "Iterable[StoredRun]") -> None:
        """Learn the values of stored runs.

        A run that failed has no output, and one whose inputs or output were cut, hidden or left
        out has no such part; a truth that has not come is not a missing value.

        Args:
            runs: As `Reader.runs` lists them.

        Raises:
            DataException: None of the values of a component is of its type.
            ValueError: There is no run, or something else among them.
        """
        rows = [parts_of_run(run) for run in _check_each("runs", runs, is_run, _RUNS)]
        if not rows:
            raise invalid("runs", runs, "at least one run")
        self.learn(rows)

    def learn(self, rows: Sequence[Parts]) -> None:
        """Learn the values of runs, each given by its parts, see `build`."""
        values = {
            component.name: [component.read(row) for row in rows]
            for component in self.components.values()
        }
        for component in self.components.values():
            component.build(values[component.name])
        for score in self.scores.values():
            score.build(values)

    def validate_input(self, input: object) -> list[Tag]:
        """Return the tags of a run's inputs: their values, and what is wrong with them.

        Errors are tags with ``-error`` behind the component's name, whose value is
        ``LowerBoundError``, ``UpperBoundError``, ``Domain Error``, ``Value None``, ``Value NaN``,
        or ``DataException`` for a value of another type, or one that could not be read.

        Args:
            input: The inputs of one run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"inputs": input}, "input")

    def validate_output(self, output: object) -> list[Tag]:
        """Return the tags of a run's output, see `validate_input`."""
        return self.validate({"outputs": output}, "output")

    def validate_actual(self, actual: object) -> list[Tag]:
        """Return the tags of a run's truth, see `validate_input`."""
        return self.validate({"actuals": actual}, "actual")

    def validate_eval(self, output: object, actual: object) -> list[Tag]:
        """Return the tags of output and truth together, see `validate_input`."""
        return self.validate({"outputs": output, "actuals": actual}, "eval")

    def validate_all(self, input: object, output: object, actual: object) -> list[Tag]:
        """Return all tags of a run, see `validate_input`."""
        return self.validate({"inputs": input, "outputs": output, "actuals": actual})

    def validate(self, parts: Parts, side: str | None = None) -> list[Tag]:
        """Return the tags of a run that is given by its parts; of one side, or of all."""
        if not self.is_built():
            raise ProfileStateException(
                f"Profile {self.tag} was not built: expected build or build_from before"
            )
        return [
            tag
            for component in self.components.values()
            if side in {None, component.side}
            for tag in component.validate(parts, self.tag)
        ]

    def contrast(
        self, other: "ModelProfile", thresholds: Mapping[str, Any] | None = None
    ) -> Contrast:
        """Hold another profile against this one.

        Drift is said of a distance that exceeds its margin (0.1) and is more than chance gives at
        these numbers of runs, over all components together; more invalid values and worse scores
        of a difference above 0.01 that is more than their intervals allow. Under 100 values
        there is no judgement of drift.

        Args:
            other: Components and scores that it lacks are left out.
            thresholds: ``{"components": {name: {"drift": 0.3, "invalids": 0.05}}, "scores":
                {name: 0.1}}``, each in place of the one above.

        Returns:
            The report, see `Contrast`.

        Raises:
            ValueError: An argument is none of what it takes.
        """
        if not issubclass(type(other), ModelProfile):
            raise invalid("other", other, "a ModelProfile")
        health, scores = contrast(self._side, other._side, {} if thresholds is None else thresholds)
        return Contrast(
            reference=self.to_dict(),
            alternativeA=other.to_dict(),
            health_reports=health,
            score_reports=scores,
        )

    @property
    def _side(self) -> Side:
        return Side(self.components, self.scores)

    def view(
        self,
        path: str | Path | None = None,
        *,
        tags: Iterable[Tag] = (),
        show: bool = False,
    ) -> Path:
        """Write the profile as an HTML file that needs nothing else, and return its path.

        Args:
            path: The file, or a directory for it; a new one of temporary files when not given.
            tags: Of one run, as `validate_all` returns them: it is marked in each distribution.
            show: Open it in the browser.

        Raises:
            OSError: The file cannot be written.
            ValueError: An argument is none of what it takes.
        """
        checked = _check_each("tags", tags, _is_tag, "tags, as validate_all returns them")
        marks = {tag.name: tag.value for tag in checked}
        document = self.to_dict()
        return page.write(
            page.profile_page(document, marks), path, page.stem_of(document), show=show
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without its functions."""
        return {
            "type": DOCUMENT,
            "name": self.name,
            "version": self.version,
            "components": [component.to_dict() for component in self.components.values()],
            "scores": [score.to_dict() for score in self.scores.values()],
        }

    def save(self, directory: str | Path = ".") -> Path:
        """Write it to ``name@version.json`` in a directory, and return the path.

        Raises:
            OSError: The file cannot be written.
            ValueError: An argument is none of what it takes.
        """
        document = self.to_dict()
        path = check_path("directory", directory) / f"{page.stem_of(document)}.json"
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return path

    @classmethod
    def load(
        cls, path: str | Path, extractors: Mapping[str, Callable[..., object]] | None = None
    ) -> "ModelProfile":
        """Read a file that `save` wrote, or that of a profile of raymon.

        Args:
            path: The file.
            extractors: The functions of components that have one, by their names: a file holds
                none. Without it such a component can be compared, and validates nothing.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no profile, or an argument is none of what it takes.
        """
        file = check_path("path", path)
        _check_extractors(extractors)
        try:
            document = orjson.loads(file.read_bytes())
        except orjson.JSONDecodeError as error:
            raise invalid("path", str(file), "a file of JSON, as save writes it") from error
        return cls.from_dict(document, extractors)

    @classmethod
    def from_dict(
        cls,
        document: Mapping[str, Any],
        extractors: Mapping[str, Callable[..., object]] | None = None,
    ) -> "ModelProfile":
        """Read what `to_dict` returned, or the document of a profile of raymon, see `load`.

        Raises:
            ValueError: It is no profile, or an argument is none of what it takes.
        """
        check_mapping("document", document, _DOCUMENT)
        functions = _check_extractors(extractors)
        if is_of_raymon(document):
            name, version, components, scores = read_raymon(document, functions)
            return cls(name, version, components, scores)
        try:
            if document["type"] != DOCUMENT:
                raise ValueError(f"Invalid document of type {document['type']!r}: expected profile")
            components = [
                component_of(component, functions) for component in document["components"]
            ]
            scores = [score_of(score) for score in document["scores"]]
            return cls(document["name"], document["version"], components, scores)
        except (AttributeError, KeyError, TypeError) as error:
            raise invalid("document", document, _DOCUMENT) from error

    def __repr__(self) -> str:
        return f"<ModelProfile {self.tag} of {len(self.components)} components>"


def read_rows(name: str, value: Any) -> list[object]:
    """Read a table as a value for each row: a mapping of its columns, or the value itself.

    Raises:
        DataException: It is no table.
    """
    kind = type(value)
    home = kind.__module__.partition(".")[0], kind.__name__
    if home == ("pandas", "Series"):
        return list(value.tolist())
    if home == ("polars", "Series"):
        return list(value.to_list())
    is_array = home[0] == "numpy" and hasattr(value, "dtype")
    if is_array and value.dtype.names is None:
        return list(value.tolist()) if value.ndim else [value.item()]
    if issubclass(kind, Mapping):
        columns = {str(key): _read_column(name, values) for key, values in value.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise DataException(f"Invalid {name}: expected as many values in each column")
    elif issubclass(kind, list | tuple):
        return [*value]
    elif is_array or hasattr(kind, "columns") or hasattr(kind, "column_names"):
        columns = read_columns(value, name)
    else:
        raise DataException(f"Invalid {name} of type {kind.__name__}: expected a table or a list")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read_column(name: str, values: Any) -> list[object]:
    kind = type(values)
    if issubclass(kind, str | bytes | Mapping) or not issubclass(kind, Iterable):
        raise DataException(
            f"Invalid {name} with a column of type {kind.__name__}: expected a list of its values"
        )
    return [*values]


def _is_tag(value: object) -> bool:
    return issubclass(type(value), Tag)


def _check_each(
    argument: str, given: Any, is_item: Callable[[object], bool], expected: str
) -> Iterator[Any]:
    kind = type(given)
    if issubclass(kind, str | bytes | Mapping) or not issubclass(kind, Iterable):
        raise invalid(argument, given, expected)
    for item in given:
        if not is_item(item):
            raise invalid(argument, item, expected)
        yield item


def _check_extractors(given: Any) -> Mapping[str, Callable[..., object]]:
    if given is None:
        return {}
    functions = check_mapping("extractors", given, _EXTRACTORS)
    if not all(map(callable, functions.values())):
        raise invalid("extractors", given, _EXTRACTORS)
    return functions


def _check_all(argument: str, given: Any, kind: type[Any]) -> list[Any]:
    if issubclass(type(given), Mapping):
        given = [*given.values()]
    is_list = issubclass(type(given), list | tuple)
    if not is_list or not all(issubclass(type(item), kind) for item in given):
        raise invalid(argument, given, f"a list of {kind.__name__}s")
    repeated = {item.name for item in given if sum(item.name == two.name for two in given) > 1}
    if repeated:
        raise ValueError(f"Invalid {argument} {sorted(repeated)!r}: expected another name for each")
    return [*given]
