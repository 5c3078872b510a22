"""Optimizer: fopt_optimizer over arrays of any kind, with state of its own."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .arrays import Array, as_array
from .library import BLOCKS, FORMATS, KINDS, POINTER, Config, Group, State, Tensor
from .library import call, library, make_group, parse_device, state_names


class Optimizer:
    """An optimizer of the library, destroyed with this object.

    `params` are arrays; or groups, dictionaries with "params", and what is different in them of: "grads" (None: skipped
    until set_grads), "names" (for messages), "ids" (fopt_tensor.global_id), "rule" and the options. The optimizer
    keeps the arrays alive. `stream` is a cudaStream_t as an integer, 0 for the default one; on the CPU it is ignored.
    """

    def __init__(self, params: Iterable[Any], grads: Iterable[Any] | None = None, rule: str = "adamw", *,
                 device: str | None = None, seed: int = 0, threads: int = 0, **options: Any) -> None:
        params = list(params)
        if not params or not isinstance(params[0], dict):
            params = [{"params": params, "grads": grads}]
        elif grads is not None:
            raise TypeError("grads goes with params that are arrays; groups have their own")
        self._rules: list[str] = []  # of each group, as the next
        self._options: list[dict[str, Any]] = []
        self.params: list[Array] = []  # of each tensor, as the next two
        self._grads: list[Array] = []
        self._groups: list[int] = []
        tensors: list[Tensor] = []
        for given in params:
            given = dict(given)
            columns = [given.pop("params")] + [given.pop(name, None) for name in ("grads", "names", "ids")]
            self._rules.append(given.pop("rule", rule))
            self._options.append({**options, **given})
            tensors += self._describe(len(self._rules) - 1, *columns)
        groups = [make_group(*group) for group in zip(self._rules, self._options)]
        kind, index = parse_device(device or (self.params[0].device if self.params else "cpu"))
        self.device = ("cpu", f"cuda:{index}")[kind]
        for array in self.params + [grad for grad in self._grads if grad.pointer]:
            if parse_device(array.device) != (kind, index):
                raise ValueError(f"an array is in memory of {array.device}, not of {self.device}")
        config = Config(device_kind=kind, device_index=index, seed=seed, threads=threads)
        self._handle = create(config, groups, tensors)
        weakref.finalize(self, library().fopt_destroy, self._handle)

    def _describe(self, group: int, params: Iterable[Any], grads: Iterable[Any] | None, names: Iterable[str] | None,
                  ids: Iterable[int] | None) -> Iterable[Tensor]:
        params = [as_array(param) for param in params]
        grads = [None] * len(params) if grads is None else [g if g is None else as_array(g) for g in grads]
        names = names or [None] * len(params)
        ids = ids or [0] * len(params)
        for array, grad, name, number in zip(params, grads, names, ids, strict=True):
            if array.read_only:
                raise ValueError(f"the parameter at {array.pointer:#x} is read-only")
            if grad and grad.count != array.count:
                raise ValueError(f"a parameter has {array.count} elements, but its gradient {grad.count}")
            yield Tensor(
                name=name and name.encode(),
                param=array.pointer,
                grad=grad and grad.pointer,
                count=array.count,
                param_format=FORMATS[array.format][0],
                grad_format=FORMATS[(grad or array).format][0],
                group=group,
                global_id=number,
            )
            self.params.append(array)
            self._groups.append(group)
            self._grads.append(grad or Array(None, array.count, array.format, array.device))

    def step(self, stream: int = 0) -> None:
        """Makes one step of every tensor that has a gradient. Gradients are only read."""
        call("fopt_step", self._handle, None, stream)

    def set_grads(self, grads: Iterable[Any], stream: int = 0) -> None:
        """Takes one gradient for each parameter, of the format, count and device that it had; None skips it."""
        arrays = [grad if grad is None else as_array(grad) for grad in grads]
        if len(arrays) != len(self.params):
            raise ValueError(f"{len(arrays)} gradients for {len(self.params)} parameters")
        for i, (new, old) in enumerate(zip(arrays, self._grads)):
            if new and (new.format, new.count) != (old.format, old.count):
                raise ValueError(f"gradient {i} has {new.count} elements of {new.format}, must have {old.count} of "
                                 f"{old.format}")
            if new and parse_device(new.device) != parse_device(self.device):
                raise ValueError(f"gradient {i} is in memory of {new.device}, not of {self.device}")
        set_grads(self._handle, [array and array.pointer for array in arrays], stream)
        self._grads = [new or Array(None, old.count, old.format, old.device) for new, old in zip(arrays, self._grads)]

    def zero_grads(self, stream: int = 0) -> None:
        """Writes zeros to every gradient."""
        for i, grad in enumerate(self._grads):
            if grad.read_only:
                raise ValueError(f"gradient {i} is read-only")
        call("fopt_zero_grads", self._handle, stream)

    def set_group(self, index: int = 0, stream: int = 0, **options: Any) -> None:
        """Changes options of a group from the next step on."""
        options = {**self._options[index], **options}
        group = make_group(self._rules[index], options)
        call("fopt_set_group", self._handle, index, ctypes.byref(group), stream)
        self._options[index] = options

    def state(self, tensor: int) -> dict[str, Array]:
        """Returns the moments of a parameter, by name, as they lie in memory: they change with the next step.

        A moment in q8 or q8_64 is two, of which "..._absmax" has one float for each 256 or 64 elements.
        """
        views = {}
        for kind in range(KINDS):
            view = State()
            call("fopt_state", self._handle, tensor, kind, ctypes.byref(view))
            if view.data:
                name = state_names(self._rules[self._groups[tensor]])[kind]
                form = next(form for form, row in FORMATS.items() if row[0] == view.format)
                views[name] = Array(view.data, view.count, form, self.device, self)
                if view.absmax:
                    blocks = -(-view.count // BLOCKS[form])
                    views[f"{name}_absmax"] = Array(view.absmax, blocks, "f32", self.device, self)
        return views

    def get_step(self, tensor: int, stream: int = 0) -> int:
        """Returns how many steps a parameter has made."""
        step = ctypes.c_int64()
        call("fopt_get_step", self._handle, tensor, ctypes.byref(step), stream)
        return step.value

    def set_step(self, tensor: int, step: int, stream: int = 0) -> None:
        """Says how many steps a parameter has made."""
        call("fopt_set_step", self._handle, tensor, step, stream)

    def _check_on_cpu(self) -> None:
        if self.device != "cpu":
            raise NotImplementedError(f"the state is in memory of {self.device}: copy what state() gives by the "
                                      "means of what owns the parameters")

    def state_dict(self) -> list[dict[str, Any]]:
        """Returns step counts and a copy of the moments, as bytes. On the CPU alone; elsewhere, see state()."""
        self._check_on_cpu()
        return [
            {"step": self.get_step(i)}
            | {name: ctypes.string_at(view.pointer, view.bytes) for name, view in self.state(i).items()}
            for i in range(len(self.params))
        ]

    def load_state_dict(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Takes what state_dict() of an optimizer with the same groups, formats and seed has given."""
        self._check_on_cpu()
        for i, (tensor, _) in enumerate(zip(saved, self.params, strict=True)):
            wanted = {name: view.bytes for name, view in self.state(i).items()}
            given = {name: len(data) for name, data in tensor.items() if name != "step"}
            if wanted != given:
                raise ValueError(f"tensor {i} keeps {wanted} (bytes), but {given} are given")
        for i, tensor in enumerate(saved):
            for name, view in self.state(i).items():
                ctypes.memmove(view.pointer, tensor[name], view.bytes)
            self.set_step(i, tensor["step"])


def create(config: Config, groups: Sequence[Group], tensors: Sequence[Tensor]) -> ctypes.c_void_p:
    """Calls fopt_create()."""
    handle = POINTER()
    call("fopt_create", ctypes.byref(config), (Group * len(groups))(*groups), len(groups),
         (Tensor * len(tensors))(*tensors), len(tensors), ctypes.byref(handle))
    return handle


def set_grads(handle: ctypes.c_void_p, pointers: Sequence[int | None], stream: int) -> None:
    """Calls fopt_set_grads()."""
    call("fopt_set_grads", handle, (POINTER * len(pointers))(*pointers), stream)
