"""The shared library: where it is, its structs and calls as ctypes has them, and the lists of its rules and formats.

include/fusedopt.h is the reference. Everything that it fixes and Python must know is in this file.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

POINTER, SIZE, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
KINDS = 8  # FOPT_STATE_KINDS

# Value of fopt_format, bytes of an element, its type to NumPy and to PyTorch, how many elements share an absmax.
FORMATS = {
    "f32": (0, 4, "<f4", "float32", 0),
    "bf16": (1, 2, "<u2", "bfloat16", 0),
    "f16": (2, 2, "<f2", "float16", 0),
    "q8": (3, 1, "|u1", "uint8", 256),
    "q8_64": (4, 1, "|u1", "uint8", 64),
}
BLOCKS = {name: row[4] for name, row in FORMATS.items() if row[4]}

NUMBERS = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum", "dampening", "alpha")
FLAGS = {
    "maximize": 1 << 0,
    "decoupled_weight_decay": 1 << 1,
    "nesterov": 1 << 2,
    "ema_momentum": 1 << 3,
    "classic_momentum": 1 << 4,
    "centered": 1 << 5,
    "eps_inside_sqrt": 1 << 6,
    "amsgrad": 1 << 7,
    "no_bias_correction": 1 << 8,
}
_EVERY = ("lr", "weight_decay", "maximize", "decoupled_weight_decay", "state_format")
_ADAM = (*_EVERY, "betas", "eps", "amsgrad", "no_bias_correction")

RULES = {  # in the order of fopt_rule, and the options that each has
    "sgd": (*_EVERY, "momentum", "dampening", "nesterov", "ema_momentum", "classic_momentum"),
    "rmsprop": (*_EVERY, "alpha", "eps", "momentum", "centered", "eps_inside_sqrt"),
    "adam": _ADAM,
    "adamw": _ADAM,
}
RULE_VALUES = {name: value for value, name in enumerate(RULES)}

# ---- structs -----------------------------------------------------------------------------------------------------


class _Sized(ctypes.Structure):
    """A struct that begins with its own size, as all of the library's do."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(size=ctypes.sizeof(self), **fields)


class Group(_Sized):
    """fopt_group"""

    _fields_ = [
        ("size", SIZE),
        ("rule", INT),
        ("flags", ctypes.c_uint),
        *((name, ctypes.c_double) for name in NUMBERS),
        ("state_format", INT * KINDS),
    ]


class State(_Sized):
    """fopt_array: one moment of one tensor"""

    _fields_ = [
        ("size", SIZE),
        ("data", POINTER),
        ("count", SIZE),
        ("bytes", SIZE),
        ("format", INT),
        ("absmax", POINTER),
    ]


class Tensor(_Sized):
    """fopt_tensor"""

    _fields_ = [
        ("size", SIZE),
        ("name", ctypes.c_char_p),
        ("param", POINTER),
        ("grad", POINTER),
        ("count", SIZE),
        ("param_format", INT),
        ("grad_format", INT),
        ("group", SIZE),
        ("global_id", ctypes.c_uint64),
        ("first_element", SIZE),
        ("full_count", SIZE),
        ("states", POINTER),
    ]


class Config(_Sized):
    """fopt_config"""

    _fields_ = [
        ("size", SIZE),
        ("device_kind", INT),
        ("device_index", INT),
        ("seed", ctypes.c_uint64),
        ("host_allocator", POINTER * 3),
        ("device_allocator", POINTER * 3),
        ("isa", INT),
        ("threads", INT),
        ("parallel_for", POINTER),
        ("parallel_context", POINTER),
    ]


class Device(ctypes.Structure):
    """fopt_device"""

    _fields_ = [("kind", INT), ("index", INT)]


class DeviceInfo(_Sized):
    """fopt_device_info"""

    _fields_ = [
        ("size", SIZE),
        ("name", ctypes.c_char * 128),
        ("isas", ctypes.c_uint),
        ("isa", INT),
        ("threads", INT),
        ("compute_major", INT),
        ("compute_minor", INT),
        ("multiprocessors", INT),
        ("memory_bytes", SIZE),
    ]


# ---- calls -------------------------------------------------------------------------------------------------------


class Error(RuntimeError):
    """What fopt_last_error() says; `status` is the fopt_status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


_PROTOTYPES = {
    "fopt_version_string": (ctypes.c_char_p,),
    "fopt_last_error": (ctypes.c_char_p,),
    "fopt_state_kind_name": (ctypes.c_char_p, INT, INT),
    "fopt_isa_name": (ctypes.c_char_p, INT),
    "fopt_device_count": (INT, INT, POINTER),
    "fopt_device_query": (INT, Device, POINTER),
    "fopt_group_init": (INT, POINTER, SIZE, INT),
    "fopt_create": (INT, POINTER, POINTER, SIZE, POINTER, SIZE, POINTER),
    "fopt_destroy": (None, POINTER),
    "fopt_step": (INT, POINTER, POINTER, POINTER),
    "fopt_set_group": (INT, POINTER, SIZE, POINTER, POINTER),
    "fopt_set_grads": (INT, POINTER, POINTER, POINTER),
    "fopt_zero_grads": (INT, POINTER, POINTER),
    "fopt_state": (INT, POINTER, SIZE, INT, POINTER),
    "fopt_get_step": (INT, POINTER, SIZE, POINTER, POINTER),
    "fopt_set_step": (INT, POINTER, SIZE, ctypes.c_int64, POINTER),
}


def find_library() -> str:
    """Returns the path of the library that FUSEDOPT_LIBRARY names; or of the one that lies beside this file, as in a
    wheel; or that was built in this file's repository; or the system's."""
    given = os.environ.get("FUSEDOPT_LIBRARY")
    if given:
        return given
    here = pathlib.Path(__file__).resolve().parent
    build = here.parents[1] / "build"
    for folder in (here, *(build / preset for preset in ("release", "library", "cpu-only"))):
        if (folder / "libfusedopt.so").exists():
            return str(folder / "libfusedopt.so")
    found = ctypes.util.find_library("fusedopt")
    if not found:
        raise OSError(f"no libfusedopt: not named by FUSEDOPT_LIBRARY, not in {here}, not built in {build}, not in the "
                      "system")
    return found


@functools.lru_cache(maxsize=None)
def library() -> Any:
    """Returns the library, loaded when it is first asked for."""
    loaded = ctypes.CDLL(find_library())
    for name, (result, *arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def call(name: str, *arguments: Any) -> None:
    """Makes a call of the library. Raises an Error if it fails."""
    status = getattr(library(), name)(*arguments)
    if status:
        raise Error(status, library().fopt_last_error().decode(errors="replace"))


def version() -> str:
    """Returns the library's version, for instance "0.1.0"."""
    return library().fopt_version_string().decode()


# ---- rules and options -------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def state_names(rule: str) -> tuple[str | None, ...]:
    """Returns the names of a rule's moments, by fopt_state_kind."""
    names = [library().fopt_state_kind_name(RULE_VALUES[rule], kind) for kind in range(KINDS)]
    return tuple(name and name.decode() for name in names)


def state_formats(rule: str, wanted: str | Mapping[str, str]) -> dict[str, str]:
    """Returns the format of each of a rule's moments: `wanted` is that of all, or those that are not f32, by name."""
    names = [name for name in state_names(rule) if name]
    if isinstance(wanted, str):
        wanted = dict.fromkeys(names, wanted)
    for name, form in wanted.items():
        if name not in names or form not in FORMATS:
            raise ValueError(f"state_format has {name!r}: {form!r}, which {rule} or the library does not have")
    return {name: wanted.get(name, "f32") for name in names}


def make_group(rule: str, options: Mapping[str, Any]) -> Group:
    """Returns the fopt_group that a rule's defaults and these options make."""
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}, must be one of {', '.join(RULES)}")
    group = Group()
    call("fopt_group_init", ctypes.byref(group), ctypes.sizeof(group), RULE_VALUES[rule])
    for name, value in options.items():
        if name not in RULES[rule]:
            raise TypeError(f"{rule} has no option {name!r}; it has {', '.join(RULES[rule])}")
        if name == "betas":
            group.beta1, group.beta2 = map(float, value)
        elif name == "state_format":
            formats = state_formats(rule, value)
            for kind, moment in enumerate(state_names(rule)):
                group.state_format[kind] = FORMATS[formats[moment]][0] if moment else 0
        elif name in FLAGS:
            group.flags = group.flags | FLAGS[name] if value else group.flags & ~FLAGS[name]
        else:
            setattr(group, name, float(value))
    return group


def parse_device(name: str) -> tuple[int, int]:
    """Returns the kind and the index in fopt_device of "cpu", "cuda", "cuda:1"."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}, must be cpu, cuda or cuda:N")
    return ("cpu", "cuda").index(kind), int(index or 0)
