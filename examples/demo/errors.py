"""The error that ends the demo early. Its message is printed for the user."""


class DemoError(Exception):
    """The demo cannot go on.

    Attributes:
        status: The exit status of the demo.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
