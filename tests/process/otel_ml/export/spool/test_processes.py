"""Killed processes, and the delivery of the frames that they left."""

import random
from pathlib import Path

import pytest

from tests.process.otel_ml.export.spool.programs import (
    ADOPTER,
    APPENDER,
    DRAINER,
    kill_after,
    running,
)
from tests.support.otel_ml.export.spool.spools import (
    drain,
    files,
    frames,
    key,
    leave,
    make_spool,
    once,
    payload,
)
from tests.support.sampling import at_night, sampled


@sampled(1)
@pytest.mark.parametrize(("kills", "size"), [(12, 100), (6, 3_000), (6, 100_000)])
def test_killed_process_loses_no_acknowledged_frame(tmp_path: Path, kills: int, size: int) -> None:
    """Every frame whose append returned before kill -9 is delivered once and unchanged."""
    chance = random.Random(size)  # noqa: S311 - picks moments, guards nothing
    acknowledged: list[int] = []
    for kill in range(kills):
        with running(APPENDER, tmp_path, kill * 1_000_000, size) as process:
            acknowledged += kill_after(process, chance.randrange(1, 400_000 // size + 2))
    delivered = once(drain(make_spool(tmp_path)))
    assert set(map(key, acknowledged)) <= set(delivered)
    assert len(delivered) <= len(acknowledged) + kills
    for one, text in delivered.items():
        assert text == payload(int.from_bytes(one, "big"), size)
    assert files(tmp_path) == []


@at_night
def test_processes_killed_side_by_side(tmp_path: Path) -> None:
    """A living process delivers the frames of killed processes that used the same directory."""
    survivor = make_spool(tmp_path)
    survivor.append(key(9_000_000), b"own")
    acknowledged = [9_000_000]
    delivered = []
    with (
        running(APPENDER, tmp_path, 0, 500) as first,
        running(APPENDER, tmp_path, 1_000_000, 500) as second,
    ):
        for process in (first, second):
            acknowledged += kill_after(process, 50)
            process.wait()
            delivered += drain(survivor)
    assert set(map(key, acknowledged)) <= set(once(delivered))
    survivor.close()
    assert files(tmp_path) == []


@at_night
def test_killed_adopter(tmp_path: Path) -> None:
    """Frames that a killed adopter took and did not finish are delivered by the next one."""
    leave(tmp_path, range(100), segment_bytes=2_000)
    with running(ADOPTER, tmp_path, 4) as process:
        assert kill_after(process, 1) == [10]
    delivered = once(drain(make_spool(tmp_path)))
    assert set(frames(range(40, 100))) <= set(delivered.items()) <= set(frames(range(100)))
    assert files(tmp_path) == []


def test_adopters_in_several_processes(tmp_path: Path) -> None:
    """Processes that adopt at the same time deliver each frame exactly once together."""
    for number in range(40):
        leave(tmp_path, range(number * 10, number * 10 + 10), segment_bytes=500)
    with running(DRAINER, tmp_path) as one, running(DRAINER, tmp_path) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        printed = [process.communicate()[0].split() for process in (one, two)]
    assert sorted(int(number) for numbers in printed for number in numbers) == list(range(400))
    assert files(tmp_path) == []
