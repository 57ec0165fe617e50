"""Arrays of jax as JSON: as arrays of numpy, which hold all that they do but where they are."""

from typing import Any

import jax
import numpy as np

from otel_ml.types import array_form
from otel_ml.types.data import Decode, Form, Params, ValueWriter


def write(value: Any, writer: ValueWriter) -> Form:
    """Write an array, and on which devices it was."""
    devices = sorted(str(device) for device in value.devices())
    return {**array_form.write(np.asarray(value), writer), "devices": devices}


def read(params: Params, decode: Decode) -> Any:
    """Read an array, onto the default device; of 64 bits also where jax is set to 32."""
    array = array_form.read(params, decode)
    with _all_bits():
        return jax.numpy.asarray(array)


def _all_bits() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # of earlier releases

    return enable_x64(True)
