"""Annotations of Phoenix and scores of Langfuse, accepted and listed as their servers do.

Only fields that their own types require are made up: ids and times that a server would assign.
"""

import json
from typing import Any, Final
from urllib.parse import urlsplit

_TIME: Final = "2026-11-20T08:00:00.000Z"
_PHOENIX: Final = ("span_annotations", "trace_annotations", "session_annotations")
_LANGFUSE: Final = "/api/public/scores"
_LISTED: Final = "/listed"
_LANGFUSE_LISTED: Final = "/api/public/v3/scores"


class Words:
    """The Phoenix annotations and Langfuse scores that were sent.

    Attributes:
        sent: The paths and bodies of the requests, in order.
        listed: How a client parsed the list of them.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.listed: Any = None

    def take(self, path: str, body: bytes) -> dict[str, Any] | None:
        """Accept a client's request and return the response; None for any other path."""
        place = urlsplit(path).path
        if place == _LISTED:
            self.listed = json.loads(body)
            return {}
        if place not in {_LANGFUSE, *(f"/v1/{kind}" for kind in _PHOENIX)}:
            return None
        self.sent.append({"path": place, "body": json.loads(body)})
        return {"message": "Accepted"} if place == _LANGFUSE else {"data": []}

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return the list of what was sent, as a server does; None for any other path."""
        place = urlsplit(path).path
        if place == _LANGFUSE_LISTED:
            scores = [_as_listed(score) for body in self._of(_LANGFUSE) for score in body]
            return {"data": scores, "meta": {"limit": len(scores)}}
        kind = place.rpartition("/")[2]
        if kind not in _PHOENIX:
            return None
        sent = [word for body in self._of(f"/v1/{kind}") for word in body["data"]]
        annotations = [
            {
                **annotation,
                "id": f"{kind} {number}",
                "created_at": _TIME,
                "updated_at": _TIME,
                "source": "API",
                "user_id": None,
            }
            for number, annotation in enumerate(sent, 1)
        ]
        return {"data": annotations, "next_cursor": None}

    def _of(self, place: str) -> list[Any]:
        return [request["body"] for request in self.sent if request["path"] == place]


def _as_listed(score: dict[str, Any]) -> dict[str, Any]:
    """Return a score as version 3 of Langfuse's API lists it."""
    if "sessionId" in score:
        subject = {"kind": "session", "id": score["sessionId"]}
    elif "observationId" in score:
        subject = {
            "kind": "observation",
            "id": score["observationId"],
            "traceId": score["traceId"],
        }
    else:
        subject = {"kind": "trace", "id": score["traceId"]}
    is_bool = score["dataType"] == "BOOLEAN"
    return {
        "id": score["id"],
        "projectId": "recorded",
        "name": score["name"],
        "source": "ANNOTATION",
        "dataType": score["dataType"],
        "value": bool(score["value"]) if is_bool else score["value"],
        "timestamp": score["timestamp"],
        "environment": score.get("environment", "default"),
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "comment": score.get("comment"),
        "authorUserId": "cyd",
        "queueId": "queue-1",
        "subject": subject,
    }
