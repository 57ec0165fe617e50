"""Profiles that clients have sent, in the API, with the fields they describe."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter
from pydantic import Field, ValidationError

from otel_ml.statistics.field_drift import write_typical
from otel_ml.statistics.fields import FieldSketch
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.findings.drift import path_of_component
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.versions import all_version_numbers, read_versions
from otel_ml_collector.times import to_rfc3339

_MOST_PROFILES: Final = 100
api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


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


def list_profile_names(reader: Reader, project: str) -> list[str]:
    """List the names of a project's profiles, at most 100 of them."""
    names = {name for name, _, _ in all_version_numbers(reader, project, "profile")}
    return sorted(names)[:_MOST_PROFILES]


def find_profiles(reader: Reader, project: str, names: Sequence[str]) -> list[StoredProfile]:
    """Find the newest version of each of these profiles. Invalid ones are left out."""
    newest = {row["name"]: row for row in read_versions(reader, project, "profile", names)}
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
    field = FieldSketch.from_dict(component["sketch"]) if "sketch" in component else None
    return ProfileComponent(
        name=component["name"],
        side=component["side"],
        field=path_of_component(component) if component.get("field") else "",
        kind=field.kind if field else "",
        n=field.n if field else 0,
        missing=field.missing / field.runs if field and field.runs else None,
        typical=write_typical(field.of_kind(field.kind)) if field and field.n else "",
        low=component.get("low"),
        high=component.get("high"),
    )


@api.get("/projects/{project:path}/profiles")
def get_profiles(project: str, reader: FromReader) -> StoredProfiles:
    """List the profiles that clients have sent, by name, with the fields that each describes.

    A profile describes which values are normal for a model. To compare the fields of a model with a
    profile, send `than=profile:NAME` to the route that ends in `/fields`.
    """
    names = list_profile_names(reader, project)
    return StoredProfiles(profiles=find_profiles(reader, project, names))
