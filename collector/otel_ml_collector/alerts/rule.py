"""An alert rule as it is saved: its runs, condition, windows and receivers."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from otel_ml_collector.alerts.conditions import AlertCondition, read_condition
from otel_ml_collector.errors import BadInput, BadSetting, suggest
from otel_ml_collector.filter.grammar import conjuncts, read_field
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.store.documents import Document, DocumentKind
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS, read_length, to_rfc3339

ALERT: Final = DocumentKind("alert", most=500, limit_bytes=64 * 1024, noted_as="alert rule")
# Fields that a rule can group by, in addition to tags.
BY_FIELDS: Final = ("model", "version", "environment", "release", "provider_model")
MOST_BY: Final = 4
# Largest number of windows in `hold`.
_MOST_HOLD: Final = 10
_MOST_STEPS: Final = 60
_MOST_WINDOW_NS: Final = 30 * DAY_NS
_MOST_KEEP_NS: Final = 30 * DAY_NS
_MOST_DELAY_NS: Final = 90 * DAY_NS
_USUAL_DELAY_NS: Final = 10 * MINUTE_NS
_HOLD: Final = re.compile(r"(\d{1,2}) of (\d{1,2})", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"{{(.*?)}}", re.DOTALL)
# Fields that change how windows are judged.
_JUDGED_FIELDS: Final = {
    *("where", "when", "window", "every", "by", "hold", "keep", "min_runs", "delay"),
    "windows_between",
}
# Placeholders in annotations, such as `{{ by }}`.
TEMPLATE_NAMES: Final = ("by", "value", "window", "rule")

AlertName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Length = Annotated[str, Field(max_length=20)]
_Name = Annotated[str, Field(min_length=1, max_length=64)]


class WantedAlert(BaseModel):
    """A rule: which runs it checks, its condition, and whom it notifies."""

    model_config = ConfigDict(extra="forbid")

    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="",
        description="Filter of the runs that the rule checks; empty for all recorded runs",
    )
    when: Annotated[str, Field(min_length=1, max_length=4_000)] = Field(
        description='Condition that makes a window bad, such as surely(pass_rate("grounded") < 0.9)'
    )
    window: _Length = Field(
        default="1h",
        description="Length of a window, from 1m to 30d. The rule evaluates its condition over "
        "all runs in a window",
    )
    every: _Length = Field(
        default="",
        description="Time between two evaluations of the rule. Default: a quarter of the "
        "window, at least 1m",
    )
    by: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=MOST_BY)] = Field(
        default_factory=list,
        description='Fields whose values get an alert each: tags["client"], version, environment, '
        "...",
    )
    hold: _Length = Field(
        default="2 of 3",
        description="How many of the last evaluated windows must meet the condition before the "
        "rule fires. These windows do not overlap",
    )
    keep: _Length = Field(
        default="",
        description="How long to keep firing after the last window that meets the condition. "
        "Default: until three windows in a row do not meet it, or one is better than the limit by "
        "a tenth of the distance to the median of the week before the alert",
    )
    no_data: Literal["end", "notify"] = Field(
        default="end",
        description="What happens to a firing alert that gets no data for the time `keep` "
        "(default: three windows). `end` resolves it. `notify` changes its state to no data and "
        "notifies its receivers",
    )
    min_runs: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=30, description="Windows with fewer runs or scores are ignored"
    )
    delay: _Length = Field(
        default="",
        description="How long a window waits for scores and ground truth. Default: 10m, or the "
        "usual delay of the ground truth if the rule needs it",
    )
    severity: Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9_.-]+$")] = "warning"
    notify: Annotated[list[_Name], Field(max_length=8)] = Field(
        default_factory=list,
        description="Receivers to notify, by their names in the setting alert_targets",
    )
    annotations: Annotated[
        dict[_Name, Annotated[str, Field(max_length=1_000)]], Field(max_length=16)
    ] = Field(
        default_factory=dict,
        description="Texts to add to notifications. They can contain {{ by }}, {{ value }}, {{ "
        "window }} and {{ rule }}",
    )
    windows_between: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        default=1_000,
        description="For a rule with surely(...): on average, at most one false alarm in this "
        "many windows",
    )

    @field_validator("by", mode="before")
    @classmethod
    def _read_one(cls, by: object) -> object:
        return [by] if isinstance(by, str) and by else by or []

    @field_validator("annotations")
    @classmethod
    def _is_plain(cls, annotations: dict[str, str]) -> dict[str, str]:
        for text in annotations.values():
            for name in _PLACEHOLDER.findall(text):
                if name.strip() not in TEMPLATE_NAMES:
                    raise ValueError(
                        f"Unknown {{{{{name[:40]}}}}}: expected one of {', '.join(TEMPLATE_NAMES)}"
                    )
        return annotations


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field or tag that a rule groups by.

    Attributes:
        name: Name of the field or tag, such as ``model`` or ``client``. Alerts of the rule have a
            label with this name.
        is_tag: True for a tag, False for a field. The filter of a tag is written
            ``tags["client"] == "Remax"``, that of a field ``model == "answer"``.
    """

    name: str
    is_tag: bool

    def write(self, value: str) -> str:
        """Write the filter of the runs with a value."""
        quoted = orjson.dumps(value).decode()
        if self.is_tag:
            return f"tags[{orjson.dumps(self.name).decode()}] == {quoted}"
        return f"{self.name} == {value if self.name == 'version' else quoted}"


@dataclass(frozen=True, slots=True)
class RulePlan:
    """An alert rule after parsing: the texts of a `WantedAlert` as conditions, times and numbers.

    Most fields have the name of the text that they were parsed from. For example, `window_ns` is
    the length in `WantedAlert.window`, in nanoseconds.

    Attributes:
        where: Filter of the runs that the rule checks.
        condition: The condition that makes a window bad, parsed from `WantedAlert.when`.
        by: Fields and tags by which the runs are grouped into slices.
        hold: ``(2, 3)`` means: the rule fires when 2 of its last 3 windows are bad.
        keep_ns: How long the rule keeps firing after the last bad window. None to decide by the
            good windows since then, as `alerts.states.advance` describes.
        delay_ns: Maximum time that a window waits for scores.
        truth_delay_ns: Maximum time that a window waits for ground truth. None means as long as it
            usually takes to arrive.
        windows_between: For ``surely(...)``: average number of windows between two false alarms.
        no_data: What happens to a firing alert that gets no data for the time `keep_ns`, or for
            three windows if `keep_ns` is None. ``end``: it is resolved. ``notify``: its receivers
            are notified that it has no data.
    """

    where: str
    condition: AlertCondition
    window_ns: int
    every_ns: int
    by: tuple[Dimension, ...]
    hold: tuple[int, int]
    keep_ns: int | None
    min_runs: int
    delay_ns: int
    truth_delay_ns: int | None
    windows_between: int
    no_data: Literal["end", "notify"]


def make_plan(wanted: WantedAlert) -> RulePlan:
    """Parse a rule.

    Raises:
        BadInput: A field is invalid; the error has its name and, if known, the column.
    """
    compile_filter(wanted.where)
    condition = read_condition(wanted.when)
    window_ns = _read(wanted.window, "window", MINUTE_NS, _MOST_WINDOW_NS)
    usual_ns = max(window_ns // 4 // SECOND_NS * SECOND_NS, MINUTE_NS)
    every_ns = window_ns if condition.sure else usual_ns
    if wanted.every:
        every_ns = _read(wanted.every, "every", MINUTE_NS, window_ns)
    if window_ns > _MOST_STEPS * every_ns:
        message = f"Invalid every: expected at least a {_MOST_STEPS}th of the window"
        raise BadInput(message, "every")
    if condition.sure and every_ns != window_ns:
        raise BadInput(
            "With surely, each run must count once: set every to the window length", "every"
        )
    match = _HOLD.fullmatch(wanted.hold)
    hold = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= hold[0] <= hold[1] <= _MOST_HOLD:
        message = (
            f'Invalid hold {wanted.hold!r}: expected a text such as "2 of 3", with the smaller '
            f"number first and numbers from 1 to {_MOST_HOLD}"
        )
        raise BadInput(message, "hold")
    by = tuple(map(_read_dimension, wanted.by))
    if len({dimension.name for dimension in by}) < len(by):
        raise BadInput("Invalid by: expected each name once", "by")
    delay_ns = _read(wanted.delay, "delay", 0, _MOST_DELAY_NS) if wanted.delay else None
    plan = RulePlan(
        where=wanted.where,
        condition=condition,
        window_ns=window_ns,
        every_ns=every_ns,
        by=by,
        hold=(1, 1) if condition.sure else hold,
        keep_ns=_read(wanted.keep, "keep", 0, _MOST_KEEP_NS) if wanted.keep else None,
        min_runs=0 if condition.needs_no_runs else wanted.min_runs,
        delay_ns=_USUAL_DELAY_NS if delay_ns is None else delay_ns,
        truth_delay_ns=delay_ns,
        windows_between=wanted.windows_between,
        no_data=wanted.no_data,
    )
    fields = [f"tag {item.name}" if item.is_tag else item.name for item in by]
    condition.check_fit(wanted.where, window_ns, by=fields)
    return plan


def check_receivers(wanted: WantedAlert, receivers: Collection[str]) -> None:
    """Refuse a rule that names an unknown receiver.

    Raises:
        BadInput: A receiver of `notify` is not among the given names.
    """
    for name in wanted.notify:
        if name not in receivers:
            hint = suggest(name, receivers)
            if not receivers:
                hint = "add a receiver with this name in the setting alert_targets"
            raise BadInput(f"There is no receiver {name!r}: {hint}", "notify")


def _read(text: str, name: str, least_ns: int, most_ns: int) -> int:
    length_ns = 0 if text in {"0", "0s"} else read_length(text)
    if length_ns is None or not least_ns <= length_ns <= most_ns:
        least = "0s" if not least_ns else f"{least_ns // MINUTE_NS}m"
        most = f"{most_ns // MINUTE_NS}m" if most_ns < DAY_NS else f"{most_ns // DAY_NS}d"
        raise BadInput(
            f"Invalid {name} {text!r}: expected a duration from {least} to {most}, such as "
            "15m or 1h",
            name,
        )
    return length_ns // SECOND_NS * SECOND_NS


def _read_dimension(text: str) -> Dimension:
    expected = f'expected a tag such as tags["client"], or one of {", ".join(BY_FIELDS)}'
    if text in BY_FIELDS:
        return Dimension(text, is_tag=False)
    try:
        field = read_field(text)
    except BadInput as error:
        raise BadInput(f"Invalid by {text[:80]!r}: {expected}", "by") from error
    if field.name != "tags" or not field.key:
        raise BadInput(f"Invalid by {text[:80]!r}: {expected}", "by")
    return Dimension(field.key, is_tag=True)


class AlertRule(WantedAlert):
    """A saved rule."""

    name: str
    version: int = Field(description="Number of times the rule was saved")
    saved_time: str = Field(description="When the rule was last saved, RFC 3339 in UTC")
    origin: Literal["api", "file"] = Field(
        default="api",
        description="`file` if the rule comes from the collector's configuration file",
    )

    @cached_property
    def plan(self) -> RulePlan:
        """The parsed rule."""
        return make_plan(self)

    @property
    def digest(self) -> str:
        """A hash of the fields that change how windows are judged. If it changes, states are reset.

        Receivers and messages do not change it.
        """
        parts = self.model_dump(include=_JUDGED_FIELDS)
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def annotate(self, by: str, value: str) -> dict[str, str]:
        """Fill the placeholders of the annotations with plain text."""
        values = {"by": by, "value": value, "window": self.window, "rule": self.name}
        return {
            name: _PLACEHOLDER.sub(lambda match: values[match[1].strip()], text)
            for name, text in self.annotations.items()
        }


def make_rule(document: Document) -> AlertRule:
    """Read a rule from its document."""
    return AlertRule(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **document.body,
    )


class FileAlert(WantedAlert):
    """A rule of the configuration file, ``[[alert]]``, with its project."""

    name: AlertName
    project: Annotated[str, Field(min_length=1, max_length=256)]

    @property
    def body(self) -> dict[str, Any]:
        """The rule as it is stored."""
        return {**self.model_dump(exclude={"project", "name"}), "origin": "file"}


@dataclass(frozen=True, slots=True)
class SliceKey:
    """Identifies a slice of a rule: one value of each field and tag that the rule groups by.

    Attributes:
        text: The values as a JSON list, in the order of the rule's `by`, such as ``["Remax"]`` for
            client = Remax. ``[]`` if the rule does not group its runs.
    """

    text: str

    @classmethod
    def of(cls, values: Sequence[str]) -> "SliceKey":
        """Make the key of some values."""
        return cls(orjson.dumps([*values]).decode())

    @property
    def values(self) -> list[str]:
        """The values, in the order of the rule."""
        return [str(value) for value in orjson.loads(self.text)]

    def labels(self, by: Sequence[Dimension]) -> Mapping[str, str]:
        """Return the values by name of the field or tag."""
        return dict(zip((dimension.name for dimension in by), self.values, strict=False))

    def where(self, by: Sequence[Dimension]) -> list[str]:
        """Return filters that together select the runs of the slice."""
        return [dimension.write(value) for dimension, value in zip(by, self.values, strict=False)]


def read_file_alerts(
    documents: Sequence[object], receivers: Collection[str] | None = None
) -> list[FileAlert]:
    """Read the rules of the configuration file.

    Args:
        documents: The tables of the file.
        receivers: Names of the known receivers; None to allow any name.

    Raises:
        BadSetting: A rule is invalid or names an unknown receiver, or two rules of a project have
            the same name.
    """
    alerts = []
    for place, document in enumerate(documents, 1):
        try:
            alert = FileAlert.model_validate(document)
            make_plan(alert)
            if receivers is not None:
                check_receivers(alert, receivers)
        except ValidationError as error:
            fault = error.errors()[0]
            at = ".".join(map(str, fault["loc"]))
            raise BadSetting(f"Invalid alert {place}: {at}: {fault['msg']}") from error
        except BadInput as error:
            at = (
                error.field if error.column is None else f"{error.field}, column {error.column + 1}"
            )
            raise BadSetting(f"Invalid alert {place}, {alert.name!r}: {at}: {error}") from error
        alerts.append(alert)
    if len({(alert.project, alert.name) for alert in alerts}) < len(alerts):
        raise BadSetting("Invalid alert: expected each name once in a project")
    return alerts


def narrow_filter(where: str, parts: Sequence[str]) -> str:
    """Join filters with ``and``, without changing their text."""
    return " and ".join([*conjuncts(where), *parts])
