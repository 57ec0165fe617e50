"""Raymon's types: ours under its names, a registry of classes instead of imports by data."""

import numpy as np
import pytest

import otel_ml.compat.raymon.types as rt
from otel_ml import types
from otel_ml.compat.raymon import ModelProfile
from otel_ml.types.data import Form, Params


class Box(rt.RaymonDataType):
    """A wrapper of the user's, as Raymon's pages show one."""

    def to_jcr(self) -> Form:
        return {"type": self.class2str(), "params": {"size": self.data}}

    @classmethod
    def from_jcr(cls, params: Params) -> "Box":
        return cls(params["size"])


@pytest.mark.parametrize("name", ["Native", "Numpy", "DataFrame", "Series", "Image"])
def test_wrapper_is_ours(name: str) -> None:
    """The wrappers are those of `otel_ml.types`."""
    assert getattr(rt, name) is getattr(types, name)


def test_form_is_read() -> None:
    """`load_jcr` reads a form as a dict, and what raymon itself wrote."""
    array = np.array([[1, 2], [3, 4]])
    again = rt.load_jcr(rt.Numpy(array).to_jcr()).data
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())
    theirs = {"data": "AQI=", "shape": "(2,)", "dtype": "uint8"}
    assert rt.load_jcr({"type": "raymon.types.Numpy", "params": theirs}).data.tolist() == [1, 2]


def test_wrapper_of_the_user_s_is_known_once_defined() -> None:
    """A subclass is read by its name without more ado."""
    assert rt.load_jcr(Box([3, 4]).to_json()).data == [3, 4]


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval"])
def test_data_imports_nothing(name: str) -> None:
    """A type that nobody defined is refused, whatever could be imported under its name."""
    with pytest.raises(ValueError, match=r"^Unknown type "):
        rt.load_jcr({"type": name, "params": {"data": "true"}})


def test_what_is_not_built_says_so() -> None:
    """MessagePack and model profiles say in one line what to do."""
    with pytest.raises(NotImplementedError, match=r"^from_msgpack: use load_jcr"):
        rt.from_msgpack(b"")
    with pytest.raises(NotImplementedError, match=r"^ModelProfile: model profiles are not built"):
        ModelProfile(name="houses", version="1")
