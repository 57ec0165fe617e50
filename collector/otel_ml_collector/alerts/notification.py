"""A notification: one message about a rule that is firing, still firing with a change, or resolved.

The evaluator passes it to `AlertDelivery.announce` after each pass over a rule. `Notification.id`
identifies the change of state, not the call, so a known change is not sent again. If the process
stops between storing a state and storing its message, the next pass stores the message.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

NotificationStatus = Literal["firing", "resolved"]

# A message lists this many slices, the worst first, and counts the others.
MOST_ALERTED_SLICES: Final = 10


@dataclass(frozen=True, slots=True)
class AlertedSlice:
    """A slice in a notification, with the state of its alert.

    A slice is the runs with one value of the rule's `by`, such as client = Remax.

    Attributes:
        labels: The value of each field and tag that the rule groups by, such as
            ``{"client": "Remax"}``. Empty if the rule does not group its runs.
        value: The first figure of the rule's condition in the last window that had enough data.
            None if there is no value.
        since_ns: When the current state of the alert began, in nanoseconds since 1970. While the
            alert is firing, this is when it began to fire.
        path: Path of the page to open, usually the list of the slice's runs, such as
            ``/projects/shop/runs?…``.
        text: The value in words, such as ``61 % failed``; empty in notifications of older versions.
    """

    labels: Mapping[str, str]
    value: float | None
    since_ns: int
    path: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """The message about a rule that receivers get.

    Attributes:
        project: The rule's project.
        rule: The rule's name.
        severity: The rule's severity.
        status: ``resolved`` when no slice of the rule is firing any more, or the rule was deleted.
        changed_ns: When the state changed, in nanoseconds since 1970. This is the end of the window
            in which a slice of the rule began or stopped firing. If the same change is announced
            again, this time is the same.
        notify: Names of the receivers.
        annotations: The rule's texts for the message, by name, such as ``summary``. Placeholders
            are already replaced by values.
        slices: The firing slices, the worst first, at most ten. If the rule is resolved: the slices
            that stopped firing last.
        more_slices: Number of slices that are not in `slices`, because there are more than ten.
        when: The rule's condition, as the user wrote it.
        window: Length of the rule's window, as the user wrote it, such as ``1h``.
        path: Path of the rule's page on this collector.
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
        """Check the number of slices.

        Raises:
            ValueError: There are too many.
        """
        if len(self.slices) > MOST_ALERTED_SLICES:
            raise ValueError(
                f"Invalid number of slices {len(self.slices)}: expected at most "
                f"{MOST_ALERTED_SLICES}"
            )

    @property
    def id(self) -> str:
        """The ID of this change of state, the same for every call and every attempt to send it."""
        change = [self.project, self.rule, self.status, self.changed_ns]
        return hashlib.sha256(json.dumps(change).encode()).hexdigest()[:32]


def write_notification(notification: Notification) -> str:
    """Write a notification as the JSON that is stored until it is sent."""
    return json.dumps(asdict(notification))  # accepts lone surrogates, NaN and infinity


def read_notification(text: str) -> Notification:
    """Read the text of `write_notification`."""
    document: dict[str, Any] = json.loads(text)
    slices = tuple(AlertedSlice(**alerted) for alerted in document.pop("slices"))
    notify = tuple(document.pop("notify"))
    return Notification(**document, slices=slices, notify=notify)
