"""Problems that a user marked as known."""

import json
import re
import time
from pathlib import Path
from typing import Final

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

PAGE: Final = f"/projects/{PROJECT}"
PROBLEM: Final = f"{PAGE}/problems/reply-v2-quality"
API: Final = f"/api/v1{PAGE}/known-problems"
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
JSON: Final = {"content-type": "application/json"}


def count_problems(service: Service) -> list[list[str]]:
    """Return the number of problems that the overview, Monitor and Home show."""
    parts = (f"{PAGE}/news", f"{PAGE}/monitor/findings", f"/status?project={PROJECT}&of=1")
    texts = [ask(service.app, part).text for part in parts]
    return [re.findall(r">(\d+) problems?\b", text)[:1] for text in texts]


@at_night
def test_mark_as_known(tmp_path: Path) -> None:
    """A known problem is not counted anywhere, also after a restart, until the mark is removed."""
    now_ns = time.time_ns()
    with open_service(tmp_path) as service:
        service.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        assert count_problems(service) == [["3"]] * 3
        form = f"{PROBLEM}/known"
        answered = ask(service.app, form, method="POST", headers=FORM, body=[b"last=24h"])
        assert (answered.status, answered.headers["location"]) == (303, f"{PROBLEM}?last=24h")
    with open_service(tmp_path) as service:
        assert count_problems(service) == [["2"]] * 3
        for part in ("news", "monitor/findings"):
            assert "Known, not counted: " in ask(service.app, f"{PAGE}/{part}").text
        page = ask(service.app, PROBLEM).text
        assert "This problem is known." in page
        assert "Known problem in" in page
        [mark] = re.findall('name="mark" value="([0-9a-f]{32})"', page)
        [known] = ask(service.app, API).json["known"]
        assert (known["name"], known["problem"]) == (mark, "reply-v2-quality")
        ask(service.app, form, method="POST", headers=FORM, body=[f"mark={mark}".encode()])
        assert count_problems(service) == [["3"]] * 3
        body = json.dumps({"problem": "none"}).encode()
        answered = ask(service.app, API, method="POST", headers=JSON, body=[body])
        assert answered.status == 404
        message = "There is no problem 'none' in the last 24h"
        assert answered.json["error"]["message"] == message


@at_night
def test_clearly_worse(tmp_path: Path) -> None:
    """A known problem counts again once it is clearly worse."""
    now_ns = time.time_ns()
    with open_service(tmp_path) as service:
        service.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        body = json.dumps({"problem": "error-ordernotfound"}).encode()
        assert ask(service.app, API, method="POST", headers=JSON, body=[body]).status == 200
        assert count_problems(service) == [["2"]] * 3
        for number, expected in ((3, "2"), (100, "3")):
            failed = [
                make_call(
                    "find_order",
                    {"otel_ml.outcome": "error", "error.type": "OrderNotFound"},
                    trace_id=trace_id(20_000 + 1_000 * number + place),
                    start_ns=now_ns - place * SECOND_NS,
                    status_code=2,
                    status_message="no order with id 1",
                )
                for place in range(number)
            ]
            service.store.take(PROJECT, *failed, now_ns=now_ns)
            assert count_problems(service) == [[expected]] * 3
