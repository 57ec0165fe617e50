"""The form of a rule: its fields as texts, and the rule that they make."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, Field, ValidationError

from otel_ml_collector.alerts.conditions import model_of
from otel_ml_collector.alerts.rule import AlertRule, WantedAlert, make_plan
from otel_ml_collector.alerts.sentences import name_figure
from otel_ml_collector.errors import BadInput

# Splits at commas, but not inside quotes.
_PARTS: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_TEXT_FIELDS: Final = ("window", "every", "hold", "keep", "delay", "no_data")
# Fields of the form that a rule does not have, or has in another form.
_CONVERTED: Final = frozenset({"name", "base", "by", "notify", "summary"})
# Fields that the form shows without "More".
MAIN_FIELDS: Final = frozenset({"where", "when", "by", "notify"})
_RULE_NAME_CHARS: Final = 64
_NOT_IN_RULE_NAME: Final = re.compile(r"[/\x00-\x1f\x7f]+")

_Short = Annotated[str, Field(max_length=64)]
_Long = Annotated[str, Field(max_length=4_000)]


class RuleForm(BaseModel):
    """The fields of the form of a rule, as texts."""

    name: _Short = ""
    where: _Long = ""
    when: _Long = ""
    window: _Short = "1h"
    every: _Short = ""
    hold: _Short = "2 of 3"
    keep: _Short = ""
    no_data: _Short = "end"
    by: _Long = ""
    min_runs: _Short = "30"
    delay: _Short = ""
    severity: _Short = "warning"
    notify: list[_Short] = []
    summary: _Long = ""
    base: _Short = ""

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the rule that differ from their defaults, and `when`, as in the API."""
        lists = {"by": _split(self.by), "notify": self.notify}
        return {
            "when": self.when,
            **self.model_dump(exclude={*_CONVERTED}, exclude_defaults=True),
            **{name: texts for name, texts in lists.items() if texts},
            **({"annotations": {"summary": self.summary}} if self.summary else {}),
        }

    @property
    def wanted(self) -> WantedAlert:
        """The rule that the fields make.

        Raises:
            BadInput: A field is invalid.
        """
        try:
            wanted = WantedAlert.model_validate(self.fields)
        except ValidationError as error:
            fault = error.errors()[0]
            field = str(fault["loc"][0])
            raise BadInput(f"{field}: {fault['msg']}", field) from error
        make_plan(wanted)
        return wanted


def fill_form(rule: AlertRule) -> RuleForm:
    """Fill the form with a saved rule."""
    return RuleForm(
        name=rule.name,
        where=rule.where,
        when=rule.when,
        by=", ".join(rule.by),
        min_runs=str(rule.min_runs),
        severity=rule.severity,
        notify=rule.notify,
        summary=rule.annotations.get("summary", ""),
        base=str(rule.version),
        **{name: getattr(rule, name) for name in _TEXT_FIELDS},
    )


def make_name(wanted: WantedAlert) -> str:
    """Make the name of a rule without one, such as ``answer: pass rate of grounded by client``."""
    plan = make_plan(wanted)
    model = model_of(wanted.where)
    name = name_figure(plan.condition.main).replace('"', "")
    if model:
        name = f"{model}: {name}"
    if plan.by:
        name += f" by {', '.join(dimension.name for dimension in plan.by)}"
    return _NOT_IN_RULE_NAME.sub(" ", name).strip()[:_RULE_NAME_CHARS].strip()


def _split(text: str) -> list[str]:
    return [part.strip() for part in _PARTS.findall(text) if part.strip()]
