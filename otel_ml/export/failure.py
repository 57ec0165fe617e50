"""What went wrong with a request that got no answer, in words."""

import os
import re
import socket


def find_root(error: BaseException) -> BaseException:
    """Find what happened in an error of urllib3, which carries it as an argument.

    Not its context: that goes on to whatever the caller was handling.
    """
    inner = next((item for item in error.args if isinstance(item, BaseException)), None)
    return error if inner is None else find_root(inner)


def is_hang_up(error: BaseException) -> bool:
    """Tell whether the other end closed the connection."""
    import ssl

    return isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError))


def describe(error: BaseException) -> str:
    """Say what happened in words that hold no secret and are the same each time."""
    import ssl
    from http.client import HTTPException

    from urllib3.exceptions import InvalidHeader
    from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

    for kinds, words in (
        ((TimeoutError, Urllib3TimeoutError), "timed out"),
        (ConnectionRefusedError, "connection refused"),
        (socket.gaierror, "host name not found"),
    ):
        if isinstance(error, kinds):
            return words
    if is_hang_up(error):
        return "connection closed by the receiver"
    if isinstance(error, (HTTPException, InvalidHeader)):
        return "no HTTP answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    refusal = re.match(r"Tunnel connection failed: (\d{3})\b", str(error))
    return f"proxy answered {refusal[1]}" if refusal else type(error).__name__
