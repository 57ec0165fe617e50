"""How a command ends: the exit statuses that a shell can act on."""

from typing import Final

DONE: Final = 0
NOTHING: Final = 1  # nothing matched, or it failed in a way that has no status of its own
USAGE: Final = 2
UNREACHABLE: Final = 3
REFUSED: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130  # as shells say of SIGINT
BROKEN_PIPE: Final = 141  # as shells say of SIGPIPE

HELP: Final = (
    "Ends with status 0; 1 when nothing matches or something else fails; 2 when the command or the "
    "filter is wrong; 3 when the collector does not answer; 4 when it refuses the key; 5 when "
    "there is no such project or record."
)


class CommandFailed(Exception):
    """The command ends here.

    Args:
        message: For its user: a line, and perhaps a place in a filter below it.
        status: The exit status.
    """

    def __init__(self, message: str, status: int = NOTHING) -> None:
        super().__init__(message)
        self.status = status
