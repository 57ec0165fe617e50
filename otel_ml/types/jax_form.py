"""JAX arrays as JSON: stored like NumPy arrays, plus their devices."""

from typing import Any

import jax
import numpy as np

from otel_ml.types import array_form
from otel_ml.types.data import Decode, File, Form, Params, ValueWriter


def write(value: Any, writer: ValueWriter) -> Form:
    """Serialise an array and the names of its devices."""
    devices = sorted(str(device) for device in value.devices())
    return {**array_form.write(np.asarray(value), writer), "devices": devices}


def read(params: Params, decode: Decode) -> Any:
    """Load an array to the default device.

    64-bit arrays stay 64-bit, even if JAX is configured to use 32 bits.
    """
    return _on_device(array_form.read(params, decode))


def write_file(value: Any) -> File | str:
    """Convert an array to a file of NumPy's format; return why not, if it would change it."""
    return array_form.write_file(np.asarray(value))


def read_file(content: bytes) -> Any:
    """Load an array from a file of NumPy's format to the default device, like `read`."""
    return _on_device(array_form.read_file(content))


def _on_device(array: Any) -> Any:
    with _all_bits():
        return jax.numpy.asarray(array)


def _all_bits() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # older versions of JAX

    return enable_x64(True)
