"""Raymon's import path: ``from otel_ml.compat.raymon import Trace, RaymonAPILogger, Tag``."""

from otel_ml.compat.raymon.api import (
    ActualComponent,
    EvalComponent,
    InputComponent,
    ModelProfile,
    OutputComponent,
    RaymonAPI,
)
from otel_ml.compat.raymon.tag import DataException, Tag
from otel_ml.compat.raymon.trace import (
    RaymonAPILogger,
    Trace,
    TraceException,
    clear_trace,
    current_trace,
    set_current_trace,
)

__all__ = [
    "ActualComponent",
    "DataException",
    "EvalComponent",
    "InputComponent",
    "ModelProfile",
    "OutputComponent",
    "RaymonAPI",
    "RaymonAPILogger",
    "Tag",
    "Trace",
    "TraceException",
    "clear_trace",
    "current_trace",
    "set_current_trace",
]
