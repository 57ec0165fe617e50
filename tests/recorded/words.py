"""What people said in Phoenix and Langfuse: taken as their clients send it, listed as they read it.

Only what their own types ask for is made up: ids and times of what a server would have stored.
"""

import json
from typing import Any, Final
from urllib.parse import urlsplit

_TIME: Final = "2026-11-20T08:00:00.000Z"
_PHOENIX: Final = "/v1/span_annotations"
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
        if place not in {_PHOENIX, _LANGFUSE}:
            return None
        self.sent.append({"path": place, "body": json.loads(body)})
        return {"data": []} if place == _PHOENIX else {"message": "Accepted"}

    def answer(self, path: str) -> dict[str, Any] | None:
        """List what was sent as a server does; None for a path that lists no words."""
        place = urlsplit(path).path
        if place == _LANGFUSE_LISTED:
            scores = [_as_listed(score) for score in self._of(_LANGFUSE)]
            return {"data": scores, "meta": {"limit": len(scores)}}
        if place.endswith("/span_annotations"):
            annotations = [
                {
                    **annotation,
                    "id": f"annotation-{number}",
                    "created_at": _TIME,
                    "updated_at": _TIME,
                    "source": "API",
                    "user_id": None,
                }
                for number, annotation in enumerate(self._of(_PHOENIX), 1)
            ]
            return {"data": annotations, "next_cursor": None}
        return None

    def _of(self, place: str) -> list[dict[str, Any]]:
        bodies = [request["body"] for request in self.sent if request["path"] == place]
        return [word for body in bodies for word in (body["data"] if place == _PHOENIX else body)]


def _as_listed(score: dict[str, Any]) -> dict[str, Any]:
    """Write a score as the third version of Langfuse's API lists it."""
    observation = score.get("observationId")
    subject = (
        {"kind": "observation", "id": observation, "traceId": score["traceId"]}
        if observation
        else {"kind": "trace", "id": score["traceId"]}
    )
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
