"""What people said in Phoenix and Langfuse: taken as their clients send it, listed as they read it.

Only what their own types ask for is made up: ids and times of what a server would have stored.
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
    """The annotations of Phoenix and scores of Langfuse that were sent.

    Attributes:
        sent: The bodies of the requests, with their paths, in their order.
        listed: What a client made of the list of them.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.listed: Any = None

    def take(self, path: str, body: bytes) -> dict[str, Any] | None:
        """Take what a client sends and answer it; None for a path that takes no words."""
        place = urlsplit(path).path
        if place == _LISTED:
            self.listed = json.loads(body)
            return {}
        if place not in {_LANGFUSE, *(f"/v1/{kind}" for kind in _PHOENIX)}:
            return None
        self.sent.append({"path": place, "body": json.loads(body)})
        return {"message": "Accepted"} if place == _LANGFUSE else {"data": []}

    def answer(self, path: str) -> dict[str, Any] | None:
        """List what was sent as a server does; None for a path that lists no words."""
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
    """Write a score as the third version of Langfuse's API lists it."""
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
