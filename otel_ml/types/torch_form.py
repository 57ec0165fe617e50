"""PyTorch tensors and state_dicts: as safetensors or npy, or as JSON with dtype, shape and bytes.

Spec: https://github.com/huggingface/safetensors#format
"""

import ctypes
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import chain
from typing import Any, Final

import orjson
import torch

from otel_ml.errors import untrusted
from otel_ml.file_formats import SAFETENSORS
from otel_ml.types.data import Decode, File, Form, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64

# allowed dtypes by name, so that stored data cannot choose others
_DTYPES: Final = {
    name: found
    for name in (
        *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
        *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
        *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
    )
    if isinstance(found := getattr(torch, name, None), torch.dtype)
}
_DTYPE_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}
_SAFE_NAMES: Final = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
}
_DTYPES_OF_SAFE: Final = {safe: name for name, safe in _SAFE_NAMES.items()}
_COMPRESSED: Final = {
    torch.sparse_csr: ("crow_indices", "col_indices", torch.sparse_csr_tensor),
    torch.sparse_bsr: ("crow_indices", "col_indices", torch.sparse_bsr_tensor),
    torch.sparse_csc: ("ccol_indices", "row_indices", torch.sparse_csc_tensor),
    torch.sparse_bsc: ("ccol_indices", "row_indices", torch.sparse_bsc_tensor),
}
_LAYOUTS: Final = {str(layout).removeprefix("torch."): layout for layout in _COMPRESSED}
_METADATA: Final = "__metadata__"  # a name that no tensor has in a safetensors file
_ABOUT: Final = "otel_ml"
_NPY_START: Final = b"\x93NUMPY"
_TENSOR_NAME: Final = "tensor"  # name of a tensor that is not in a state_dict
_HEADER_BYTES: Final = 8  # bytes of the header's length; the header is padded to a multiple of it


# Tensors, dense or sparse.


def why_not(value: object) -> str:
    """Explain why a value cannot be stored as a tensor; return "" if it can."""
    if not issubclass(type(value), torch.Tensor):
        return "expected a tensor of torch"
    tensor: torch.Tensor = value
    if tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.is_mkldnn:
        return "expected a tensor whose elements are here, neither quantized nor nested"
    return (
        ""
        if tensor.dtype in _DTYPE_NAMES
        else f"expected a dtype of {', '.join(_DTYPE_NAMES.values())}"
    )


def write(tensor: torch.Tensor, _writer: ValueWriter) -> Form:
    """Serialise a tensor as it is now, in C order, with its device."""
    form: Form = {"device": str(tensor.device), "requires_grad": tensor.requires_grad}
    if isinstance(tensor, torch.nn.Parameter):
        form["parameter"] = True
    return {**form, **_write_values(tensor.detach())}


def copy(tensor: torch.Tensor) -> tuple[torch.Tensor, Callable[[], object]] | None:
    """Copy a dense tensor to CPU memory, without waiting for the GPU.

    The program may change the tensor right after the call: the copy has the values that the tensor
    has now, because it is made on the current CUDA stream.

    Returns:
        The copy, and a function that waits until it is complete. None if the tensor is of a
        subclass, is neither on a CPU nor on a CUDA GPU, or if a CUDA graph is being captured.
    """
    kind = type(tensor)
    if kind not in {torch.Tensor, torch.nn.Parameter} or tensor.layout is not torch.strided:
        return None
    whole = tensor.detach()
    wait: Callable[[], object] = bool
    if tensor.device.type == "cpu":
        host = whole.clone(memory_format=torch.contiguous_format)
    elif tensor.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        stream = torch.cuda.current_stream(tensor.device)
        with torch.cuda.stream(stream):
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(whole, non_blocking=True)
            whole.record_stream(stream)
            done = torch.cuda.Event(blocking=True)
            done.record(stream)
        wait = done.synchronize
    else:
        return None
    if kind is torch.nn.Parameter:
        return torch.nn.Parameter(host, requires_grad=tensor.requires_grad), wait
    return host.requires_grad_(tensor.requires_grad), wait


def read(params: Params, _decode: Decode) -> torch.Tensor:
    """Load a tensor into the memory of the CPU.

    Raises:
        ValueError: Dtype, shape and content do not match.
    """
    tensor = _read_values(params)
    if params.get("parameter"):
        return torch.nn.Parameter(tensor, requires_grad=params["requires_grad"])
    return tensor.requires_grad_(bool(params["requires_grad"]))


def _write_values(tensor: torch.Tensor) -> Form:
    if tensor.layout is torch.strided:
        return {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data": to_base64(_bytes_of(tensor)),
        }
    layout = str(tensor.layout).removeprefix("torch.")
    form: Form = {"layout": layout, "shape": list(tensor.shape)}
    if tensor.layout is torch.sparse_coo:
        form["coalesced"] = tensor.is_coalesced()
        # private, because `indices()` raises if a tensor is not coalesced
        parts = {"indices": tensor._indices(), "values": tensor._values()}
    else:
        outer, inner, _ = _COMPRESSED[tensor.layout]
        parts = {
            "outer": getattr(tensor, outer)(),
            "inner": getattr(tensor, inner)(),
            "values": tensor.values(),
        }
    return {**form, **{name: _write_values(part) for name, part in parts.items()}}


def _read_values(params: Params) -> torch.Tensor:
    if "layout" not in params:
        return _from_bytes(from_base64(params["data"]), params["dtype"], params["shape"])
    shape, values = tuple(params["shape"]), _read_values(params["values"])
    if params["layout"] == "sparse_coo":
        return torch.sparse_coo_tensor(
            _read_values(params["indices"]),
            values,
            shape,
            is_coalesced=params["coalesced"],
            check_invariants=True,
        )
    if params["layout"] not in _LAYOUTS:
        raise ValueError(f"Unknown layout {params['layout']!r}: expected one of torch's")
    make = _COMPRESSED[_LAYOUTS[params["layout"]]][2]
    outer, inner = _read_values(params["outer"]), _read_values(params["inner"])
    return make(outer, inner, values, shape, check_invariants=True)


def _bytes_of(tensor: torch.Tensor) -> bytes:
    """Copy the elements of a tensor without NumPy, which does not support bfloat16."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    size = plain.numel() * plain.element_size()
    return ctypes.string_at(plain.data_ptr(), size) if size else b""


def _from_bytes(raw: bytes, name: Any, shape: Any) -> torch.Tensor:
    if name not in _DTYPES:
        raise ValueError(f"Unknown dtype {str(name)[:40]!r}: expected one of {', '.join(_DTYPES)}")
    dtype = _DTYPES[name]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"Invalid tensor: {len(raw)} bytes for shape {shape} of {name}")
    if not raw:
        return torch.empty(tuple(shape), dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(tuple(shape))


# The tensors of a model by name.


def is_state(value: object) -> bool:
    """Tell whether a value is a PyTorch ``state_dict`` that the safetensors format can store."""
    if not isinstance(value, dict) or not value:
        return False
    return all(
        type(name) is str
        and not why_not(tensor)
        and tensor.layout is torch.strided
        and _DTYPE_NAMES[tensor.dtype] in _SAFE_NAMES
        and name != _METADATA
        for name, tensor in dict.items(value)
    )


def write_state(state: Mapping[str, torch.Tensor], _writer: ValueWriter) -> Form:
    """Serialise a state_dict. Equal tensors give equal bytes, on any device."""
    tensors: dict[str, torch.Tensor] = {**state}
    return {"data": to_base64(_write_safetensors(tensors)), **_describe_state(state)}


def _describe_state(state: Mapping[str, torch.Tensor]) -> Form:
    """Return what safetensors does not store."""
    return {
        "names": [*state],
        "ordered": isinstance(state, OrderedDict),
        "parameters": [
            name for name, tensor in state.items() if isinstance(tensor, torch.nn.Parameter)
        ],
        "requires_grad": [name for name, tensor in state.items() if tensor.requires_grad],
        "devices": {
            name: str(tensor.device)
            for name, tensor in state.items()
            if tensor.device.type != "cpu"
        },
    }


def read_state(params: Params, _decode: Decode) -> dict[str, torch.Tensor]:
    """Read a state_dict to the CPU."""
    return _restore_state(_read_safetensors(from_base64(params["data"])), params)


def _restore_state(
    safetensors: Mapping[str, torch.Tensor], params: Params
) -> dict[str, torch.Tensor]:
    grads, parameters = set(params["requires_grad"]), set(params["parameters"])
    kind = OrderedDict if params["ordered"] else dict
    state: dict[str, torch.Tensor] = kind()
    for name in params["names"]:
        tensor = safetensors[name]
        if name in parameters:
            state[name] = torch.nn.Parameter(tensor, requires_grad=name in grads)
        else:
            state[name] = tensor.requires_grad_(name in grads)
    return state


def _write_safetensors(tensors: Mapping[str, torch.Tensor], about: str = "") -> bytes:
    """Return a safetensors file, widest elements first, as the safetensors library does."""
    header: Form = {_METADATA: {_ABOUT: about}} if about else {}
    parts: list[bytes] = []
    end = 0
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        raw = _bytes_of(tensor)
        header[name] = {
            "dtype": _SAFE_NAMES[_DTYPE_NAMES[tensor.dtype]],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(raw)],
        }
        end += len(raw)
        parts.append(raw)
    head = orjson.dumps(header)
    head += b" " * (-len(head) % _HEADER_BYTES)
    return b"".join(chain([len(head).to_bytes(_HEADER_BYTES, "little"), head], parts))


def _read_safetensors(raw: bytes) -> dict[str, torch.Tensor]:
    start = _HEADER_BYTES + int.from_bytes(raw[:_HEADER_BYTES], "little")
    header = orjson.loads(raw[_HEADER_BYTES:start])
    safetensors = {}
    header.pop(_METADATA, None)
    for name, value in header.items():
        begin, end = value["data_offsets"]
        dtype = _DTYPES_OF_SAFE.get(value["dtype"])
        safetensors[name] = _from_bytes(raw[start + begin : start + end], dtype, value["shape"])
    return safetensors


# Files.


def write_file(value: "torch.Tensor | Mapping[str, torch.Tensor]") -> File | str:
    """Convert a tensor or state_dict to a file; return why not, if it would change it.

    The file is safetensors if that library is installed. Otherwise a tensor becomes an npy file.
    """
    has_library = find_spec("safetensors") is not None
    if not isinstance(value, torch.Tensor):
        if not has_library:
            return "safetensors is not installed"
        about = _describe_state(value)
        return File(SAFETENSORS, _write_safetensors(value, orjson.dumps(about).decode()))
    if value.layout is not torch.strided:
        return "neither safetensors nor npy holds sparse tensors"
    if not has_library:
        return _write_npy(value)
    if _DTYPE_NAMES[value.dtype] not in _SAFE_NAMES:
        return f"safetensors does not hold {_DTYPE_NAMES[value.dtype]}"
    about = {
        "device": str(value.device),
        "requires_grad": value.requires_grad,
        "parameter": isinstance(value, torch.nn.Parameter),
    }
    tensors = {_TENSOR_NAME: value.detach()}
    return File(SAFETENSORS, _write_safetensors(tensors, orjson.dumps(about).decode()))


def _write_npy(tensor: torch.Tensor) -> File | str:
    if tensor.requires_grad or isinstance(tensor, torch.nn.Parameter):
        return "safetensors is not installed, and an npy file does not say that it has a gradient"
    with untrusted:  # NumPy may be missing, or lack the dtype
        from otel_ml.types import array_form

        return array_form.write_file(tensor.cpu().resolve_conj().resolve_neg().numpy())
    return f"safetensors is not installed, and npy does not hold {_DTYPE_NAMES[tensor.dtype]}"


def read_file(content: bytes) -> "torch.Tensor | dict[str, torch.Tensor]":
    """Load a tensor or state_dict from a file that `write_file` returned, to the CPU.

    Raises:
        ValueError: The file is invalid, or was written by another tool.
    """
    if content.startswith(_NPY_START):
        from otel_ml.types import array_form  # needs NumPy

        return torch.from_numpy(array_form.read_file(content))
    end = _HEADER_BYTES + int.from_bytes(content[:_HEADER_BYTES], "little")
    about = orjson.loads(content[_HEADER_BYTES:end]).get(_METADATA, {}).get(_ABOUT)
    if about is None:
        raise ValueError("Invalid safetensors file: expected one that otel-ml wrote")
    params, tensors = orjson.loads(about), _read_safetensors(content)
    if "names" in params:
        return _restore_state(tensors, params)
    tensor = tensors[_TENSOR_NAME]
    if params["parameter"]:
        return torch.nn.Parameter(tensor, requires_grad=params["requires_grad"])
    return tensor.requires_grad_(params["requires_grad"])
