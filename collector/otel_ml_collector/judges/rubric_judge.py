"""A rubric judge as it is saved: rubric, language model, runs to judge, and limits."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from otel_ml.rubric import InvalidRubric, Rubric, read_rubric
from otel_ml_collector.errors import BadInput, BadSetting, Conflict, suggest
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.judge_budget import find_share_used, limit_calls
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.settings.connections import Connection
from otel_ml_collector.store.documents import Document
from otel_ml_collector.store.judging import JudgeSpending
from otel_ml_collector.times import to_rfc3339

RUBRIC_JUDGE_NAME: Final = r"^[^\x00-\x1f\x7f]+$"
RubricJudgeName = Annotated[str, Field(min_length=1, max_length=64, pattern=RUBRIC_JUDGE_NAME)]
_Word = Annotated[str, Field(min_length=1, max_length=256)]


class WantedRubricJudge(BaseModel):
    """A judge in plain words: what to check, the model to ask, the runs, and the limits."""

    model_config = ConfigDict(extra="forbid")

    instruction: Annotated[str, Field(min_length=1, max_length=65_536)] = Field(
        description="The rubric in words. Placeholders say what the model sees: {{inputs}}, "
        "{{outputs}}, {{expected}}, {{conversation}}, {{documents}}, {{steps.NAME.outputs}}, "
        "{{tags.NAME}}, {{outputs.PART}}"
    )
    model: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="Name of the language model, as its provider calls it"
    )
    connection: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Name of a connection in the setting judge_connections"
    )
    answer: Literal["pass", "score", "label"] = Field(
        default="pass", description="pass: pass or fail; score: a number; label: one of `labels`"
    )
    low: float = Field(default=1.0, description="Lowest score")
    high: float = Field(default=5.0, description="Highest score")
    pass_at_least: float | None = Field(
        default=None, description="Scores of at least this value pass"
    )
    pass_at_most: float | None = Field(
        default=None, description="Scores of at most this value pass"
    )
    labels: Annotated[list[_Word], Field(max_length=50)] = Field(
        default_factory=list, description="Labels that the judge chooses from"
    )
    pass_labels: Annotated[list[_Word], Field(max_length=50)] = Field(
        default_factory=list, description="Labels that pass"
    )
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict, description='Parameters of the model, such as {"temperature": 0}'
    )
    where: Annotated[str, Field(max_length=4_000)] = Field(
        default="", description="Filter of the runs to judge; empty for all"
    )
    sample: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="Share of the runs to judge. Runs with a session are sampled by session",
    )
    calls_per_minute: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=60, description="Maximum number of calls of the model per minute"
    )
    calls_per_day: Annotated[int | None, Field(ge=1, le=100_000_000)] = Field(
        default=None,
        description="Maximum number of calls per day (UTC). Default: 1,000 if `dollars_per_day` "
        "is not set either",
    )
    dollars_per_day: Annotated[float | None, Field(gt=0, le=1_000_000)] = Field(
        default=None,
        description="Maximum cost per day (UTC) in US dollars, for models with a known price",
    )
    is_on: bool = Field(default=False, description="Whether the judge scores live traffic")

    @property
    def rubric(self) -> Rubric:
        """The rubric, without connection, runs and limits.

        Raises:
            BadInput: A field is invalid.
        """
        try:
            return read_rubric(self.model_dump())
        except InvalidRubric as error:
            raise BadInput(str(error), error.field) from error

    @property
    def most_calls(self) -> int | None:
        """Most calls per day; None if only dollars are limited."""
        return limit_calls(self.calls_per_day, self.dollars_per_day)


class SavedRubricJudge(WantedRubricJudge):
    """A saved rubric judge."""

    name: str
    digest: str = Field(description="Version of the judge, as in its scores")
    version: int = Field(description="Number of times the judge was saved")
    saved_time: str = Field(description="When it was last saved, RFC 3339 in UTC")
    on_since: str | None = Field(
        description="When the judge was turned on, RFC 3339. It judges runs that arrive later"
    )
    origin: Literal["api", "file"] = Field(
        default="api",
        description="`file` if the judge comes from the collector's configuration file",
    )

    @property
    def wanted(self) -> WantedRubricJudge:
        """The judge as it was sent."""
        return WantedRubricJudge(**self.model_dump(include={*WantedRubricJudge.model_fields}))


def check_rubric_judge(
    wanted: WantedRubricJudge,
    project: str,
    connections: Sequence[Connection],
    prices: Prices,
) -> Connection:
    """Check that a judge could run, and return its connection.

    Raises:
        BadInput: A field is invalid. Or the connection does not exist, is not allowed for the
            project, or has a budget in dollars and a model without a known price.
    """
    rubric = wanted.rubric
    compile_filter(wanted.where)
    by_name = {connection.name: connection for connection in connections}
    connection = by_name.get(wanted.connection)
    if connection is None:
        raise BadInput(explain_no_connection(wanted.connection, by_name), "connection")
    if not connection.may_see(project):
        raise BadInput(
            f"Data of project {project!r} may not be sent to the connection {connection.name!r}: "
            "add the project to its projects in the setting judge_connections",
            "connection",
        )
    if wanted.dollars_per_day is not None and not is_priced(connection, rubric, prices):
        raise BadInput(
            f"The price of model {rubric.model!r} at provider {connection.provider_name!r} is "
            "unknown: set calls_per_day instead, or add the price to the setting prices",
            "dollars_per_day",
        )
    return connection


def explain_no_connection(name: str, known: Collection[str]) -> str:
    """Return what to do if no connection has this name: which one to use, or how to make one."""
    if known:
        return f"There is no connection {name!r}: {suggest(name, known)}"
    return (
        "There is no connection to a language model yet. To make one, add it to the collector's "
        "setting judge_connections, and list this project in its projects"
    )


def is_priced(connection: Connection, rubric: Rubric, prices: Prices) -> bool:
    """Return whether the price of a rubric's model is known."""
    return prices.find(connection.provider_name, rubric.model) is not None


def is_used_up(judge: WantedRubricJudge, spent: JudgeSpending) -> bool:
    """Return whether a judge has used up its budget of the day."""
    return find_share_used(judge.calls_per_day, judge.dollars_per_day, spent) >= 1


def is_sampled(group: str, sample: float) -> bool:
    """Return whether the runs of a session, or of a trace without a session, are in a sample.

    The result is always the same for the same arguments. A session in a sample of 10 % is also in a
    sample of 20 %.

    Args:
        group: The session, or the trace ID if there is no session.
        sample: Size of the sample: 0.1 means 10 % of all sessions.
    """
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:8]) < sample * 2**64


def write_rubric_body(
    wanted: WantedRubricJudge, before: Document | None, now_ns: int, origin: str = "api"
) -> dict[str, Any]:
    """Write a judge as it is stored. One that was on before keeps the time it was turned on."""
    since_ns = before.body.get("on_ns", 0) if before else 0
    on_ns = (since_ns or now_ns) if wanted.is_on else 0
    body = wanted.model_dump(include={*WantedRubricJudge.model_fields})
    return {**body, "on_ns": on_ns, "origin": origin}


def make_rubric_judge(document: Document) -> SavedRubricJudge:
    """Read a saved judge from its document."""
    body = dict(document.body)
    on_ns = body.pop("on_ns")
    wanted = WantedRubricJudge(**{name: body[name] for name in WantedRubricJudge.model_fields})
    return SavedRubricJudge(
        name=document.name,
        digest=wanted.rubric.digest,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        on_since=to_rfc3339(on_ns) if on_ns else None,
        **body,
    )


def refuse_filed_judge(document: Document | None) -> None:
    """Refuse to change a judge of the configuration file.

    Raises:
        Conflict: It is one.
    """
    if document is not None and document.body.get("origin") == "file":
        raise Conflict(
            f"The judge {document.name!r} is in the configuration file of the collector: change "
            "it there"
        )


class FileRubricJudge(WantedRubricJudge):
    """A judge of the configuration file, ``[[judge]]``, with its project."""

    name: RubricJudgeName
    project: Annotated[str, Field(min_length=1, max_length=256)]
    is_on: bool = True


def read_file_judges(
    documents: Sequence[object],
    connections: Sequence[Connection] | None = None,
    prices: Prices | None = None,
) -> list[FileRubricJudge]:
    """Read the judges of the configuration file.

    Args:
        documents: The tables ``[[judge]]`` of the file.
        connections: The connections to model providers that exist. If None, the connections of the
            judges are not checked.
        prices: Known prices of models. A judge with a budget in dollars needs the price of its
            model.

    Raises:
        BadSetting: A judge is invalid, or two judges of a project have the same name.
    """
    found: dict[tuple[str, str], FileRubricJudge] = {}
    for place, document in enumerate(documents, 1):
        try:
            judge = FileRubricJudge.model_validate(document)
            if connections is not None:
                check_rubric_judge(judge, judge.project, connections, prices or Prices())
        except ValidationError as error:
            fault = error.errors()[0]
            at = ".".join(map(str, fault["loc"]))
            raise BadSetting(f"Invalid judge {place}: {at}: {fault['msg']}") from error
        except BadInput as error:
            raise BadSetting(f"Invalid judge {place}: {error.field}: {error}") from error
        if (judge.project, judge.name) in found:
            raise BadSetting(f"Invalid judge {place}: the project has two named {judge.name!r}")
        found[judge.project, judge.name] = judge
    return [*found.values()]
