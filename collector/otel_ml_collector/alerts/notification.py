"""A notification: one message about a rule that began to fire, changed while it fires, or ended.

The evaluator hands it to `AlertDelivery.announce` at every look at a rule, as often as it likes:
`Notification.id` names the change of state and not the call. So what is known already is not sent
again, and nothing is lost between a state that was stored and a message that was not.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

NotificationStatus = Literal["firing", "resolved"]

# A message names so many slices, the worst first; of the others it says how many there are.
MOST_ALERTED_SLICES: Final = 10
_ID_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class AlertedSlice:
    """One of the worst slices of a rule that fires.

    Attributes:
        labels: The slice, by the names of its dimensions: ``{"client": "Remax"}``; empty where the
            rule has no ``by``.
        value: The rule's figure over the last judged window; None where it is none.
        since_ns: When the slice began to fire.
        path: Where its runs are listed, below this collector's address: ``/projects/shop/runs?…``.
    """

    labels: Mapping[str, str]
    value: float | None
    since_ns: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """The message about a rule that targets get.

    Attributes:
        project: The rule's project.
        rule: The rule's name.
        severity: As the rule says it.
        status: ``resolved`` when no slice of the rule fires any more, or the rule was deleted.
        changed_ns: When the state changed that this tells of: the end of the window by which a
            slice of the rule began or ended to fire. The same at every call about this change.
        notify: The names of the targets.
        annotations: Texts by name, already substituted.
        slices: Those that fire, the worst first, at most `MOST_ALERTED_SLICES`; of a resolved rule
            those that fired last.
        more_slices: How many fire beside those.
        when: The rule's condition, as it was written.
        window: The rule's window, as it was written: ``1h``.
        path: Where the rule is shown, below this collector's address.
    """

    project: str
    rule: str
    severity: str
    status: NotificationStatus
    changed_ns: int
    notify: tuple[str, ...]
    annotations: Mapping[str, str]
    slices: tuple[AlertedSlice, ...] = ()
    more_slices: int = 0
    when: str = ""
    window: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        """Hold the number of slices to its bound.

        Raises:
            ValueError: There are more.
        """
        if len(self.slices) > MOST_ALERTED_SLICES:
            raise ValueError(
                f"Invalid number of slices {len(self.slices)}: expected at most "
                f"{MOST_ALERTED_SLICES}"
            )

    @property
    def id(self) -> str:
        """The name of this change of state: the same for every call and every try to send it."""
        change = [self.project, self.rule, self.status, self.changed_ns]
        return hashlib.sha256(json.dumps(change).encode()).hexdigest()[:_ID_CHARS]


def write_notification(notification: Notification) -> str:
    """Write a notification as the JSON that is stored until it is sent."""
    return json.dumps(asdict(notification))  # also halves of characters, and what is no number


def read_notification(text: str) -> Notification:
    """Read the text of `write_notification`."""
    document: dict[str, Any] = json.loads(text)
    slices = tuple(AlertedSlice(**alerted) for alerted in document.pop("slices"))
    notify = tuple(document.pop("notify"))
    return Notification(**document, slices=slices, notify=notify)
