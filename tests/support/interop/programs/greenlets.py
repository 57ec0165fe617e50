"""Where threads are greenlets: what is delivered, and what ends a call.

Arguments: the library, ``gevent`` or ``eventlet``, and where spans are sent, over HTTP and TLS.
"""

import sys

LIBRARY, PLAIN, SECURE = sys.argv[1:4]
if LIBRARY == "gevent":
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

# ruff: noqa: E402 - what is imported before the library patched it stays as it was
import threading
from typing import Any

from otel_ml import Client, Judge
from tests.support.interop.programs.describe import answer

_CALLS = 40
_MEETING_S = 30
_LONG = "word " * 6_000


def _deliver(client: Client) -> dict[str, object]:
    """Call a model in greenlets that take turns."""
    together = threading.Barrier(_CALLS)

    @client.assess(Judge("any", "", lambda: 1.0))
    def model(number: int) -> str:
        together.wait(_MEETING_S)
        return f"{number} {_LONG}"

    threads = [threading.Thread(target=model, args=(number,)) for number in range(_CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = client.flush(30)
    stats = client.stats()
    client.close()
    return {"delivered": found.delivered, "lost": stats.lost, "trouble": stats.trouble}


def plain() -> dict[str, object]:
    """Deliver over HTTP."""
    return _deliver(Client("plain", endpoint=PLAIN))


def secure() -> dict[str, object]:
    """Deliver over TLS."""
    return _deliver(Client("secure", endpoint=SECURE))


def limit() -> list[object]:
    """End a call by the library's own time limit, and a value that waits when it is shown."""
    client = Client("limits", endpoint=PLAIN)

    class Slow:
        def __repr__(self) -> str:
            threading.Event().wait()
            return "slow"

    model = client.trace(lambda given: threading.Event().wait() if given is None else given)
    found: list[object] = []
    for given in (None, Slow()):
        try:
            with _timeout(0.1):
                model(given)
        except BaseException as error:  # noqa: BLE001 - that is the case
            found.append(type(error).__name__)
    client.close()
    return found


def _timeout(seconds: float) -> Any:
    if LIBRARY == "gevent":
        import gevent

        return gevent.Timeout(seconds)
    return eventlet.Timeout(seconds)


if __name__ == "__main__":
    answer(plain, secure, limit)
