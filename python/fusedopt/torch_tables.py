"""What the library is told of PyTorch's parameters, and how a step sees that it still holds."""

from __future__ import annotations

import ctypes
import operator
import weakref
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from .library import FORMATS, KINDS, NUMBERS, RULES, Config, Group, State
from .library import Tensor as TensorStruct
from .library import call, library, make_group, parse_device, state_formats
from .optimizer import create, set_grads
from .torch_moments import FORMAT_OF, DTensor, check, fills_memory, like_memory, local_part, memory_of

try:
    from torch._C._dynamo.guards import TensorGuards  # private to PyTorch, and only for speed
except ImportError:
    TensorGuards = None


def make_guard(tensors: list[Tensor]) -> Any:
    """Returns what tells in little time whether as many tensors have these ones' types, devices, shapes and strides, by
    check(*tensors); None if there is nothing that does."""
    if TensorGuards is None or not tensors or any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
        return None
    return TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)


SOMETIMES = {"momentum_buffer": "momentum", "max_exp_avg_sq": "amsgrad", "grad_avg": "centered"}  # kept if it is on


def shard(param: Tensor, local: Tensor, number: int, count: int) -> dict[str, int]:
    """Says where in a whole tensor a shard is: by this an element gets the same random bits on any number of ranks, if
    shards begin and end at multiples of 256 elements. Others count as tensors of their own."""
    if not isinstance(param, DTensor):
        return {"global_id": number + 1}
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(param.shape, param.device_mesh, param.placements)
    begin = offset[0] * param.shape[1:].numel() if param.dim() else 0
    end = begin + local.numel()
    rows = tuple(shape[1:]) == tuple(param.shape[1:]) and local.is_contiguous()
    if rows and begin % 256 == 0 and (end % 256 == 0 or end == param.numel()):
        return {"global_id": number + 1, "first_element": begin, "full_count": param.numel()}
    return {"global_id": number + 1 + (1 + param.device_mesh.get_rank()) * count}


class Item:
    """A parameter as the library steps it: in its own memory, or where that is not dense in a copy of it."""

    def __init__(self, place: int, name: str, param: Tensor, group: int) -> None:
        self.place, self.name, self.param, self.group = place, name, param, group  # place: among all parameters
        check(local_part(param), name)
        plain = memory_of(param)
        if any(stride == 0 and size > 1 for stride, size in zip(plain.stride(), plain.shape)):
            raise TypeError(f"{name} is expanded: its elements share memory")
        self.copy = None if fills_memory(plain) else torch.empty_like(plain)
        self.memory = plain if self.copy is None else self.copy
        if self.memory.is_complex():  # conjugated when it is read
            self.memory = torch.view_as_real(self.memory)
        if self.memory.numel() > 0 and self.memory.data_ptr() == 0:
            raise TypeError(f"{name} is a {type(param).__name__} without memory of its own")
        self.grad_dtype = self.memory.dtype
        self.moments: list[tuple[int, Tensor, Tensor | None]] = []  # kind, elements or codes, absmax
        self.slot: int | None = None  # of its step count; None: it keeps no state
        self.step: Tensor | None = None  # the count

    def key(self) -> tuple[Any, ...]:
        """Returns all that the library knows of it, but for the gradient. An address alone would not do: memory that is
        freed is soon another's."""
        moments = [(kind, data.data_ptr(), absmax is not None and absmax.data_ptr())
                   for kind, data, absmax in self.moments]
        memory = self.memory
        return (self.place, self.group, self.slot, id(self.param), self.copy is None, memory.data_ptr(), memory.shape,
                memory.stride(), memory.dtype, memory.device, self.grad_dtype, *moments)

    def spans(self) -> list[tuple[int, int]]:
        """Returns the addresses that a step writes."""
        arrays = [self.memory, self.step, *chain.from_iterable((data, absmax) for _, data, absmax in self.moments)]
        return [(a.data_ptr(), a.data_ptr() + a.numel() * a.element_size()) for a in arrays if a is not None]

    def describe(self, group: Group, param_count: int) -> TensorStruct:
        """Returns the fopt_tensor."""
        states = (State * KINDS)(*(State() for _ in range(KINDS)))
        for kind, data, absmax in self.moments:
            states[kind] = State(data=data.data_ptr(), count=self.memory.numel(), format=group.state_format[kind],
                                 absmax=None if absmax is None else absmax.data_ptr())
        described = TensorStruct(
            name=self.name.encode(), param=self.memory.data_ptr(), count=self.memory.numel(),
            param_format=FORMATS[FORMAT_OF[self.memory.dtype]][0], grad_format=FORMATS[FORMAT_OF[self.grad_dtype]][0],
            group=self.group, states=ctypes.addressof(states),
            **shard(self.param, self.memory, self.place, param_count))
        described.keep = states
        return described

    def forget(self) -> None:
        """Lets go of memory that is not its own, so that who frees it has freed it."""
        self.moments, self.step = [], None
        self.memory = self.memory if self.copy is not None else None

    def gradient(self, grad: Tensor, may_be_sparse: bool) -> Tensor:
        """Returns a gradient as it lies if it lies as the parameter does, else a copy that does."""
        name = f"the gradient of {self.name}"
        if isinstance(grad, DTensor) and grad.placements != self.param.placements:
            grad = grad.redistribute(self.param.device_mesh, self.param.placements)
        if grad.shape != self.param.shape:
            raise ValueError(f"{name} has the shape {tuple(grad.shape)}, but {self.name} {tuple(self.param.shape)}")
        if grad.layout == torch.sparse_coo and may_be_sparse:
            grad = grad.to_dense()
        if grad.is_complex() != self.param.is_complex():
            raise TypeError(f"{name} is of {grad.dtype}, but {self.name} of {self.param.dtype}")
        if grad.layout == torch.strided:
            grad = grad.resolve_conj().resolve_neg()
        check(local_part(grad), name)
        grad = memory_of(grad)
        memory = memory_of(self.param) if self.memory is None else self.memory
        if grad.device != memory.device:
            raise ValueError(f"{name} is on {grad.device}, but {self.name} on {memory.device}")
        return like_memory(grad, memory, grad.dtype)


def count_rounds(items: list[Item]) -> list[int]:
    """Returns a number for each item: those of one number overlap nowhere, and of those that do, the later has the
    higher. Tied parameters, or one that is given twice, are then stepped one after the other, as by torch.optim."""
    spans = sorted((begin, end, i) for i, item in enumerate(items) for begin, end in item.spans() if begin < end)
    clashing, last = set(), (0, 0, -1)
    for span in spans:
        if span[0] < last[1]:
            clashing |= {last[2], span[2]}
        last = max(last, span, key=lambda s: s[1])
    rounds = [0] * len(items)
    for i in sorted(clashing):
        for j in sorted(clashing):
            if j < i and any(a < d and c < b for a, b in items[i].spans() for c, d in items[j].spans()):
                rounds[i] = max(rounds[i], rounds[j] + 1)
    return rounds


class Table:
    """An fopt_optimizer over items of one device that overlap nowhere. Its moments are the tensors of the state; the
    step counts of the state are parts of `steps`."""

    def __init__(self, items: list[Item], groups: list[Group], steps: Tensor, param_count: int, seed: int,
                 threads: int) -> None:
        self.items, self.device, self.steps = items, items[0].memory.device, steps
        kind, index = parse_device(str(self.device))
        tensors = [item.describe(groups[item.group], param_count) for item in items]
        self.handle = create(Config(device_kind=kind, device_index=index, seed=seed, threads=threads), groups, tensors)
        weakref.finalize(self, library().fopt_destroy, self.handle)
        self._counts = [0.0] * len(items)  # as the library has them
        self._version = None  # of `steps`, when they were the same
        self._slots = [item.slot for item in items]
        self._all_slots = self._slots == list(range(len(steps)))

    @property
    def stream(self) -> int:
        """PyTorch's current stream."""
        return torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0

    def _tell_counts(self) -> None:
        """Tells the library the step counts that somebody has changed. Those on a device are read if PyTorch has noted
        a change: a replayed graph, which changes both, leaves no note."""
        if self.steps.is_cuda and self.steps._version == self._version:
            return
        now = self.steps.tolist()
        if not self._all_slots:
            now = [count if slot is None else now[slot] for slot, count in zip(self._slots, self._counts)]
        if now == self._counts and not self.steps.is_cuda:
            return
        for i, (old, new) in enumerate(zip(self._counts, now)):
            if not float(new).is_integer():
                raise ValueError(f"{self.items[i].name}: its step is {new}, must be a whole number")
            if old != new or self.steps.is_cuda:
                call("fopt_set_step", self.handle, i, int(new), self.stream)
        self._counts = now

    def step(self, pointers: list[int | None]) -> None:
        """Makes one step with these gradients; None skips a parameter."""
        set_grads(self.handle, pointers, self.stream)
        self._tell_counts()
        call("fopt_step", self.handle, None, self.stream)
        if self._all_slots and None not in pointers:
            self.steps.add_(1)
            self._counts = [count + 1 for count in self._counts]
        else:
            made = [slot is not None and pointer is not None for slot, pointer in zip(self._slots, pointers)]
            if any(made):
                self.steps[[slot for slot, counts in zip(self._slots, made) if counts]] += 1
            self._counts = [count + counts for count, counts in zip(self._counts, made)]
        if self.steps.is_cuda:
            self._version = self.steps._version


class Snapshot:
    """What a step found, to tell quickly that the next one finds the same: shapes, strides, types, devices and
    addresses of parameters and of all that is in the optimizer's state."""

    def __init__(self, params: list[Tensor], state: Mapping[Tensor, Any]) -> None:
        self._params, self._guard = params, None
        try:
            self._owners, self._names, held = self._look(state)
        except TypeError:  # something in the state is none of a parameter's
            return
        self._guard = make_guard([*params, *held])
        if self._guard:
            self._pointers = [*map(Tensor.data_ptr, chain(params, held))]

    @staticmethod
    def _look(state: Mapping[Tensor, Any]) -> tuple[list[Tensor], list[str], list[Tensor]]:
        """Returns whose the states are, and the names and values in them."""
        states = state.values()
        return [*state], [*chain.from_iterable(states)], [*chain.from_iterable(map(dict.values, states))]

    def still_holds(self, state: Mapping[Tensor, Any]) -> bool:
        """Tells whether nothing has changed."""
        if self._guard is None:
            return False
        try:
            owners, names, held = self._look(state)
            return (len(owners) == len(self._owners) and all(map(operator.is_, owners, self._owners))
                    and names == self._names and self._guard.check(*self._params, *held)
                    and [*map(Tensor.data_ptr, chain(self._params, held))] == self._pointers)
        except TypeError:
            return False


class Options:
    """What a group says, as numbers: read at each step, and told to the library where it has changed."""

    def __init__(self, rule: str, defaults: Mapping[str, Any]) -> None:
        self._rule, self._defaults, self._names = rule, defaults, RULES[rule]
        self._raw: tuple[Any, ...] | None = None
        self._may_change = False  # in place: a tensor, a list
        self.values: dict[str, Any] = {}
        self.struct = Group()
        self.kept: dict[str, str] = {}  # the moments, and their formats

    def read(self, group: Mapping[str, Any]) -> bool:
        """Reads the group. Returns whether anything has changed."""
        raw = tuple(map(group.get, self._names))
        if not self._may_change and raw == self._raw:
            return False
        if self._raw and not self._may_change and type(raw[0]) is float and raw[1:] == self._raw[1:]:
            self.struct.lr = self.values["lr"] = raw[0]  # as a scheduler does, of many groups
            self._raw = raw
            return True
        values = {name: self._defaults.get(name) if value is None else value for name, value in zip(self._names, raw)}
        parts = chain(raw, *(value for value in raw if isinstance(value, tuple)))
        self._may_change = not all(isinstance(part, (float, int, str, tuple, type(None))) for part in parts)
        for name, value in values.items():
            if name == "betas":
                values[name] = tuple(map(float, value))
            elif name in NUMBERS:
                values[name] = float(value)
        if values.get("momentum") == 0:  # what spells the momentum says nothing then
            values.update(dict.fromkeys(("nesterov", "ema_momentum", "classic_momentum"), False), dampening=0.0)
        values = {name: value for name, value in values.items() if name in self._names}
        if values == self.values:
            self._raw = raw
            return False
        self.struct = make_group(self._rule, values)
        formats = state_formats(self._rule, values["state_format"])
        self.kept = {name: form for name, form in formats.items() if values.get(SOMETIMES.get(name), True)}
        self.values, self._raw = values, raw
        return True
