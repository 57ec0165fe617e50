"""Raymon's model profiles; the names are reserved."""

from typing import Any, NoReturn


class _Reserved:
    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{cls.__name__}: model profiles are not built yet")


class ModelProfile(_Reserved):
    """Reserved for model profiles."""


class InputComponent(_Reserved):
    """Reserved for model profiles."""


class OutputComponent(_Reserved):
    """Reserved for model profiles."""


class ActualComponent(_Reserved):
    """Reserved for model profiles."""


class EvalComponent(_Reserved):
    """Reserved for model profiles."""
