"""What ends the demo early: one error, whose message is for the user."""


class DemoError(Exception):
    """The demo cannot go on.

    Attributes:
        status: The exit status that says so.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
