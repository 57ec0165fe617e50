"""Delivers notifications to receivers: each at least once, even if the process is killed.

A notification is stored before it is sent, and its result is stored afterwards. So no notification
is lost while a receiver is down. After an hour of failed attempts, a notification counts as failed.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from otel_ml_collector.alerts.messages import make_alert_request
from otel_ml_collector.alerts.notification import (
    Notification,
    read_notification,
    write_notification,
)
from otel_ml_collector.alerts.sender import Undelivered, post
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.notifications import NotificationBox, StoredNotification
from otel_ml_collector.telemetry.service import AlertSendNumbers
from otel_ml_collector.times import HOUR_NS

# A notification is retried for this long.
GIVEN_UP_NS: Final = HOUR_NS
# Firing alerts are sent to an Alertmanager this often.
AGAIN_S: Final = 60.0
_SHORTEST_REST_S: Final = 1.0
_LONGEST_REST_S: Final = 300.0
_MOST_DOUBLINGS: Final = 20
_REST_SPREAD: Final = secrets.SystemRandom()
_READ_AT_ONCE: Final = 100
_MOST_FIRING: Final = 1_000
_MOST_NAMED_TARGETS: Final = 8
_KNOWN_IDS: Final = 20_000
# How often to check for notifications that another collector has stored.
_POLL_S: Final = 60.0
_END_S: Final = 10.0
NO_TARGET: Final = "There is no receiver of this name in the settings"

_logger = logging.getLogger(__name__)


class AlertDelivery:
    """Sends notifications to each receiver on a separate thread. Any thread can call `announce`.

    Args:
        targets: The receivers of the settings.
        box: Stores the notifications on disk until they are sent.
        numbers: Prometheus metrics that count sent, waiting and failed notifications.
        public_url: Address of the collector's web pages, such as ``https://otel-ml.example``. Links
            in the messages start with it.
        clock: Returns the time, in nanoseconds since 1970.
        first_rest_s: Seconds to wait after the first failed attempt, ± 25 % at random. The pause
            doubles after each further failure, up to about five minutes.
        again_s: Seconds after which a firing alert is sent to an Alertmanager again.
    """

    def __init__(
        self,
        targets: Sequence[AlertTarget],
        box: NotificationBox,
        numbers: AlertSendNumbers,
        *,
        public_url: str = "",
        clock: Callable[[], int] = time.time_ns,
        first_rest_s: float = _SHORTEST_REST_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._box = box
        self._numbers = numbers
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], None] = {}
        self._lines = {
            target.name: AlertLine(
                target, box, numbers, public_url, clock, first_rest_s=first_rest_s, again_s=again_s
            )
            for target in targets
        }

    @property
    def targets(self) -> Sequence[AlertTarget]:
        """The receivers, in the order of the settings."""
        return [line.target for line in self._lines.values()]

    def start(self) -> None:
        """Start sending, first the notifications that a killed collector has left."""
        for line in self._lines.values():
            line.start()

    def announce(self, notification: Notification) -> None:
        """Store a notification, which other threads then send to its receivers.

        The notification is on disk when the call returns. Call this method each time you evaluate
        a rule that is firing or was resolved. A notification with the ID of an earlier one is about
        the same change, so it is not stored again. But if the earlier one was withdrawn, sending
        it resumes. A message that a rule is resolved goes only to receivers that were notified
        when the rule fired.

        Raises:
            Unavailable: The store failed; announce it again.
        """
        key = notification.project, notification.id
        with self._lock:
            if key in self._known:
                return
            stored = self._box.of_change(*key)
            withdrawn = [known for known in stored if known.state == "withdrawn"]
            if not stored:
                self._store(notification)
            elif withdrawn:
                for known in withdrawn:
                    self._box.change(known, state="waiting", announced_ns=self._clock(), tries=0)
            if len(self._known) >= _KNOWN_IDS:
                self._known.clear()
            self._known[key] = None
        self._wake()

    def withdraw(self, project: str, rule: str) -> None:
        """Stop sending notifications about a rule, because it was muted or deleted.

        The next call of `announce` starts them again. Receivers get no message that the alerts of
        the rule are over. An Alertmanager resolves an alert by itself, five minutes after the last
        message about it.

        Raises:
            Unavailable: The store failed.
        """
        with self._lock:
            for stored in self._box.open(project, rule):
                self._box.change(stored, state="withdrawn")
                self._known.pop((project, stored.id), None)

    def close(self) -> None:
        """Stop; the next collector sends what is waiting."""
        for line in self._lines.values():
            line.end()
        for line in self._lines.values():
            line.close()

    def _store(self, notification: Notification) -> None:
        names = list(dict.fromkeys(notification.notify))[:_MOST_NAMED_TARGETS]
        if notification.status == "resolved":
            newest = self._box.newest(notification.project, notification.rule)
            names = [stored.target for stored in newest if _is_known_firing(stored)]
        now_ns = self._clock()
        body = write_notification(notification)
        rows = [
            StoredNotification(
                project=notification.project,
                target=name,
                id=notification.id,
                rule=notification.rule,
                status=notification.status,
                changed_ns=notification.changed_ns,
                announced_ns=now_ns,
                state="waiting" if name in self._lines else "failed",
                tries=0,
                tried_ns=0,
                trouble="" if name in self._lines else NO_TARGET,
                body=body,
            )
            for name in names
        ]
        if rows:
            self._box.put(rows)
        for row in rows:
            if row.state == "failed":
                self._numbers.count_unknown()

    def _wake(self) -> None:
        for line in self._lines.values():
            line.wake()


def _is_known_firing(stored: StoredNotification) -> bool:
    """Return whether a receiver knows, or will know, that a rule fires.

    A message that was withdrawn may have arrived, so it counts too.
    """
    has_taken = stored.tries > 0 and not stored.trouble
    return stored.status == "firing" and (stored.state != "withdrawn" or has_taken)


class AlertLine:
    """Sends to one receiver, one message at a time. For its arguments, see `AlertDelivery`."""

    def __init__(
        self,
        target: AlertTarget,
        box: NotificationBox,
        numbers: AlertSendNumbers,
        public_url: str,
        clock: Callable[[], int],
        *,
        first_rest_s: float,
        again_s: float,
    ) -> None:
        self.target = target
        self._box = box
        self._numbers = numbers
        self._public_url = public_url
        self._clock = clock
        self._first_rest_s = first_rest_s
        self._again_s = again_s
        self._failures = 0
        self._once = OnceAMinute()
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name=f"otel-ml-alerts-{target.name}", daemon=True
        )
        numbers.add_target(target.name)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Check now for waiting notifications."""
        self._woken.set()

    def end(self) -> None:
        """Ask the thread to stop after the message that it is sending."""
        self._stopped.set()
        self._woken.set()

    def close(self) -> None:
        """Wait until the thread has stopped."""
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _work(self) -> None:
        again_s = time.monotonic()
        while not self._stopped.is_set():
            self._woken.clear()
            rest_s = _POLL_S
            with going_on(partial(self._warn, "trouble")):
                if self.target.kind == "alertmanager" and time.monotonic() >= again_s:
                    again_s = time.monotonic() + self._again_s
                    self._send_again()
                rest_s = self._send_waiting()
            if self._failures:
                self._stopped.wait(rest_s)
            elif self.target.kind == "alertmanager":
                self._woken.wait(min(rest_s, max(again_s - time.monotonic(), 0.0)))
            else:
                self._woken.wait(rest_s)

    def _send_waiting(self) -> float:
        """Send waiting notifications until one attempt fails; return the pause before the next."""
        while not self._stopped.is_set():
            batch = self._box.waiting(self.target.name, _READ_AT_ONCE)
            if not batch:
                self._numbers.set_waiting(self.target.name, 0)
                return _POLL_S
            self._numbers.set_waiting(self.target.name, self._box.count_waiting(self.target.name))
            for stored in batch:
                if self._stopped.is_set():
                    break
                rest_s = self._try(stored)
                if rest_s is not None:
                    return rest_s
        return 0.0

    def _try(self, stored: StoredNotification) -> float | None:
        """Send a notification; return the pause before the next attempt, None if accepted."""
        now_ns = self._clock()
        tries = stored.tries + 1
        try:
            self._post(read_notification(stored.body), now_ns)
        except Undelivered as error:
            is_over = error.is_final or now_ns - stored.announced_ns >= GIVEN_UP_NS
            self._box.change(
                stored,
                state="failed" if is_over else "waiting",
                tries=tries,
                tried_ns=now_ns,
                trouble=str(error),
            )
            self._numbers.count_failure(self.target.name)
            if is_over:
                self._numbers.count_ended(self.target.name, "failed")
                self._warn("given_up", error, "A notification has failed")
            return None if error.is_final else self._rest(error)
        self._failures = 0
        self._box.change(stored, state="sent", tries=tries, tried_ns=now_ns, trouble="")
        self._numbers.count_ended(self.target.name, "sent")
        return None

    def _send_again(self) -> None:
        """Send all firing alerts again, so that they are not resolved."""
        for stored in self._box.firing(self.target.name, _MOST_FIRING):
            if self._stopped.is_set():
                return
            try:
                self._post(read_notification(stored.body), self._clock())
            except Undelivered as error:
                self._numbers.count_failure(self.target.name)
                self._warn("away", error)
                return

    def _post(self, notification: Notification, now_ns: int) -> None:
        request = make_alert_request(self.target, notification, self._public_url, now_ns)
        post(self.target, request)

    def _rest(self, error: Undelivered) -> float:
        self._warn("away", error)
        grown_s = self._first_rest_s * 2.0 ** min(self._failures, _MOST_DOUBLINGS)
        self._failures += 1
        pause_s = min(grown_s, _LONGEST_REST_S) * _REST_SPREAD.uniform(0.75, 1.25)
        return max(pause_s, error.retry_after_s or 0.0)

    def _warn(
        self, topic: str, error: Exception, message: str = "Notifications are waiting"
    ) -> None:
        if not self._stopped.is_set() and self._once.is_due(topic):
            _logger.warning("%s for the receiver %s: %s", message, self.target.name, error)
