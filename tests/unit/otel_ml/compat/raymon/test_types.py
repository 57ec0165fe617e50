"""Raymon's types: otel-ml's types under Raymon's names, loaded from a registry of classes."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from PIL import Image

import otel_ml.compat.raymon.types as rt
from otel_ml import types
from otel_ml.types.data import Form, Params
from tests.support.otel_ml.recording import Recording, events


class Box(rt.RaymonDataType):
    """A user's own wrapper, as in Raymon's documentation."""

    def to_jcr(self) -> Form:
        return {"type": self.class2str(), "params": {"size": self.data}}

    @classmethod
    def from_jcr(cls, params: Params) -> "Box":
        return cls(params["size"])


VALUES = {
    "Native": {"a": [1, (2, 3)]},
    "Numpy": np.array([[1, 2], [3, 4]]),
    "DataFrame": pd.DataFrame({"a": [1, 2]}),
    "Series": pd.Series([1, 2]),
    "Image": Image.new("RGBA", (2, 2)),
}


@pytest.mark.parametrize("name", VALUES)
def test_form_has_the_type_of_raymon(name: str) -> None:
    """A wrapper is serialized with Raymon's type name and loads unchanged."""
    wrapper = getattr(rt, name)(VALUES[name])
    assert wrapper.to_jcr()["type"] == wrapper.class2str() == f"raymon.types.{name}"
    again = rt.load_jcr(wrapper.to_json())
    assert type(again) is type(wrapper)
    assert again.to_jcr() == wrapper.to_jcr()


@pytest.mark.parametrize("name", VALUES)
def test_logged_form_is_read_by_raymon_s_wrapper(name: str) -> None:
    """A logged form loads as Raymon's wrapper, because code may check for that type."""
    again = rt.load_jcr(getattr(types, name)(VALUES[name]).to_json())
    assert isinstance(again, getattr(rt, name))


@pytest.mark.parametrize("name", VALUES)
def test_logged_wrapper_is_ours(recording: Recording, name: str) -> None:
    """A logged wrapper of Raymon is stored like the wrapper of `otel_ml.types`."""
    with recording.client.run("fit") as run:
        run.log("theirs", getattr(rt, name)(VALUES[name]))
        run.log("ours", getattr(types, name)(VALUES[name]))
    told = [said for span in recording.spans() for _, said in events(span)]
    theirs, ours = (said for said in told if "otel_ml.artifact.ref" in said)
    assert {**theirs, "otel_ml.artifact.ref": "ours"} == ours


def test_form_is_read() -> None:
    """`load_jcr` reads a form as a dict, and a form that raymon itself wrote."""
    array = np.array([[1, 2], [3, 4]])
    again = rt.load_jcr(rt.Numpy(array).to_jcr()).data
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())
    theirs = {"data": "AQI=", "shape": "(2,)", "dtype": "uint8"}
    assert rt.load_jcr({"type": "raymon.types.Numpy", "params": theirs}).data.tolist() == [1, 2]


def test_wrapper_of_the_user_s_is_known_once_defined() -> None:
    """A user's own subclass can be loaded by its name as soon as it is defined."""
    assert rt.load_jcr(Box([3, 4]).to_json()).data == [3, 4]


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval"])
def test_data_imports_nothing(name: str) -> None:
    """An undefined type is refused, even if a class could be imported under its name."""
    with pytest.raises(ValueError, match=r"^Unknown type "):
        rt.load_jcr({"type": name, "params": {"data": "true"}})


def test_what_is_not_built_says_so() -> None:
    """`from_msgpack` raises an error that names the function to use instead."""
    with pytest.raises(NotImplementedError, match=r"^from_msgpack: use load_jcr"):
        rt.from_msgpack(b"")
