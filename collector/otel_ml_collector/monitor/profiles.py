"""Profiles that clients have sent, in the API and on a page, with the fields they describe."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import Field, ValidationError
from starlette.responses import Response

from otel_ml.statistics.distances import quantile
from otel_ml.statistics.field_drift import write_number, write_share
from otel_ml.statistics.sketches import Sketch
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.versions import all_version_numbers, read_versions
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_MOST_PROFILES: Final = 100
api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class ProfileComponent(AnswerBody):
    """A value that a profile describes."""

    name: str
    side: Literal["input", "output", "actual", "eval"]
    field: str = Field(
        description="Path of the field; empty if a function in the code of the client computes "
        "the value"
    )
    kind: str = Field(description="number, category or text; empty before the profile is built")
    n: int = Field(description="Number of runs from which it was built")
    missing: float | None = Field(
        description="Share of these runs without the value; null if unknown"
    )
    typical: str = Field(description="Median or most frequent value, as text")
    low: float | None = Field(description="Smallest valid value; null if there is no bound")
    high: float | None


class StoredProfile(AnswerBody):
    """The newest version of a profile."""

    name: str
    number: int = Field(description="Number of this version")
    version: str = Field(description="Version as its author named it")
    tag: str = Field(description="Group of the tags that the profile adds to runs: name@version")
    first_seen_time: str
    than: str = Field(description="Value for `than` to compare fields with this profile")
    components: list[ProfileComponent]
    scores: list[str] = Field(description="Names of its scores")


class StoredProfiles(AnswerBody):
    """The profiles of a project."""

    profiles: list[StoredProfile] = Field(description="The newest version of each profile, by name")


def find_profiles(reader: Reader, project: str) -> list[StoredProfile]:
    """List the newest versions of a project's profiles by name, at most 100 of them."""
    names = sorted({name for name, _, _ in all_version_numbers(reader, project, "profile")})
    newest = {
        row["name"]: row
        for row in read_versions(reader, project, "profile", names[:_MOST_PROFILES])
    }
    profiles = [_read_profile(row) for row in newest.values()]
    return [profile for profile in profiles if profile is not None]


def _read_profile(row: Mapping[str, Any]) -> StoredProfile | None:
    """Parse the document of a profile; None if it is invalid, because any client may send one."""
    try:
        document = orjson.loads(row["definition"])
        return StoredProfile(
            name=row["name"],
            number=row["number"],
            version=document["version"],
            tag=f"{document['name']}@{document['version']}",
            first_seen_time=to_rfc3339(row["first_ns"]),
            than=f"profile:{row['name']}:v{row['number']}",
            components=[_read_component(component) for component in document["components"]],
            scores=[score["name"] for score in document["scores"]],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, ValidationError):
        return None


def _read_component(component: Mapping[str, Any]) -> ProfileComponent:
    sketch = Sketch.from_dict(component["sketch"]) if "sketch" in component else None
    runs = sketch.n + sketch.missing if sketch else 0
    typical = ""
    if sketch and sketch.n:
        if sketch.kind == "number":
            typical = write_number(quantile(sketch, 0.5))
        elif sketch.kind == "text":
            typical = f"{write_number(quantile(sketch.parts['words'], 0.5))} words"
        else:
            values = sketch.values
            value = max(values, key=lambda value: (values[value], value), default="")
            typical = f"{value} {write_share(values.get(value, 0) / sketch.n)}"
    return ProfileComponent(
        name=component["name"],
        side=component["side"],
        field=component.get("field", ""),
        kind=sketch.kind if sketch else "",
        n=sketch.n if sketch else 0,
        missing=sketch.missing / runs if sketch and runs else None,
        typical=typical,
        low=component.get("low"),
        high=component.get("high"),
    )


@api.get("/projects/{project:path}/profiles")
def get_profiles(project: str, reader: FromReader) -> StoredProfiles:
    """List the profiles that clients have sent, by name, with the fields that each describes.

    A profile describes which values are normal for a model. To compare the fields of a model with a
    profile, send `than=profile:NAME` to the route that ends in `/fields`.
    """
    return StoredProfiles(profiles=find_profiles(reader, project))


@pages.get("/projects/{project:path}/profiles")
def show_profiles(request: Request, project: str, reader: FromReader) -> Response:
    """Show the profiles of a project, each with the fields it describes."""
    context = {
        "profiles": find_profiles(reader, project),
        "api": view.api_address("projects", project, "profiles"),
        "python": python_call("profiles"),
    }
    return show_page(request, "profiles.html", context)
