"""Raymon's profiles: `otel_ml.profiles` with raymon's method names and JSON format.

The reports of comparisons have raymon's keys, but otel-ml's rules decide what counts as drift
(docs/how-to/profiles.md).
"""

import json
import math
import tempfile
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, ClassVar, Final

from otel_ml import profiles
from otel_ml.compat.raymon.extractors import (
    ElementExtractor,
    Extractor,
    NoneEvalExtractor,
    NoneExtractor,
    rows_of,
)
from otel_ml.compat.raymon.tag import Tag
from otel_ml.profiles import components as own_components
from otel_ml.profiles import scores
from otel_ml.profiles.components import Parts
from otel_ml.profiles.contrast import Contrast
from otel_ml.profiles.raymon_json import is_of_raymon, sketch_of_stats

_COMPONENTS: Final = "raymon.profiling.components."
_STATS: Final = "raymon.profiling.stats."
_SCORES: Final = "raymon.profiling.scores."
_VERSION: Final = "0.0.39"
_PERCENTILES: Final = 101
_FORMATS: Final = ("jcr", "tag", "simple")


class DataType:
    """The types of a component's values: ``INT``, ``FLOAT`` and ``CAT``."""

    INT = "INT"
    FLOAT = "FLOAT"
    CAT = "CAT"


class Stats:
    """Statistics of a component's values. Each one is None until it is computed.

    Args:
        state: The statistics by name, if they are already known.
    """

    names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **state: Any) -> None:
        for name in self.names:
            value = state.get(name)
            if isinstance(value, float) and math.isnan(value):
                raise profiles.DataException(f"Invalid {name} nan: expected a number")
            setattr(self, name, value)

    @property
    def _attrs(self) -> tuple[str, ...]:
        return self.names

    def is_built(self) -> bool:
        """Return whether all statistics are known."""
        return all(getattr(self, name) is not None for name in self.names)

    def to_jcr(self) -> dict[str, Any]:
        """Return the statistics as a dictionary for a JSON file."""
        state = {name: getattr(self, name) for name in self.names}
        return {"class": f"{_STATS}{type(self).__name__}", "state": state}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> "Stats":
        """Create statistics from what `to_jcr` returned, or from its state alone."""
        if set(jcr) != {"class", "state"}:
            return cls(**jcr)
        known: dict[str, type[Stats]] = {
            made.__name__: made for made in (IntStats, FloatStats, CategoricStats)
        }
        name = str(jcr["class"]).rpartition(".")[2]
        if name not in known:
            raise ValueError(f"Unknown statistics {name!r}: expected one of {sorted(known)}")
        return known[name](**jcr["state"])


class NumericStats(Stats):
    """Statistics of numbers, such as range, mean, standard deviation and percentiles 0 to 100."""

    names = ("min", "max", "mean", "std", "invalids", "percentiles", "samplesize")
    _attrs = names

    def __init__(self, **state: Any) -> None:
        percentiles = state.get("percentiles")
        if percentiles is not None:
            state["percentiles"] = [*percentiles]
            if len(state["percentiles"]) != _PERCENTILES:
                raise profiles.DataException(
                    f"Invalid percentiles of {len(state['percentiles'])}: expected {_PERCENTILES}"
                )
        super().__init__(**state)

    @property
    def range(self) -> float:
        """Largest minus smallest number."""
        told: Any = self
        return float(told.max - told.min)


class IntStats(NumericStats):
    """Statistics of whole numbers."""


class FloatStats(NumericStats):
    """Statistics of numbers with fractions."""


class CategoricStats(Stats):
    """Statistics of a category: the share of each value."""

    names = ("frequencies", "invalids", "samplesize")
    _attrs = names

    def __init__(self, **state: Any) -> None:
        frequencies = state.get("frequencies")
        if frequencies is not None and not isinstance(frequencies, dict):
            raise profiles.DataException(f"Invalid frequencies {frequencies!r}: expected a dict")
        super().__init__(**state)

    @property
    def range(self) -> float:
        """Always 1, the range of a share."""
        return 1.0


_STATS_OF: Final[Mapping[str, type[Stats]]] = {
    DataType.INT: IntStats,
    DataType.FLOAT: FloatStats,
    DataType.CAT: CategoricStats,
}


def _measure(component: profiles.Component, values: Sequence[Any]) -> Stats:
    """Compute the statistics of the valid values of a built component."""
    size = len(values)
    valid = [value for value in values if component.check(value) is None]
    facts: dict[str, Any] = {"samplesize": size, "invalids": (size - len(valid)) / size}
    if component.dtype == DataType.CAT:
        counts: dict[Any, int] = {}
        for value in valid:
            counts[value] = counts.get(value, 0) + 1
        most = sorted(counts, key=lambda value: -counts[value])
        return CategoricStats(frequencies={v: counts[v] / len(valid) for v in most}, **facts)
    low, high = component.bounds
    ordered = sorted(float(value) for value in valid)
    last = len(ordered) - 1
    places = (math.ceil(step * last / (_PERCENTILES - 1)) for step in range(_PERCENTILES))
    return _STATS_OF[component.dtype](
        min=low,
        max=high,
        mean=fmean(ordered),
        std=pstdev(ordered),
        percentiles=[ordered[place] for place in places],
        **facts,
    )


class Component(profiles.Component):
    """One value that a profile checks in each run, such as the input ``age``.

    It has the same arguments as raymon's class.

    Args:
        name: Name of the component, stored in lower case.
        extractor: An `Extractor`, which gets the value from a run's data.
        dtype: Type of the value, one of `DataType`.
        stats: Statistics of the values, if they are already known. Otherwise `build` computes them.
    """

    def __init__(
        self,
        name: str,
        extractor: Any,
        dtype: str = DataType.FLOAT,
        stats: Stats | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise profiles.DataException(f"Invalid name {name!r}: expected text")
        if not isinstance(extractor, Extractor):
            raise profiles.DataException(f"Invalid extractor {extractor!r}: expected an Extractor")
        super().__init__(name.lower(), extractor=extractor, dtype=dtype)  # type: ignore[arg-type]  # it is called
        self.path = None
        self.stats = _STATS_OF[dtype]() if stats is None else stats
        if type(self.stats) is not _STATS_OF[dtype]:
            raise profiles.DataException(
                f"Invalid stats {type(self.stats).__name__}: expected the class for dtype {dtype}"
            )
        if self.stats.is_built():
            given_stats: Any = self.stats
            self.sketch = sketch_of_stats(dtype, vars(given_stats))
            self.invalid = 0 if self.sketch is None else self.sketch.missing
            if dtype != DataType.CAT:
                self.low, self.high = given_stats.min, given_stats.max

    def set_domain(self, domain: Any) -> None:
        """Set the valid values: a lower and upper bound, or a list of values.

        If you pass None, nothing changes.
        """
        if domain is None:
            return
        if self.dtype == DataType.CAT:
            self.values = frozenset(map(str, domain))
        else:
            self.low, self.high = domain

    def is_built(self) -> bool:
        """Return whether the extractor is fitted and the statistics are known."""
        extractor: Any = self.extractor
        return super().is_built() and extractor.is_built() and self.stats.is_built()

    def build(self, values: Sequence[Any], clusters: Sequence[Hashable] | None = None) -> None:
        """Compute the statistics from values."""
        super().build(values, clusters)
        self.stats = _measure(self, values)

    def to_jcr(self) -> dict[str, Any]:
        """Return the component as a dictionary for a JSON file."""
        extractor: Any = self.extractor
        state = {
            "name": self.name,
            "dtype": self.dtype,
            "stats": self.stats.to_jcr(),
            "extractor": extractor.to_jcr(),
        }
        return {"class": f"{_COMPONENTS}{type(self).__name__}", "state": state}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any], mock_extractor: bool = False) -> "Component":
        """Create a component from a dictionary that `to_jcr` returned.

        Args:
            jcr: The dictionary, or the part of it under the key ``state``.
            mock_extractor: True to create the component without its extractor, which reads the
                value from a run. You can then compare the component with others, but not check runs
                with it.
        """
        if set(jcr) == {"class", "state"}:
            return _COMPONENT_KINDS[str(jcr["class"]).rpartition(".")[2]].from_jcr(
                jcr["state"], mock_extractor
            )
        nothing = NoneEvalExtractor() if cls is EvalComponent else NoneExtractor()
        extractor = nothing if mock_extractor else Extractor.from_jcr(jcr["extractor"])
        return cls(jcr["name"], extractor, jcr["dtype"], Stats.from_jcr(jcr["stats"]))


class InputComponent(Component, profiles.InputComponent):
    """A value among a model's inputs. See `Component` for the arguments."""

    side = "input"


class OutputComponent(Component, profiles.OutputComponent):
    """A value of a model's output. See `Component` for the arguments."""

    side = "output"


class ActualComponent(Component, profiles.ActualComponent):
    """A value of the ground truth. See `Component` for the arguments."""

    side = "actual"


class EvalComponent(Component):
    """A value computed from output and ground truth. See `Component` for the arguments."""

    side = "eval"

    def read(self, parts: Parts) -> object:
        """Compute the value for a run."""
        extractor: Any = self.extractor
        return own_components.plain_value(extractor(parts["outputs"], parts["actuals"]))


_COMPONENT_KINDS: Final[Mapping[str, type[Component]]] = {
    made.__name__: made
    for made in (InputComponent, OutputComponent, ActualComponent, EvalComponent)
}


def generate_components(
    dtypes: Any, complass: type[Component] = InputComponent, name_prefix: str = ""
) -> list[Component]:
    """Create a profile component for each column of a pandas table.

    Args:
        dtypes: The ``dtypes`` attribute of the table.
        complass: Class of the components, such as `InputComponent`.
        name_prefix: Text to put before each column name.
    """
    return [
        complass(f"{name_prefix}{column}", ElementExtractor(column), _dtype_of(dtype))
        for column, dtype in dtypes.items()
    ]


def _dtype_of(dtype: Any) -> str:
    kind = getattr(dtype, "kind", "O")
    if kind in "iu":
        return DataType.INT
    if kind == "f":
        return DataType.FLOAT
    if kind in "cmM":
        raise ValueError(f"Invalid dtype {dtype}: expected a numeric or categorical type")
    return DataType.CAT


class Score(scores.ProfileScore):
    """Base class of numbers that a profile computes over all runs, such as a mean or a precision.

    Args:
        name: Name of the score, stored in lower case.
        inputs: Names of the components that the score is computed from.
        preference: ``high`` if high scores are good, or ``low``.
        result: The number, if it is already known.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        preference: str = "high",
        result: float | None = None,
    ) -> None:
        super().__init__(name.lower(), [input_.lower() for input_ in inputs], preference)
        if result is not None:
            self.keep(result, 0)

    def to_jcr(self) -> dict[str, Any]:
        """Return the score as a dictionary for a JSON file."""
        state = {
            "name": self.name,
            "inputs": [*self.inputs],
            "preference": self.preference,
            "result": self.result,
        }
        return {"class": f"{_SCORES}{type(self).__name__}", "state": state}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> "Score":
        """Create a score from what `to_jcr` returned, or from its state alone."""
        if set(jcr) == {"class", "state"}:
            return _SCORE_KINDS[str(jcr["class"]).rpartition(".")[2]].from_jcr(jcr["state"])
        return cls(**jcr)

    def is_built(self) -> bool:
        """Return whether the score has a result."""
        return self.result is not None


class MeanScore(Score, scores.MeanScore):
    """The mean of a component's numbers."""


class PrecisionScore(Score, scores.PrecisionScore):
    """Precision: the share of true positives (TP) among all predicted positives (TP and FP)."""


class RecallScore(Score, scores.RecallScore):
    """Recall: the share of true positives (TP) among all actual positives (TP and FN)."""


_SCORE_KINDS: Final[Mapping[str, type[Score]]] = {
    made.__name__: made for made in (MeanScore, PrecisionScore, RecallScore)
}


class ModelProfile(profiles.ModelProfile):
    """A model profile: statistics of a model's inputs, outputs and ground truth.

    It has the same methods and file format as raymon's class.

    Args:
        name: Name of the profile, stored in lower case.
        version: Version of the profile, such as ``0.0.0``.
        components: The values to check in each run, as a list or a dictionary by name.
        scores: Numbers to compute over all runs, as a list or a dictionary by name.
    """

    def __init__(
        self,
        name: str = "default",
        version: str = "0.0.0",
        components: Any = (),
        scores: Any = (),
    ) -> None:
        listed = components.values() if isinstance(components, Mapping) else components
        known = {component.name: component for component in listed}
        super().__init__(str(name).lower(), str(version), known, scores)

    @property
    def group_idfr(self) -> str:
        """``name@version`` in lower case: the group of the tags that validation adds to runs."""
        return self.tag

    @property
    def tag(self) -> str:
        """``name@version`` in lower case."""
        return f"{self.name}@{self.version}".lower()

    def build(  # noqa: PLR0917 - same parameters and order as in raymon
        self,
        input: Any = None,
        output: Any = None,
        actual: Any = None,
        domains: Mapping[str, Any] | None = None,
        silent: bool = True,
        build_extractors: bool = True,
    ) -> None:
        """Build the profile: compute the statistics of all components from data.

        Args:
            input: Inputs as a pandas table, an array or a list, with one row per run.
            output: Outputs of the same runs, in one of the same forms.
            actual: Ground truth of the same runs, in one of the same forms.
            domains: Valid values by component name: a lower and upper bound, or a list of values.
                Default: the values in the data.
            silent: Accepted for compatibility and ignored. Nothing is printed.
            build_extractors: Whether to fit the extractors to the data too.
        """
        given = {"inputs": input, "outputs": output, "actuals": actual}
        rows = {name: rows_of(data) for name, data in given.items() if data is not None}
        values: dict[str, list[object]] = {}
        for component in self.components.values():
            component.set_domain((domains or {}).get(component.name))
            extractor: Any = component.extractor
            if isinstance(component, EvalComponent):
                pairs = zip(
                    _part(rows, "outputs", component),
                    _part(rows, "actuals", component),
                    strict=True,
                )
                values[component.name] = [
                    component.read({"outputs": _first(one), "actuals": _first(other)})
                    for one, other in pairs
                ]
            else:
                part = own_components.PART_OF[component.side]
                column = _part(rows, part, component)
                if build_extractors:
                    extractor.build(given[part])
                values[component.name] = [component.read({part: row}) for row in column]
        for component in self.components.values():
            component.build(values[component.name])
        valid = {
            name: [value for value in entry if not _is_missing(value)]
            for name, entry in values.items()
        }
        for score in self.scores.values():
            score.build(valid)

    def validate_input(self, input: Any, tag_format: str = "jcr") -> Any:
        """Check a run's inputs against the profile, and return the results as tags.

        Each component of the inputs gives a tag with its value. If the value is invalid, it gives a
        second tag with the error.

        Args:
            input: Inputs of one run.
            tag_format: ``jcr`` returns a list of dictionaries, ``tag`` a list of `Tag` objects, and
                ``simple`` a dictionary of tag values by name.
        """
        return _format(self.validate({"inputs": input}, "input"), tag_format)

    def validate_output(self, output: Any, tag_format: str = "jcr") -> Any:
        """Return the tags for a run's output, as `validate_input` does for inputs."""
        return _format(self.validate({"outputs": output}, "output"), tag_format)

    def validate_actual(self, actual: Any, tag_format: str = "jcr") -> Any:
        """Return the tags for a run's ground truth, as `validate_input` does for inputs."""
        return _format(self.validate({"actuals": actual}, "actual"), tag_format)

    def validate_eval(self, output: Any, actual: Any, tag_format: str = "jcr") -> Any:
        """Return the tags for values computed from output and ground truth."""
        return _format(self.validate({"outputs": output, "actuals": actual}, "eval"), tag_format)

    def validate_all(self, input: Any, output: Any, actual: Any, tag_format: str = "jcr") -> Any:
        """Return the tags for a whole run: inputs, output and ground truth."""
        parts = {"inputs": input, "outputs": output, "actuals": actual}
        return _format(self.validate(parts), tag_format)

    def contrast_alternatives(
        self,
        alternativeA: "ModelProfile",  # noqa: N803 - raymon's
        alternativeB: "ModelProfile",  # noqa: N803 - raymon's
        thresholds: Mapping[str, Any] | None = None,
    ) -> Contrast:
        """Compare two other profiles with each other: `alternativeB` with `alternativeA`.

        The result has only components that this profile has too.
        """
        report = alternativeA.contrast(alternativeB, thresholds)
        names = set(self.components)
        health = {
            name: health_report
            for name, health_report in report["health_reports"].items()
            if name in names
        }
        return Contrast(
            reference=self.to_dict(),
            alternativeA=alternativeA.to_dict(),
            alternativeB=alternativeB.to_dict(),
            health_reports=health,
            score_reports=report["score_reports"],
        )

    def view(  # type: ignore[override]  # likewise
        self, poi: Any = None, mode: str = "external", outdir: Any = None, silent: bool = True
    ) -> Path:
        """Write an HTML file that shows the profile, and return its path.

        Args:
            poi: Tags of one run, from a method such as `validate_input`. The file then shows the
                values of this run, and their errors.
            mode: ``external`` also opens the file in the browser.
            outdir: Folder in which a new folder for the file is created. Default: the system's
                folder for temporary files.
            silent: Accepted for compatibility and ignored.
        """
        tags = [item if isinstance(item, Tag) else Tag.from_jcr(item) for item in poi or ()]
        return super().view(_directory(outdir), tags=tags, show=mode == "external")

    def view_contrast(
        self,
        other: "ModelProfile",
        mode: str = "external",
        thresholds: Mapping[str, Any] | None = None,
        outdir: Any = None,
        silent: bool = True,
    ) -> Path:
        """Write a comparison of profiles to an HTML file. See `view` for the arguments."""
        report = self.contrast(other, thresholds)
        return report.view(_directory(outdir), show=mode == "external")

    def to_jcr(self) -> dict[str, Any]:
        """Return the profile as a dictionary in raymon's file format."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "raymon_version": _VERSION,
        }
        for part in ("components", "scores"):
            facts[part] = {name: value.to_jcr() for name, value in getattr(self, part).items()}
        return facts

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any], mock_extractors: bool = False) -> "ModelProfile":
        """Create a profile from a dictionary in raymon's file format.

        Args:
            jcr: The dictionary.
            mock_extractors: True to create the profile without extractors, which read values from
                runs. You can then compare it with other profiles, but not check runs with it.
        """
        components = [
            Component.from_jcr(component, mock_extractors)
            for component in jcr["components"].values()
        ]
        items = [Score.from_jcr(score) for score in (jcr.get("scores") or {}).values()]
        return cls(jcr["name"], jcr["version"], components, items)

    def save(self, dir: str | Path = ".") -> Path:
        """Write the profile to ``name@version.json`` in a directory, in raymon's file format."""
        path = Path(dir) / f"{self.name}@{self.version}.json"
        path.write_text(json.dumps(self.to_jcr(), indent=4), encoding="utf-8")
        return path

    @classmethod
    def load(cls, fpath: str | Path, extractors: Any = None) -> Any:
        """Read a profile from a file that `save` or `otel_ml.ModelProfile.save` wrote."""
        document = json.loads(Path(fpath).read_text(encoding="utf-8"))
        if is_of_raymon(document):
            return cls.from_jcr(document)
        return profiles.ModelProfile.from_dict(document, extractors)


def _part(rows: Mapping[str, list[Any]], part: str, component: profiles.Component) -> list[Any]:
    if part not in rows:
        raise profiles.DataException(
            f"Invalid {part} None: expected a table, because component {component.name!r} reads it"
        )
    return rows[part]


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _first(row: Any) -> Any:
    """Return the only element of a list's row, which is what raymon's extractors expect."""
    return row[0] if isinstance(row, list | tuple) and len(row) == 1 else row


def _format(tags: Iterable[Any], tag_format: str) -> Any:
    if tag_format not in _FORMATS:
        raise ValueError(f"Invalid tag_format {tag_format!r}: expected one of {_FORMATS}")
    items = [Tag(tag.name, tag.value, tag.type, tag.group) for tag in tags]
    if tag_format == "jcr":
        return [tag.to_jcr() for tag in items]
    return items if tag_format == "tag" else {tag.name: tag.value for tag in items}


def _directory(outdir: Any) -> Path:
    return Path(tempfile.mkdtemp(dir=outdir, prefix="otel-ml-"))


def filter_errors(tags: Iterable[Any], format: str = "tag") -> Any:
    """Return only the tags for errors, which mark a value as invalid.

    Args:
        tags: Tags from validation, as `Tag` objects or dictionaries.
        format: ``tag`` returns the tags as given. ``jcr`` returns a list of dictionaries, and
            ``simple`` a dictionary of tag values by name.
    """
    errors = [
        tag
        for tag in tags
        if str((tag.get("type") if isinstance(tag, Mapping) else tag.type) or "").startswith(
            "profile-"
        )
        and str(tag.get("type") if isinstance(tag, Mapping) else tag.type).endswith("-error")
    ]
    if format == "tag":
        return errors
    return _format(
        [Tag.from_jcr(error) if isinstance(error, Mapping) else error for error in errors], format
    )


def flatten_jcr(tags: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Convert a list of tags to a dictionary from name to value."""
    return {tag["name"]: tag["value"] for tag in tags}
