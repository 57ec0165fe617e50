"""The number of the collector's files that serving one page executes."""

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final

import otel_ml_collector
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import open_service

OURS: Final = str(Path(otel_ml_collector.__file__).parent)
# One of them turns an error in a part of a page into a note (`log.contained`).
MOST: Final = 36
# Files that every request executes, whatever its address.
EVERY_REQUEST: Final = {
    "access.py",
    "clock.py",
    "keyring.py",
    "serve/addresses.py",
    "serve/middleware.py",
    "serve/proxies.py",
    "services.py",
}


def test_page_of_a_run(tmp_path: Path) -> None:
    """A warm page of a run executes at most 36 files, besides those of every request."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(OURS) and name.endswith(".py"):
            files.add(name.removeprefix(f"{OURS}/"))

    threading.setprofile(note)  # all threads started from now on, including the store's
    try:
        with open_service(tmp_path) as service:
            call = make_call("call", {"otel_ml.tag.client": "bill"})
            service.store.take("p", call)
            target = f"/projects/p/runs/{id_of(call)}"
            assert ask(service.app, target).status == 200
            files.clear()
            sys.setprofile(note)
            assert ask(service.app, target).status == 200
            passed = set(files)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert {"traces/page.py", "runs/find.py", "store/reader.py"} <= passed
    assert len(passed - EVERY_REQUEST) <= MOST, "\n".join(sorted(passed))
