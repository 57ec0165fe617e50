"""Raymon's import path: ``from otel_ml.compat.raymon import Trace, RaymonAPILogger, Tag``."""

from otel_ml.compat.raymon.api import RaymonAPI
from otel_ml.compat.raymon.logger import RaymonAPILogger
from otel_ml.compat.raymon.profiles import (
    ActualComponent,
    EvalComponent,
    InputComponent,
    ModelProfile,
    OutputComponent,
)
from otel_ml.compat.raymon.tag import DataException, Tag
from otel_ml.compat.raymon.trace import (
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
