"""Arrays of any kind as the library takes them: a pointer, a count, a format and a device."""

from __future__ import annotations

import ctypes
from typing import Any

from .library import FORMATS


class Array:
    """`count` elements of a format ("f32", "bf16", "f16", "q8", "q8_64") at an address of a device ("cpu", "cuda:0").

    NumPy and CuPy take one as it is (numpy.asarray(array)), bf16 as its 16-bit words and q8 as its codes. `owner` keeps
    the memory alive.
    """

    def __init__(self, pointer: int | None, count: int, format: str = "f32", device: str = "cpu", owner: Any = None,
                 read_only: bool = False) -> None:
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}, must be one of {', '.join(FORMATS)}")
        self.pointer, self.count, self.format, self.device = pointer, count, format, device
        self.owner, self.read_only = owner, read_only
        self.bytes = count * FORMATS[format][1]

    def _interface(self, kind: str) -> dict[str, Any]:
        if self.device.split(":")[0] != kind:
            raise AttributeError(f"the array is in memory of {self.device}")
        data = (self.pointer or 0, self.read_only)
        return {"shape": (self.count,), "typestr": FORMATS[self.format][2], "data": data, "strides": None, "version": 3}

    __array_interface__ = property(lambda self: self._interface("cpu"))
    __cuda_array_interface__ = property(lambda self: self._interface("cuda"))


def as_array(thing: Any) -> Array:
    """Returns what anything with a pointer says of its memory: an Array, a PyTorch tensor, or what offers
    __cuda_array_interface__, __array_interface__, __dlpack__ or a buffer. Nothing is copied."""
    if isinstance(thing, Array):
        return thing
    if hasattr(thing, "data_ptr"):
        return _from_torch(thing)
    if hasattr(thing, "__cuda_array_interface__"):
        index = getattr(getattr(thing, "device", None), "id", 0)
        return _from_interface(thing, thing.__cuda_array_interface__, f"cuda:{index}")
    if hasattr(thing, "__array_interface__"):
        return _from_interface(thing, thing.__array_interface__, "cpu")
    if hasattr(thing, "__dlpack__"):
        return _from_dlpack(thing)
    return _from_buffer(thing)


def is_dense(shape: Any, strides: Any) -> bool:
    """Tells whether elements with these strides, in elements, fill their memory, in any order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(strides, shape)):
        if size > 1 and stride != expected:
            return 0 in shape
        expected *= size
    return True


def _check_order(what: str, shape: Any, strides: Any) -> None:
    """Refuses all but C's order, which parameter and gradient then share. `strides` are in elements; None is C's."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides or ())):
        if size > 1 and stride != expected and 0 not in shape:
            raise ValueError(f"{what} of shape {tuple(shape)} with strides {tuple(strides)} is not contiguous")
        expected *= size


def _count(shape: Any) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _from_torch(tensor: Any) -> Array:
    names = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}
    if str(tensor.layout) != "torch.strided" or str(tensor.dtype) not in names:
        raise TypeError(f"a {tensor.layout} tensor of {tensor.dtype}: must be strided, of {', '.join(names)}")
    if not is_dense(tensor.shape, tensor.stride()):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with strides {tensor.stride()} is not dense")
    return Array(tensor.data_ptr(), tensor.numel(), names[str(tensor.dtype)], str(tensor.device), tensor)


def _from_interface(thing: Any, interface: dict[str, Any], device: str) -> Array:
    """Reads what NumPy or CuPy say of an array."""
    types = {"<f4": "f32", "<f2": "f16"}
    form = "bf16" if str(getattr(thing, "dtype", "")) == "bfloat16" else types.get(interface["typestr"])
    if not form:
        raise TypeError(f"an array of {interface['typestr']}: must be float32, float16 or bfloat16")
    bytes_each, strides = FORMATS[form][1], interface.get("strides")
    _check_order("an array", interface["shape"], strides and [stride / bytes_each for stride in strides])
    pointer, read_only = interface["data"]
    return Array(pointer, _count(interface["shape"]), form, device, thing, read_only)


# ---- DLPack ------------------------------------------------------------------------------------------------------


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLVersioned(ctypes.Structure):
    """DLManagedTensorVersioned, as of version 1"""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    ]


_DL_READ_ONLY = 1
_DL_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # CUDA's pinned host memory, and its managed memory, too
_DL_TYPES = {(2, 32, 1): "f32", (2, 16, 1): "f16", (4, 16, 1): "bf16"}  # by code, bits, lanes


_is_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def _from_dlpack(thing: Any) -> Array:
    """Reads a DLPack capsule, which then owns the memory and gives it back when it is collected: it is not consumed."""
    try:
        capsule = thing.__dlpack__(max_version=(1, 0))
    except TypeError:  # an older producer
        capsule = thing.__dlpack__()
    if _is_capsule(capsule, b"dltensor_versioned"):
        managed = _DLVersioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            raise TypeError(f"a {type(thing).__name__} in version {managed.major} of DLPack: must be 1")
        tensor, read_only = managed.tensor, bool(managed.flags & _DL_READ_ONLY)
    else:
        tensor, read_only = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor")), False
    form = _DL_TYPES.get((tensor.code, tensor.bits, tensor.lanes))
    device = _DL_DEVICES.get(tensor.device_type)
    if not form or not device:
        raise TypeError(f"a {type(thing).__name__} of DLPack's type {tensor.code}, {tensor.bits} bits, on its device "
                        f"{tensor.device_type}: must be float32, float16 or bfloat16 on the CPU or CUDA")
    shape = tensor.shape[: tensor.ndim]
    _check_order(f"a {type(thing).__name__}", shape, tensor.strides[: tensor.ndim] if tensor.strides else None)
    place = f"cuda:{tensor.device_id}" if device == "cuda" else device
    return Array((tensor.data or 0) + tensor.byte_offset, _count(shape), form, place, capsule, read_only)


# ---- buffers -----------------------------------------------------------------------------------------------------


class _PyBuffer(ctypes.Structure):
    """Py_buffer"""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


def _from_buffer(thing: Any) -> Array:
    view = memoryview(thing)
    form = {"f": "f32", "e": "f16"}.get((view.format or "").lstrip("@=<"))
    if not form or not view.c_contiguous:
        raise TypeError(f"a {type(thing).__name__} of format {view.format!r}: must be of consecutive floats")
    buffer = _PyBuffer()  # ctypes itself gives no address of a read-only one
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    pointer = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return Array(pointer, view.nbytes // view.itemsize, form, "cpu", view, view.readonly)  # which holds it in place
