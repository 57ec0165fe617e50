"""The options of `Client.instrument` for model libraries."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict, get_args

from otel_ml.arguments import check_flag, check_one_of, invalid
from otel_ml.functions import Capture, capture_mode

_DEEPEST: Final = 100
ModelNames = Mapping[Any, str] | Callable[[Any], str | None]
RunsOfRows = Literal["batch", "each"]


class ModelOptions(TypedDict, total=False):
    """Keyword options of `Client.instrument` for the models of a library."""

    names: ModelNames | None
    """Names of models: a mapping of model objects to names, or a function that receives a model
    object and returns its name or None. Default: the class of the model, or the classes of the
    steps of a pipeline."""
    rows: RunsOfRows
    """``batch``: a call is one run that records its number of rows. ``each``: a call with several
    rows is one run per row, for its first 1,000 rows. Default: ``batch``."""
    depth: int
    """How many runs may be inside each other. 1 records only the outermost call. Default: 1."""
    fit: bool
    """Whether trainings are recorded. Default: True."""
    capture: Capture | None
    """What to record: ``all``, ``inputs``, ``outputs`` or ``off``. Default: the environment
    variable ``OTEL_ML_CAPTURE``."""


RECORDED: Final[Mapping[str, Any]] = {"rows": "batch", "depth": 1, "fit": True}


def check_model_options(options: ModelOptions) -> None:
    """Raise an error if an option of `Client.instrument` for a library's models is invalid.

    Raises:
        ValueError: An option has an invalid value. The message says which values are valid.
        TypeError: There is no such option.
    """
    given: dict[str, Any] = {**RECORDED, **options}
    for key in given.keys() - ModelOptions.__annotations__.keys():
        raise TypeError(f"instrument() got an unexpected keyword argument {key!r}")
    named = given.get("names")
    if not (named is None or callable(named) or issubclass(type(named), Mapping)):
        raise invalid("names", named, "a mapping of models to names, a function, or None")
    check_one_of("rows", given["rows"], get_args(RunsOfRows))
    depth = given["depth"]
    if type(depth) is not int or not 0 < depth <= _DEEPEST:
        raise invalid("depth", depth, f"a whole number from 1 to {_DEEPEST}")
    check_flag("fit", given["fit"])
    capture_mode(given.get("capture"))
