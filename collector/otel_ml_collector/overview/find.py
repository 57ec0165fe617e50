"""The overview of a project, computed once for the JSON API, the page and the reader.

All figures come from `stats`, so runs of experiments and calls of judges do not count.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from otel_ml_collector.figures import (
    ComparedFigures,
    FiguresQuery,
    GroupTotals,
    UserGroup,
    choose_user_group,
    find_figures_at,
    list_user_groups,
)
from otel_ml_collector.problems.news import (
    NewestVersion,
    NewsSources,
    OverviewNews,
    find_news,
    group_errors,
    list_newest_versions,
)
from otel_ml_collector.runs.errors import ErrorGroups
from otel_ml_collector.stats import cut_past
from otel_ml_collector.store.reader import Reader

ModelGroup = Literal["model", "provider_model", "version"]


@dataclass(frozen=True, slots=True)
class OverviewQuery(FiguresQuery):
    """Which figures of a project to return: the parameters of API and page."""

    models: Annotated[ModelGroup, Query(description="How to group the table of models")] = "model"


class OverviewFigures(ComparedFigures):
    """Recent figures of a project's recorded runs: in total, by model and by user."""

    models: GroupTotals
    users: GroupTotals | None = Field(description="Null if no run names a user or session")
    people: list[UserGroup] = Field(description="Which of user and session the runs name")
    newest_versions: list[NewestVersion] = Field(description="At most 8 versions, newest first")


class Overview(OverviewFigures, OverviewNews):
    """A project at a glance."""

    errors: ErrorGroups


def find_figures(
    reader: Reader, project: str, query: OverviewQuery, now_ns: int
) -> OverviewFigures:
    """Return the figures of a project, with those of a week before."""
    over = cut_past(reader, query.last, now_ns)
    versions = reader.ahead(list_newest_versions, project, now_ns)
    named = list_user_groups(reader, project)
    chosen = choose_user_group(query, named)
    by = [query.models, *([chosen] if chosen else [])]
    figures_at = find_figures_at(reader, project, over, by=by, order=query.order)
    nothing = GroupTotals(group=query.models, groups=[], groups_found=0, other=None)
    models, *users = figures_at.groups or [nothing]
    return OverviewFigures(
        **dict(figures_at.compared),
        models=models,
        users=users[0] if users and figures_at.compared.total.runs else None,
        people=named,
        newest_versions=versions.result(),
    )


def find_overview(
    reader: Reader, project: str, query: OverviewQuery, now_ns: int, sources: NewsSources
) -> Overview:
    """Return the figures of a project and its messages."""
    window = cut_past(reader, query.last, now_ns).window
    asked_errors = reader.ahead(group_errors, project, window, now_ns)
    figures = find_figures(reader, project, query, now_ns)
    errors = asked_errors.result()
    news = find_news(
        reader,
        project,
        now_ns,
        query.last,
        sources=sources,
        errors=errors,
        versions=figures.newest_versions,
    )
    return Overview(**{**dict(figures), **dict(news)}, errors=errors)
