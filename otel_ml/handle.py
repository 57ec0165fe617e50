"""What may be said of a run, while it is open or later, here or in another process."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence

from otel_ml import attributes as names
from otel_ml.arguments import (
    InvalidArgumentError,
    check_flag,
    check_mapping,
    check_one_of,
    check_optional_text,
    check_text,
)
from otel_ml.described import text_of
from otel_ml.errors import InvalidMetricError, quiet
from otel_ml.redaction import Redaction
from otel_ml.tags import Details, Tags, Value, read_tags
from otel_ml.values import clean
from otel_ml.wire import Event, Point, feedback_attributes, line_event, make_points, number

_LINE_CHARS = 16_384
_REF_CHARS = 256
_LEFT_OUT = "artifact"


class Handle:
    """The methods that add to a run.

    None of them raises into the host but for an argument that is none of what it takes.
    """

    __slots__ = ()

    def tag(self, *tags: Tags, **more: object) -> None:
        """Set tags; the last value of a name stays.

        Args:
            tags: Mappings of names to values, `Tag` objects, or lists of both.
            more: Tags whose names are identifiers. Values are texts, numbers and bools; of
                anything else its text is kept.

        Raises:
            ValueError: Something is given that is none of these; nothing is set.
        """
        said = check_tags((*tags, more))
        with quiet("run.tag"):
            self._add_tags(*said)

    def debug(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("debug", text)

    def info(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("info", text)

    def warning(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("warning", text)

    def error(self, text: str) -> None:
        """Add a line of text to the run. It does not change the run's outcome."""
        self._log("error", text)

    def log(self, ref: str, value: object) -> None:
        """Log a value, as it is now, under a reference: an array, a table, an image, anything.

        It is written at once, so that what happens to it later does not matter, and read back
        as the same type, see `otel_ml.types`. Of one that takes more than 64 MiB only type,
        shape and the like are kept.

        Args:
            ref: What it is found by, 1 to 256 characters. Logged under again, both values are
                kept, and the newest is read.
            value: The value, or one of the wrappers of `otel_ml.types` around it.

        Raises:
            ValueError: The reference is no such text; nothing is logged.
        """
        name = check_text("ref", ref, _REF_CHARS)
        with quiet("run.log"):
            self._add_data(name, value)

    def log_metric(
        self,
        name: str,
        value: object,
        *,
        step: int | None = None,
        overwrite: bool = False,
        single_value: bool = False,
    ) -> None:
        """Append one point, or a list of points, to the series `name`.

        Args:
            name: The metric.
            value: A number, or a list of numbers; see `log_metrics`.
            step: What the point belongs to, such as an epoch.
            overwrite: Take the place of what was logged under the name before.
            single_value: A plain number instead of a series; it is kept as it was when the
                name is known and `overwrite` is False.

        Raises:
            InvalidMetricError: The value is no number; nothing is logged.
            ValueError: Another argument is none of what it takes.
        """
        check_text("name", name)
        check_flag("overwrite", overwrite)
        check_flag("single_value", single_value)
        mode = "single" if single_value else "append"
        self._put_points(make_points({name: value}, step, mode, overwrite=overwrite))

    def log_metrics(
        self, values: Mapping[str, object], *, step: int | None = None, overwrite: bool = False
    ) -> None:
        """Log several metrics of one moment.

        Args:
            values: Numbers by name, or lists of numbers. A number stays a single value while
                it is alone and becomes a series with the second one; a list is a series.
                Arrays and tensors of numpy, torch, jax and their like are taken as numbers
                when they have one element, as lists when they have one dimension.
            step: What the points belong to, such as an epoch.
            overwrite: Take the place of what was logged under these names before.

        Raises:
            InvalidMetricError: A value is no number; then none of `values` is logged. It is a
                ValueError that names key and value.
            ValueError: Another argument is none of what it takes.
        """
        check_flag("overwrite", overwrite)
        check_mapping("values", values, "a mapping of names to numbers or lists of numbers")
        self._put_points(make_points(values, step, "auto", overwrite=overwrite))

    def feedback(
        self,
        name: str,
        score: float | None = None,
        *,
        passed: bool | None = None,
        label: str | None = None,
        explanation: str | None = None,
        source: str = "human",
    ) -> None:
        """Say what a person thinks of the run, or what turned out to be true.

        Args:
            name: What is scored, such as ``helpful`` or ``churned``.
            score: A number.
            passed: Whether it is good enough.
            label: A word for it.
            explanation: Why.
            source: ``human``, or ``actual`` for the truth that came later.

        Raises:
            InvalidMetricError: The score is no number.
            ValueError: The source is another one, nothing is said, or an argument is none of
                what it takes.
        """
        check_text("name", name)
        check_one_of("source", source, ("human", "actual"))
        if score is None and passed is None and label is None and explanation is None:
            raise ValueError(
                f"Invalid feedback {name!r}: expected a score, passed, a label or an explanation"
            )
        if passed is not None:
            check_flag("passed", passed)
        check_optional_text("label", label, _LINE_CHARS)
        check_optional_text("explanation", explanation, _LINE_CHARS)
        value = None if score is None else number(name, score, "score {} of {}")
        if value is not None and math.isnan(value):
            raise InvalidMetricError(f"Invalid score {score!r} of {name!r}: expected a number")
        with quiet("run.feedback"):
            said = feedback_attributes(
                name, source, value, passed, label=label, explanation=explanation
            )
            self._send_feedback(said)

    @quiet("run.log")
    def _log(self, severity: str, text: object) -> None:
        redaction = self._redaction
        if redaction is None:
            return
        at_ns = time.time_ns()
        line = clean(text_of(text))
        if len(line) > _LINE_CHARS:
            line = line[:_LINE_CHARS] + "…"
        self._add_event(line_event(severity, redaction.text(line), at_ns))

    def _add_data(self, ref: str, value: object) -> None:
        redaction = self._redaction
        if redaction is None:
            return
        from otel_ml.artifact import make_artifact  # 20 ms, at the first value that is logged

        at_ns = time.time_ns()
        made = make_artifact(ref, value, redaction)
        said, notes = made.said, made.notes
        if made.document is not None:
            address = self._upload(made.sha256, made.document)
            if address is None:
                notes = (*notes, _LEFT_OUT)
            else:
                said[names.ARTIFACT_URI] = address
        self._add_event((names.ARTIFACT_EVENT, said, at_ns))
        if notes:
            self._note("artifacts", *notes)

    @quiet("run.log_metrics")
    def _put_points(self, points: Sequence[Point]) -> None:
        self._add_points(points)

    def _add_tags(self, tags: dict[str, Value], details: Details) -> None:
        raise NotImplementedError

    @property
    def _redaction(self) -> Redaction | None:
        """What hides secrets; None where nothing is recorded."""
        raise NotImplementedError

    def _add_event(self, event: Event) -> None:
        raise NotImplementedError

    def _upload(self, sha256: str, document: bytes) -> str | None:
        """Send a long document on its way; returns its address, None where it has none."""
        raise NotImplementedError

    def _note(self, part: str, *notes: str) -> None:
        """Say that something was left out, and why."""
        raise NotImplementedError

    def _add_points(self, points: Sequence[Point]) -> None:
        raise NotImplementedError

    def _send_feedback(self, said: dict[str, Value]) -> None:
        raise NotImplementedError


def check_tags(given: Iterable[Tags]) -> tuple[dict[str, Value], Details]:
    """Read tags; those that the host's own code does not give are left out.

    Raises:
        ValueError: Something is given that is no tag.
    """
    wrong: InvalidArgumentError | None = None
    with quiet("run.tag"):
        try:
            return read_tags(given)
        except InvalidArgumentError as error:
            wrong = error
    if wrong is not None:
        raise wrong
    return {}, {}
