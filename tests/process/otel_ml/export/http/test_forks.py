"""A forked child and its parent do not use each other's connections."""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.otel_ml.export.http.certificates import server_tls
from tests.support.otel_ml.export.http.servers import (
    DELIVERED,
    LONG_S,
    Receiver,
    open_receiver,
    open_sender,
)
from tests.support.otel_ml.scripts import run_script


def in_child(work: Callable[[], None]) -> int:
    """Fork and run the work in the child; return the child's exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12: the servers have threads
        child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(int(LONG_S))  # ends a child that hangs
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
def test_child_opens_a_connection_of_its_own(certificates: Path, secured: bool) -> None:
    """A forked child sends over a new connection, and its parent keeps using the old one."""
    tls = server_tls(certificates) if secured else None
    with (
        open_receiver(tls) as receiver,
        open_sender(receiver.address, ca_file=str(certificates / "ca.pem")) as sender,
    ):
        assert sender.post(b"parent", LONG_S) == DELIVERED

        def send_in_child() -> None:
            sender.after_fork()
            assert [sender.post(b"child", LONG_S) for _ in range(2)] == [DELIVERED] * 2
            sender.close()

        assert in_child(send_in_child) == 0
        assert sender.post(b"parent", LONG_S) == DELIVERED
        bodies = [request.body for request in receiver.requests]
    assert bodies == [b"parent", b"child", b"child", b"parent"]
    assert receiver.connections == 2


def test_child_that_only_forgets_leaves_the_parent_s_connection(receiver: Receiver) -> None:
    """A child that sends nothing does not close its parent's connection."""
    with open_sender(receiver.address) as sender:
        assert sender.post(b"body", LONG_S) == DELIVERED
        assert in_child(sender.after_fork) == 0
        assert sender.post(b"body", LONG_S) == DELIVERED
    assert receiver.connections == 1


def test_child_of_a_thread_that_sends(tmp_path: Path, receiver: Receiver) -> None:
    """A child forked while other threads send does not block on locks that they held."""
    # In another process, because a tool that traces this one holds its own locks at a fork.
    result = run_script(
        tmp_path,
        f"""
        import os, signal, sys, threading, warnings
        from otel_ml.export.http import HttpSender
        from otel_ml.export.settings import ExportSettings

        warnings.simplefilter("ignore", DeprecationWarning)
        sender = HttpSender(ExportSettings(url="{receiver.address}/v1/traces", page=""))
        stop = threading.Event()
        delivered = set()

        def send_on():
            while not stop.is_set():
                delivered.add(sender.post(b"parent", 20.0).delivered)

        threads = [threading.Thread(target=send_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        sys.setswitchinterval(1e-6)  # threads stop anywhere, as they seldom do
        statuses = set()
        for _ in range(200):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends a child that hangs
                sender.after_fork()
                os._exit(0)
            statuses.add(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads:
            thread.join()
        sender.close()
        print(statuses, delivered)
        """,
    )
    assert (result.stdout, result.stderr) == ("{0} {True}\n", "")


def test_fork_waits_for_the_first_import(tmp_path: Path, receiver: Receiver) -> None:
    """A child forked while a thread sends for the first time does not block in an import."""
    result = run_script(
        tmp_path,
        f"""
        import os, sys, threading, warnings
        from otel_ml.export.http import HttpSender
        from otel_ml.export.settings import ExportSettings

        warnings.simplefilter("ignore", DeprecationWarning)
        sender = HttpSender(ExportSettings(url="{receiver.address}/v1/traces", page=""))
        thread = threading.Thread(target=sender.post, args=(b"parent", 20.0))
        thread.start()
        while "urllib3" not in sys.modules:
            pass
        child = os.fork()
        if child == 0:
            import faulthandler
            faulthandler.dump_traceback_later(20, exit=True)
            sender.after_fork()
            import urllib3.connectionpool
            os._exit(0 if sender.post(b"child", 20.0).delivered else 1)
        status = os.waitpid(child, 0)[1]
        thread.join()
        sender.close()
        sys.exit(os.waitstatus_to_exitcode(status))
        """,
    )
    assert result.stderr == ""
    assert sorted(request.body for request in receiver.requests) == [b"child", b"parent"]
