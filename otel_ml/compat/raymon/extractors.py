"""Raymon's extractors: objects that compute one value from a run's data, and their JSON form.

A file names the class of an extractor. It is looked up among the classes that the program has
defined, so a file cannot choose what is imported. Objects inside an extractor, such as a fitted
model, are not written, because files contain no pickles.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar, Final, NoReturn

from otel_ml.profiles import DataException

_HOME: Final = "raymon.profiling.extractors."
_CONFIDENCE: Final = 4  # index in a box: x, y, width, height, confidence, share of each class
_NOT_BUILT: Final = (
    "DN2AnomalyScorer",
    "FixedSubpatchSimilarity",
    "IsolationForestOutlierScorer",
    "KMeansOutlierScorer",
)


class Extractor:
    """Base class of extractors, which compute one value from a run's data.

    An example is the brightness of an image.

    A subclass implements `extract`. Defining the subclass registers it, so that profiles loaded
    from a file can use it.
    """

    # Class name in raymon's files. For your own subclasses: module and class name.
    path: ClassVar[str] = ""
    known: ClassVar[dict[str, type["Extractor"]]] = {}

    def __init_subclass__(cls, *, home: str = "") -> None:
        """Register a subclass under its path."""
        cls.path = f"{_HOME}{home}.{cls.__name__}" if home else f"{cls.__module__}.{cls.__name__}"
        Extractor.known[cls.path] = cls

    def class2str(self) -> str:
        """Return the name of the class in profile files."""
        return type(self).path

    def to_jcr(self) -> dict[str, Any]:
        """Return the extractor as a dictionary for a JSON file."""
        return {"class": self.class2str(), "state": self._state()}

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> Any:
        """Create an extractor from what `to_jcr` returned, or from its state alone."""
        if set(jcr) != {"class", "state"}:
            return cls(**jcr)
        made = Extractor.known.get(str(jcr["class"]))
        if made is None:
            raise ValueError(
                f"Unknown extractor {jcr['class']!r}: import the module that defines its class"
            )
        return made.from_jcr(jcr["state"])

    def build(self, data: Any) -> None:
        """Fit the extractor to data. Most extractors do not need this."""

    def is_built(self) -> bool:
        """Return whether the extractor is fitted."""
        return True

    def _state(self) -> dict[str, Any]:
        return {}

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in self._state().items())})"

    def __repr__(self) -> str:
        return str(self)


class SimpleExtractor(Extractor, home="extractors"):
    """Base class of extractors that use one part of a run, such as its inputs."""

    def extract(self, data: Any) -> Any:
        """Return the value for one row."""
        raise NotImplementedError

    def __call__(self, data: Any) -> Any:
        """Return the value."""
        return self.extract(data)

    def extract_multiple(self, data: Any) -> list[Any]:
        """Return the value of each row.

        Raises:
            DataException: The argument is not a table.
        """
        return [self.extract(row) for row in rows_of(data)]


class EvalExtractor(Extractor, home="extractors"):
    """Base class of extractors that use output and ground truth of a run."""

    def extract(self, output: Any, actual: Any) -> Any:
        """Return the value for one row."""
        raise NotImplementedError

    def __call__(self, output: Any, actual: Any) -> Any:
        """Return the value."""
        return self.extract(output, actual)

    def extract_multiple(self, output: Any, actual: Any) -> list[Any]:
        """Return the value of each row.

        Raises:
            DataException: An argument is not a table, or they have different numbers of rows.
        """
        outputs, actuals = rows_of(output), rows_of(actual)
        if len(outputs) != len(actuals):
            raise DataException(
                f"Invalid actual of {len(actuals)} rows: expected {len(outputs)} as in output"
            )
        return [self.extract(*pair) for pair in zip(outputs, actuals, strict=True)]


class NoneExtractor(SimpleExtractor, home="extractors"):
    """Placeholder for a component without an extractor. Returns 0 for any data."""

    def extract(self, data: Any) -> Any:
        """Return 0."""
        return 0


class NoneEvalExtractor(EvalExtractor, home="extractors"):
    """Placeholder for an `EvalComponent` without an extractor. Returns 0 for any data."""

    def extract(self, output: Any, actual: Any) -> Any:
        """Return 0."""
        return 0


class ElementExtractor(SimpleExtractor, home="structured.element"):
    """Returns one element of the data, such as a column of the inputs.

    Args:
        element: Key or index of the element.
    """

    def __init__(self, element: str | int) -> None:
        self.element = element

    def __setattr__(self, name: str, value: object) -> None:
        if name == "element" and not isinstance(value, str | int):
            raise DataException(f"Invalid element {value!r}: expected a key or an index")
        super().__setattr__(name, value)

    def extract(self, data: Any) -> Any:
        """Return the element."""
        return data[self.element]

    def _state(self) -> dict[str, Any]:
        return {"element": self.element}


class MaxScoreElementExtractor(SimpleExtractor, home="structured.element"):
    """Returns the class with the highest score, from a list with one score per class.

    Args:
        categories: Names of the classes, as a list or one-dimensional array. If you leave it out,
            the position in the list is returned, counted from 0.
    """

    def __init__(self, categories: Any = None) -> None:
        labels = categories.tolist() if hasattr(categories, "tolist") else categories
        if labels is not None and not isinstance(labels, list):
            raise DataException(f"Invalid categories {categories!r}: expected a list or None")
        self.categories = labels

    def extract(self, data: Any) -> Any:
        """Return the index or the category."""
        numbers = [float(number) for number in data]
        place = max(range(len(numbers)), key=numbers.__getitem__)
        return place if self.categories is None else self.categories[place]

    def _state(self) -> dict[str, Any]:
        return {"categories": self.categories}


class ClassificationMarginExtractor(SimpleExtractor, home="structured.margin"):
    """Returns how uncertain a classification is: 0 if certain, 1 if two classes are equally likely.

    The value is (1 − d)², where d is the difference between the two largest class probabilities.
    """

    def extract(self, data: Any) -> float:
        """Return the uncertainty, from 0 to 1."""
        first, second = sorted((float(share) for share in data), reverse=True)[:2]
        return (1 - (first - second)) ** 2


class ClassificationEntropyExtractor(SimpleExtractor, home="structured.entropy"):
    """Returns the entropy of the class probabilities, in nats."""

    def extract(self, data: Any) -> float:
        """Return the entropy. The probabilities are normalized to the sum 1."""
        shares = [float(share) for share in data]
        total = math.fsum(shares)
        return -math.fsum(share / total * math.log(share / total) for share in shares if share > 0)


class ClassificationErrorType(EvalExtractor, home="structured.scoring"):
    """Returns whether a prediction is a true or false positive or negative: TP, FP, TN or FN.

    Args:
        positive: The positive class.
    """

    def __init__(self, positive: Any = 1) -> None:
        self.positive = positive

    def extract(self, output: Any, actual: Any) -> str:
        """Return TP, FP, TN or FN."""
        is_called, is_true = (single(part) == self.positive for part in (output, actual))
        if is_called:
            return "TP" if is_true else "FP"
        return "FN" if is_true else "TN"

    def _state(self) -> dict[str, Any]:
        return {"positive": self.positive}


class RegressionError(EvalExtractor, home="structured.scoring"):
    """Returns output minus ground truth."""

    def extract(self, output: Any, actual: Any) -> float:
        """Return the difference."""
        return float(single(output)) - float(single(actual))


class AbsoluteRegressionError(RegressionError, home="structured.scoring"):
    """Returns the absolute difference of output and ground truth."""

    def extract(self, output: Any, actual: Any) -> float:
        """Return the absolute difference."""
        return abs(super().extract(output, actual))


class SquaredRegressionError(RegressionError, home="structured.scoring"):
    """Returns the squared difference of output and ground truth."""

    def extract(self, output: Any, actual: Any) -> float:
        """Return the squared difference."""
        return super().extract(output, actual) ** 2


class AvgIntensity(SimpleExtractor, home="vision.intensity"):
    """Returns the mean brightness of a Pillow image, from 0 to 255."""

    def extract(self, data: Any) -> float:
        """Return the mean brightness."""
        from PIL import ImageStat  # optional

        return float(ImageStat.Stat(data.convert("L")).mean[0])


class Sharpness(SimpleExtractor, home="vision.sharpness"):
    """Returns the mean Laplacian of a Pillow image. Lower values are more blurred."""

    def extract(self, data: Any) -> float:
        """Return the mean Laplacian."""
        from PIL import ImageFilter, ImageStat  # optional

        laplacian = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1)
        return float(ImageStat.Stat(data.convert("L").filter(laplacian)).mean[0])


class YoloConfidenceExtractor(SimpleExtractor, home="vision.yolo"):
    """Returns the confidence of an object detector (YOLO) for all boxes in an image, as one number.

    Args:
        aggregation: ``mean`` for the mean confidence of the boxes, ``min`` for the lowest.
    """

    def __init__(self, aggregation: str = "mean") -> None:
        if aggregation not in {"mean", "min"}:
            raise ValueError(f"Invalid aggregation {aggregation!r}: expected 'mean' or 'min'")
        self.aggregation = aggregation

    def extract(self, data: Any) -> float:
        """Return the confidence. NaN if the image has no box."""
        confidences = [float(box[_CONFIDENCE]) for box in data]
        if not confidences:
            return math.nan
        return min(confidences) if self.aggregation == "min" else fmean(confidences)

    def _state(self) -> dict[str, Any]:
        return {"aggregation": self.aggregation}


class SequenceSimpleExtractor(SimpleExtractor, home="extractors"):
    """Prepares the data, for example with a scaler, and passes the result to another extractor.

    Args:
        prep: Object that prepares the data, such as a fitted scaler.
        extractor: Extractor that computes the value from the prepared data.
        func: Name of the method of `prep` to call.
    """

    def __init__(self, prep: Any, extractor: SimpleExtractor, func: str = "transform") -> None:
        if not callable(getattr(prep, func, None)):
            raise DataException(f"Invalid func {func!r}: expected a method of prep")
        if not isinstance(extractor, SimpleExtractor):
            raise DataException(f"Invalid extractor {extractor!r}: expected a SimpleExtractor")
        self.prep, self.extractor, self.func = prep, extractor, func

    def _prepare(self, data: Any) -> Any:
        if type(data).__name__ == "Series":
            data = data.to_frame().T
        return getattr(self.prep, self.func)(data)

    def extract(self, data: Any) -> Any:
        """Return the value extracted from the prepared data."""
        return self.extractor.extract(self._prepare(data))

    def build(self, data: Any) -> None:
        """Fit the extractor to prepared data."""
        self.extractor.build(self._prepare(data))

    def is_built(self) -> bool:
        """Return whether the extractor is fitted."""
        return self.extractor.is_built()

    def _state(self) -> dict[str, Any]:
        return {"func": self.func, "extractor": self.extractor.to_jcr()}


class SequenceEvalExtractor(EvalExtractor, home="extractors"):
    """Prepares output and ground truth, and computes a value from both, such as the error.

    Args:
        prep_output: Extractors for the output. Each gets the result of the one before.
        prep_actual: Extractors for the ground truth, applied in the same way.
        eval_extractor: Extractor that computes the value from the two results.
    """

    def __init__(
        self,
        prep_output: Sequence[SimpleExtractor],
        prep_actual: Sequence[SimpleExtractor],
        eval_extractor: EvalExtractor,
    ) -> None:
        self.prep_output, self.prep_actual = [*prep_output], [*prep_actual]
        self.eval_extractor = eval_extractor
        if not all(isinstance(step, SimpleExtractor) for step in self._steps()):
            raise DataException("Invalid preparation: expected lists of SimpleExtractors")
        if not isinstance(eval_extractor, EvalExtractor):
            raise DataException(
                f"Invalid eval_extractor {eval_extractor!r}: expected an EvalExtractor"
            )

    def _steps(self) -> list[SimpleExtractor]:
        return [*self.prep_output, *self.prep_actual]

    def extract(self, output: Any, actual: Any) -> Any:
        """Return the value."""
        for step in self.prep_output:
            output = step.extract(output)
        for step in self.prep_actual:
            actual = step.extract(actual)
        return self.eval_extractor.extract(output=output, actual=actual)

    def is_built(self) -> bool:
        """Return whether all extractors are fitted."""
        return all(step.is_built() for step in [*self._steps(), self.eval_extractor])

    @classmethod
    def from_jcr(cls, jcr: Mapping[str, Any]) -> Any:
        """Create an extractor from the state that `to_jcr` returned."""
        facts = {
            name: [Extractor.from_jcr(step) for step in jcr[name]]
            for name in ("prep_output", "prep_actual")
        }
        return cls(**facts, eval_extractor=Extractor.from_jcr(jcr["eval_extractor"]))

    def _state(self) -> dict[str, Any]:
        return {
            "prep_output": [step.to_jcr() for step in self.prep_output],
            "prep_actual": [step.to_jcr() for step in self.prep_actual],
            "eval_extractor": self.eval_extractor.to_jcr(),
        }


def single(value: Any) -> Any:
    """Return the only element of an array, series or list. Return other values unchanged."""
    if isinstance(value, list | tuple) and len(value) == 1:
        return value[0]
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):
        return value.item()
    return value


def rows_of(data: Any) -> list[Any]:
    """Return the rows of a pandas table, an array or a list.

    Raises:
        DataException: The argument is none of these.
    """
    kind = type(data)
    if kind.__name__ in {"DataFrame", "Series"} and hasattr(data, "iloc"):
        return [data.iloc[place] for place in range(len(data))]
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataException(f"Invalid data of type {kind.__name__}: expected a table or a list")
    return [*data]


def __getattr__(name: str) -> NoReturn:
    if name in _NOT_BUILT:
        raise ImportError(
            f"{name} is not available: use a subclass of SimpleExtractor with your fitted model, "
            "see docs/how-to/from-raymon.md"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
