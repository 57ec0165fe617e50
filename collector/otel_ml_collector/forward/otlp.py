"""Forwards OTLP to other collectors as it came, once it is stored here."""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from typing import Final

from otel_ml_collector.errors import Refused, Unavailable
from otel_ml_collector.forward.otlp_line import OtlpLine
from otel_ml_collector.forward.otlp_request import PASSED_HEADER, OtlpRequest
from otel_ml_collector.settings.targets import OtlpTarget
from otel_ml_collector.telemetry import OtlpForwardNumbers

_MOST_PASSED: Final = 16
_PASSED: Final = re.compile("([0-9a-z]{1,32}(,[0-9a-z]{1,32})*)?")
_MARGIN_S: Final = 0.2


class OtlpForward:
    """Forwards requests to targets, each by itself.

    Args:
        targets: Where to; none is no cost.
        numbers: Counts what becomes of the requests.
    """

    def __init__(self, targets: Sequence[OtlpTarget], numbers: OtlpForwardNumbers) -> None:
        self._id = secrets.token_hex(8)
        lines = [OtlpLine(target, numbers) for target in targets]
        self._required = [line for line in lines if line.target.required]
        self._others = [line for line in lines if not line.target.required]
        self._lines = lines

    def has_targets(self, signal: str) -> bool:
        """Tell whether anything goes on of a signal."""
        return any(signal in line.target.signals for line in self._lines)

    def add_self(self, passed: str) -> str:
        """Add this collector to those where a request has been.

        Args:
            passed: Their ids as they came in the header, with commas between.

        Raises:
            Refused: It has been here already, or in too many places.
        """
        if not _PASSED.fullmatch(passed):
            raise Refused(f"Invalid header {PASSED_HEADER}: expected ids with commas between")
        before = passed.split(",") if passed else []
        if self._id in before:
            raise Refused(
                "This request was forwarded from here: the forward targets form a loop, "
                "expected one that does not lead back to this collector"
            )
        if len(before) >= _MOST_PASSED:
            raise Refused(f"This request was forwarded through {_MOST_PASSED} collectors already")
        return ",".join([*before, self._id])

    async def pass_on(self, request: OtlpRequest, deadline: float) -> None:
        """Forward a request that is stored; returns when each required target has it.

        The others get it then, so that a sender who has to come again does not send it to them
        each time.

        Args:
            request: What is forwarded.
            deadline: `time.monotonic` until which the sender waits.

        Raises:
            Refused: A required target has refused it for good.
            Unavailable: A required target has not acknowledged it in time.
        """
        await self._demand(request, deadline - _MARGIN_S)
        for line in self._others:
            if request.signal in line.target.signals:
                line.offer(request)

    def hold_back(self, request: OtlpRequest) -> None:
        """Count a request that must not go on, because a part of it is not its key's to send."""
        for line in self._lines:
            if request.signal in line.target.signals:
                line.drop_not_allowed(request)

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for a bounded time in all."""
        deadline = time.monotonic() + timeout_s
        for line in self._lines:
            line.end(deadline)
        for line in self._lines:
            line.close(deadline)

    async def _demand(self, request: OtlpRequest, deadline: float) -> None:
        lines = [line for line in self._required if request.signal in line.target.signals]
        if not lines:
            return
        answers = [asyncio.wrap_future(line.demand(request)) for line in lines]
        # A future that is late is not cancelled: its request stays queued, for who sends it again.
        _, late = await asyncio.wait(answers, timeout=max(deadline - time.monotonic(), 0.0))
        for line, answer in zip(lines, answers, strict=True):
            if answer in late:
                raise Unavailable(f"Not acknowledged yet by the forward target {line.target.name}")
            if error := answer.result():
                raise error
