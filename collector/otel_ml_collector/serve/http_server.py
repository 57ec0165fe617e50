"""The HTTP server: uvicorn, which leaves signals to us and ends in an orderly way.

New requests are sent away while those under way are answered; then the connections that wait for
nothing are closed, and last those whose request is still on its way in.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvicorn

# All counted from the signal. Longer than the pipeline takes for an answer:
_ANSWERS_S: Final = 4.5
_ARRIVALS_S: Final = 6.0
# Below the 10 s after which service managers kill, with time left to close the store.
_GIVE_UP_S: Final = 8.0


class HttpServer(uvicorn.Server):
    """Runs until `stop`.

    Attributes:
        when_ready: Called once it answers.
        send_away: Called when it is to end: requests that are new from then on are sent away.
        until_idle: Waits until those under way are answered.
    """

    when_ready: Callable[[], None]
    send_away: Callable[[], None]
    until_idle: Callable[[], Awaitable[None]]
    _ending: "asyncio.Task[None] | None" = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then say so."""
        await super().startup(sockets)
        self.when_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would raise them again, and the status would not be 0."""
        yield

    def stop(self) -> None:
        """Finish the requests under way, then end; at once when asked a second time."""
        if self._ending is not None:
            self.force_exit = self.should_exit = True
            return
        self.send_away()
        self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERS_S):
                await self.until_idle()
        waited_s = loop.time() - asked_s
        self.config.timeout_graceful_shutdown = math.ceil(_GIVE_UP_S - waited_s)
        self.should_exit = True
        await asyncio.sleep(_ARRIVALS_S - waited_s)
        for connection in list(self.server_state.connections):
            connection.cut_off()  # type: ignore[union-attr]  # they are of limits.py
