"""The form of a rule: its fields as texts, and the rule that they make."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, Field, ValidationError

from otel_ml_collector.alerts.rule import AlertRule, WantedAlert, make_plan
from otel_ml_collector.errors import BadInput

# Between commas, of which there may be some in quotes.
_PARTS: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_TEXT_FIELDS: Final = ("window", "every", "hold", "keep", "delay", "no_data")
# Of the fields of the form, what is no field of a rule, or is written otherwise there.
_WRITTEN_OTHERWISE: Final = frozenset({"name", "base", "by", "notify", "summary"})

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
    notify: _Long = ""
    summary: _Long = ""
    base: _Short = ""

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the rule that are others than usual, and `when`, as the API takes them."""
        lists = {"by": _split(self.by), "notify": _split(self.notify)}
        return {
            "when": self.when,
            **self.model_dump(exclude={*_WRITTEN_OTHERWISE}, exclude_defaults=True),
            **{name: texts for name, texts in lists.items() if texts},
            **({"annotations": {"summary": self.summary}} if self.summary else {}),
        }

    @property
    def wanted(self) -> WantedAlert:
        """The rule that the fields make.

        Raises:
            BadInput: A part of it is wrong.
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
        notify=", ".join(rule.notify),
        summary=rule.annotations.get("summary", ""),
        base=str(rule.version),
        **{name: getattr(rule, name) for name in _TEXT_FIELDS},
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in _PARTS.findall(text) if part.strip()]
