"""Model profiles: which values a model's runs had, and which values are valid."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
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
from otel_ml.statistics.fields import FieldSketch
from otel_ml.tags import Tag

if TYPE_CHECKING:
    from otel_ml.reader.records import Run as StoredRun

DOCUMENT: Final = "profile"
# A document is sent as one attribute of a record. Longer ones are rejected.
DOCUMENT_BYTES: Final = 1024 * 1024
_DIGEST_CHARS: Final = 16
_MOST_COMPONENTS: Final = 500
_DOCUMENT: Final = "what ModelProfile.to_dict returned"
_EXTRACTORS: Final = "a mapping of component names to functions, or None"


class ProfileStateException(RuntimeError):
    """Raised if you validate data with a profile that was not built yet."""


class ModelProfile:
    """Describes which values are normal for a model, to check new runs against them.

    First call `build` with data that you trust. Then check new runs with `validate_input` and
    similar methods, or compare two profiles with `contrast`. Profiles with the same content have
    the same digest.

    Args:
        name: Name of the profile.
        version: Your own version label.
        components: The values to describe, such as an input called ``age``: `InputComponent`,
            `OutputComponent`, `ActualComponent` and `EvalComponent` objects.
        scores: Numbers to compute over all runs, such as a mean: `MeanScore`, `PrecisionScore` and
            `RecallScore` objects.

    Attributes:
        components: The components by name, in their order.
        scores: The scores by name.

    Raises:
        ValueError: An argument is invalid.
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
                f"Too many components, {len(self.components)}: expected at most {_MOST_COMPONENTS}"
            )

    @property
    def tag(self) -> str:
        """``name@version``: the group of the tags that validation adds to runs."""
        return f"{self.name}@{self.version}"

    def is_built(self) -> bool:
        """Return whether every component was built from data."""
        return all(component.is_built() for component in self.components.values())

    @property
    def digest(self) -> str:
        """Hash of the content, 16 hex digits."""
        return digest_of(self.to_dict())[:_DIGEST_CHARS]

    @property
    def sketches(self) -> dict[str, FieldSketch]:
        """The distribution of each input and output, for drift detection.

        Each distribution is summarized in a sketch. The key is the path of the value in a run, such
        as ``inputs.age``. Components with an extractor function are left out, because their values
        are computed and have no path.
        """
        return {
            component.where: component.sketch
            for component in self.components.values()
            if component.sketch is not None
            and component.side in ("input", "output")
            and not component.extractor_name
        }

    def build(self, inputs: object = None, outputs: object = None, actuals: object = None) -> None:
        """Build the profile from tables with one row per run.

        Args:
            inputs: A pandas, polars or pyarrow table, a NumPy array, or a list with one value per
                run, such as a dictionary.
            outputs: The outputs, in the same form.
            actuals: The ground truth, in the same form.

        Raises:
            DataException: A component needs a table that you did not pass, or none of its values
                has the right type.
            ValueError: The tables have different numbers of rows.
        """
        given = {"inputs": inputs, "outputs": outputs, "actuals": actuals}
        parts = {name: read_rows(name, value) for name, value in given.items() if value is not None}
        for component in self.components.values():
            for name in component.part_names:
                if name not in parts:
                    raise DataException(
                        f"Invalid {name} None: expected a table, because component "
                        f"{component.name!r} reads it"
                    )
        sizes = {len(rows) for rows in parts.values()}
        if len(sizes) > 1:
            raise ValueError(
                "Invalid tables: expected equal numbers of rows, not "
                + ", ".join(f"{len(rows)} in {name}" for name, rows in parts.items())
            )
        size = sizes.pop() if sizes else 0
        self.learn([{name: rows[place] for name, rows in parts.items()} for place in range(size)])

    def build_from(self, runs: "Iterable[StoredRun]") -> None:
        """Build the profile from stored runs.

        Inputs and outputs that were not recorded completely are left out, and so is the output of a
        failed run. If the ground truth of a run has not arrived, that does not count as a missing
        value.

        Args:
            runs: Runs from `Reader.runs`.

        Raises:
            DataException: None of a component's values has the right type.
            ValueError: There is no run, or an element is not a run.
        """
        known = [*_check_each("runs", runs, is_run, "runs from Reader.runs")]
        if not known:
            raise invalid("runs", runs, "at least one run")
        sessions = [run.session or run.trace_id for run in known]
        self.learn([parts_of_run(run) for run in known], sessions)

    def learn(self, rows: Sequence[Parts], clusters: Sequence[Hashable] | None = None) -> None:
        """Build the profile from runs, each a dictionary with inputs, outputs and ground truth.

        See `build`. The clusters are the sessions of the runs; None if all runs are independent.
        """
        values = {
            component.name: [component.read(row) for row in rows]
            for component in self.components.values()
        }
        for component in self.components.values():
            component.build(values[component.name], clusters)
        for score in self.scores.values():
            score.build(values)

    def validate_input(self, input: object) -> list[Tag]:
        """Check a run's inputs, and return the result as tags that you can add to the run.

        Each component adds a tag with its value, such as ``age`` 34. If the value is invalid, there
        is also a tag with the suffix ``-error``, such as ``age-error``. The value of that tag is
        one of these:

        * ``LowerBoundError``, ``UpperBoundError`` or ``Domain Error``: the value is not in the
          valid range.
        * ``Value None``, ``Value NaN`` or ``DataException``: there is no value, it has the wrong
          type, or it cannot be read. In these cases, there is no tag with the value.

        Args:
            input: Inputs of one run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"inputs": input}, "input")

    def validate_output(self, output: object) -> list[Tag]:
        """Check a run's output, and return the result as tags, as in `validate_input`.

        Args:
            output: Output of one run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"outputs": output}, "output")

    def validate_actual(self, actual: object) -> list[Tag]:
        """Check a run's ground truth, and return the result as tags, as in `validate_input`.

        Args:
            actual: Ground truth of one run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"actuals": actual}, "actual")

    def validate_eval(self, output: object, actual: object) -> list[Tag]:
        """Check values computed from both output and ground truth, such as a prediction's error.

        The result is returned as tags, as in `validate_input`.

        Args:
            output: Output of one run.
            actual: Ground truth of the run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"outputs": output, "actuals": actual}, "eval")

    def validate_all(self, input: object, output: object, actual: object) -> list[Tag]:
        """Check a run's inputs, output and ground truth, and return the result as tags.

        See `validate_input` for the tags.

        Args:
            input: Inputs of one run.
            output: Output of the run.
            actual: Ground truth of the run.

        Raises:
            ProfileStateException: The profile was not built.
        """
        return self.validate({"inputs": input, "outputs": output, "actuals": actual})

    def validate(self, parts: Parts, side: str | None = None) -> list[Tag]:
        """Check the known values of a run, and return the result as tags, as in `validate_input`.

        Args:
            parts: The known parts of the run, as a dictionary with the keys ``inputs``, ``outputs``
                and ``actuals``.
            side: Check only the components of this side: ``input``, ``output``, ``actual`` or
                ``eval``. None checks all components.

        Raises:
            ProfileStateException: The profile was not built.
        """
        if not self.is_built():
            raise ProfileStateException(
                f"Profile {self.tag} was not built: call build or build_from first"
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
        """Compare another profile with this one, and report what became worse.

        There is an alert in these cases:

        * Drift: the drift score of a component is above 0.1 and the change is significant. Its
          values, their types and the share of missing values are compared, as on the page of
          fields. The p-value is corrected for the number of components. At least 100 values are
          needed.
        * Invalid values: their share increased by more than 0.01, and the change is significant.
        * Scores: a score became worse by more than 0.01 of its range, and the change is
          significant.

        Args:
            other: The profile to compare with. Components and scores that it lacks are left out.
            thresholds: Your own limits instead of 0.1 and 0.01. Example: ``{"components": {"age":
                {"drift": 0.3, "invalids": 0.05}}, "scores": {"f1": 0.1}}``

        Returns:
            The report, a dictionary with an alert for each component and score.

        Raises:
            ValueError: An argument is invalid.
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
        """Write the profile to a self-contained HTML file and return its path.

        Args:
            path: The file, or a directory for it. Default: a new temporary directory.
            tags: Tags of one run, as `validate_all` returns them. The page shows the values of
                this run, and their errors.
            show: Whether to open the file in the browser.

        Raises:
            OSError: The file cannot be written.
            ValueError: An argument is invalid.
        """
        checked = _check_each("tags", tags, _is_tag, "tags from validate_all")
        marks = {tag.name: tag.value for tag in checked}
        text = page.profile_page(self.tag, self.components.values(), self.scores.values(), marks)
        return page.write(text, path, page.stem_of(self.tag), show=show)

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as a dictionary for a JSON file, without extractor functions."""
        return {
            "type": DOCUMENT,
            "name": self.name,
            "version": self.version,
            "components": [component.to_dict() for component in self.components.values()],
            "scores": [score.to_dict() for score in self.scores.values()],
        }

    def save(self, directory: str | Path = ".") -> Path:
        """Write the profile to ``name@version.json`` in a directory and return the path.

        Raises:
            OSError: The file cannot be written.
            ValueError: The directory is invalid.
        """
        path = check_path("directory", directory) / f"{page.stem_of(self.tag)}.json"
        path.write_bytes(orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2))
        return path

    @classmethod
    def load(
        cls, path: str | Path, extractors: Mapping[str, Callable[..., object]] | None = None
    ) -> "ModelProfile":
        """Read a profile from a file that `save` wrote, or from a raymon profile file.

        Args:
            path: The file.
            extractors: The functions that compute each component's value from an object, by
                component name. Pass them again, because the file does not contain them. A component
                without its function can be compared with other profiles, but cannot check runs.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not a profile, or an argument is invalid.
        """
        file = check_path("path", path)
        _check_extractors(extractors)
        try:
            document = orjson.loads(file.read_bytes())
        except orjson.JSONDecodeError as error:
            raise invalid("path", str(file), "a JSON file that save wrote") from error
        return cls.from_dict(document, extractors)

    @classmethod
    def from_dict(
        cls,
        document: Mapping[str, Any],
        extractors: Mapping[str, Callable[..., object]] | None = None,
    ) -> "ModelProfile":
        """Create a profile from a dictionary that `to_dict` returned, or from raymon's JSON.

        Args:
            document: The dictionary.
            extractors: The functions that compute values of components, by component name. The
                dictionary does not contain them.

        Raises:
            ValueError: The dictionary is not a profile, or an argument is invalid.
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
    """Convert a table to a list of its rows.

    A row is a dictionary of values by column name. If there are no column names, as in a Series, a
    row is a single value.

    Raises:
        DataException: The value is not a table.
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
            raise DataException(f"Invalid {name}: expected columns of equal length")
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
            f"Invalid {name} with a column of type {kind.__name__}: expected a list of values"
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
        raise ValueError(f"Invalid {argument} {sorted(repeated)!r}: expected unique names")
    return [*given]
