"""Model profiles: which values a model's runs had, which are valid, and how two profiles differ."""

from otel_ml.profiles.components import (
    ActualComponent,
    Component,
    DataException,
    EvalComponent,
    InputComponent,
    OutputComponent,
)
from otel_ml.profiles.contrast import Contrast
from otel_ml.profiles.profile import ModelProfile, ProfileStateException
from otel_ml.profiles.scores import (
    ClassPrecisionScore,
    ClassRecallScore,
    MeanScore,
    PrecisionScore,
    ProfileScore,
    RecallScore,
)

__all__ = [
    "ActualComponent",
    "ClassPrecisionScore",
    "ClassRecallScore",
    "Component",
    "Contrast",
    "DataException",
    "EvalComponent",
    "InputComponent",
    "MeanScore",
    "ModelProfile",
    "OutputComponent",
    "PrecisionScore",
    "ProfileScore",
    "ProfileStateException",
    "RecallScore",
]
