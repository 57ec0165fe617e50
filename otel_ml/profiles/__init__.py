"""Model profiles: which values the inputs and outputs of a model had, and which are valid.

Build a profile from known-good runs. Then validate new runs against it, or compare it with the
profile of other runs.
"""

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
