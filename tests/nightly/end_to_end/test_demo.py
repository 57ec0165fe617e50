"""Slow cases of tests/process/end_to_end/test_demo.py."""

from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.process.end_to_end.test_demo import PAGES, TIMEOUT_S, running_demo
from tests.support.waiting import wait_until


def test_demo_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends the demo with status 0 and leaves nothing running."""
    with running_demo(tmp_path) as demo:
        wait_until(lambda: "Ctrl-C ends the demo" in demo.output, TIMEOUT_S)
        address = PAGES.search(demo.output)
        assert address, demo.output
        with urlopen(f"{address[1]}/healthz", timeout=10) as answer:
            assert answer.status == 200
        assert "reachable only while the demo serves" in demo.output
        demo.interrupt()
        assert demo.wait() == 0, demo.output
        assert f"Its records stay in {tmp_path / 'demo' / 'data'}" in demo.output
        with pytest.raises(OSError, match="refused"):
            urlopen(f"{address[1]}/healthz", timeout=10)
