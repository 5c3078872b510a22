"""SGD, RMSprop, Adam and AdamW in place of torch.optim's.

Each is a subclass of the class of torch.optim that has its name, with the same arguments, groups, hooks, schedulers and
checkpoints; the step alone is the library's. To have it, replace the import. Arguments that torch.optim has not:

    state_format   the format of the moments: "f32", "bf16", "q8" or "q8_64", or {"exp_avg": "bf16", ...}
    seed           the key of the random bits with which moments in fewer than 32 bits are rounded
    threads        on the CPU; 0 for as many as OpenMP gives
    decoupled_weight_decay, ema_momentum, classic_momentum, eps_inside_sqrt, no_bias_correction
                   where the rule has them; include/fusedopt.h says what they mean

`optimizer.state` is the truth, as in torch.optim: the library works in the very tensors that are there, and takes them,
the parameters, the gradients and the groups as it finds them at each step. A moment in q8 is two of them: codes, of the
parameter's shape, and beside "exp_avg", say, "exp_avg_absmax", the scales of the blocks.

Parameters are dense or not, of float32, bfloat16, float16 or complex64, on the CPU or CUDA; DTensors by their local
shards. foreach and fused change nothing, since every step is fused. With capturable=True a step on CUDA may be captured
into a graph, after one that was not; a replay uses the hyperparameters and gradients of the capture. differentiable is
refused.
"""

from __future__ import annotations

import ctypes
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from .library import BLOCKS, RULES, Config, call, library, state_formats, state_names
from .optimizer import create
from .torch_moments import DTensor, all_moments, convert_moment, drop_subnormals, make_moment, memory_of
from .torch_tables import SOMETIMES, Item, Options, Snapshot, Table, count_rounds, make_guard

__all__ = ["SGD", "RMSprop", "Adam", "AdamW"]


class _Held:
    """A tensor in a checkpoint on its way through PyTorch's loading, which would cast it to its parameter's type."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _Fused(torch.optim.Optimizer):
    """The step of an optimizer of torch.optim, made by the library."""

    _rule: str

    def _begin(self, seed: int, threads: int, **ours: Any) -> None:
        """Ends a constructor: adds the options that torch.optim has not."""
        self.defaults.update(ours)
        for group in self.param_groups:
            for name, value in ours.items():
                group.setdefault(name, value)
        self._seed, self._threads = seed, threads
        self._step_supports_amp_scaling = False  # which fused=True has set: GradScaler unscales, and skips steps
        self._reset()
        for group in self.param_groups:
            self._check_group(group)

    def _reset(self) -> None:
        """Forgets what the library was told; the next step tells it all."""
        self._options: list[Options] = []
        self._untold: set[int] = set()  # indices of groups
        self._tables: list[Table] = []
        self._known: list[tuple[Any, ...]] = []  # the keys of the tables' items
        self._places: set[int] = set()  # of the parameters in tables
        self._params: list[Tensor] = []  # all of them, as the last step found them
        self._lengths: list[int] = []  # of groups
        self._snapshot: Snapshot | None = None
        self._steps: dict[torch.device, Tensor] = {}
        self._grad_places: list[int] = []
        self._grad_guard: Any = None

    def _check_group(self, group: dict[str, Any]) -> None:
        """Refuses options that the library does not have."""
        self._check_differentiable(group)
        options = Options(self._rule, self.defaults)
        options.read(group)
        library().fopt_destroy(create(Config(), [options.struct], []))

    def _check_differentiable(self, group: dict[str, Any]) -> None:
        if group.get("differentiable"):
            raise ValueError(f"differentiable: a step of fusedopt.torch.{type(self).__name__} is no part of a graph")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        if "_tables" in self.__dict__:  # not in the constructor, which checks all of them
            try:
                self._check_group(self.param_groups[-1])
            except Exception:
                self.param_groups.pop()
                raise

    # ---- a step ----

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one step of every parameter that has a gradient. Returns what the closure does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        params = [*chain.from_iterable([group["params"] for group in self.param_groups])]
        grads = [param.grad for param in params]
        grad_places = [place for place, grad in enumerate(grads) if grad is not None]
        self._read_groups()
        if not self._is_as_it_was(params, grad_places):
            self._register(params, grads)
        for index in sorted(self._untold):
            for table in self._tables:
                call("fopt_set_group", table.handle, index, ctypes.byref(self._options[index].struct), table.stream)
        self._untold.clear()
        self._check_capture()
        pointers, keep = self._gradients(grads, grad_places)
        torch.autograd.graph.increment_version([params[place] for place in grad_places])
        for table in self._tables:
            for item in table.items:
                if item.copy is not None:
                    item.copy.copy_(memory_of(item.param))
            table.step([pointers[item.place] for item in table.items])
            for item in table.items:
                if item.copy is not None:
                    memory_of(item.param).copy_(item.copy)
        return loss

    def _read_groups(self) -> None:
        if len(self._options) != len(self.param_groups):
            self._reset()
            self._options = [Options(self._rule, self.defaults) for _ in self.param_groups]
        for index, (options, group) in enumerate(zip(self._options, self.param_groups)):
            self._check_differentiable(group)
            kept = options.kept
            if options.read(group):
                self._untold.add(index)
                if options.kept != kept:
                    self._snapshot = None

    def _is_as_it_was(self, params: list[Tensor], grad_places: list[int]) -> bool:
        return (self._snapshot is not None and len(params) == len(self._params)
                and all(map(operator.is_, params, self._params))
                and [len(group["params"]) for group in self.param_groups] == self._lengths
                and (grad_places == self._grad_places or self._places.issuperset(grad_places))
                and self._snapshot.still_holds(self.state))

    def _check_capture(self) -> None:
        on_device = any(table.device.type == "cuda" for table in self._tables)
        if on_device and torch.cuda.is_current_stream_capturing():
            if not all(group.get("capturable", True) for group in self.param_groups):
                raise RuntimeError(f"a step of {type(self).__name__} is captured, but capturable is False")

    def _gradients(self, grads: list[Tensor | None], places: list[int]) -> tuple[list[int | None], list[Tensor]]:
        """Returns the gradients' addresses, None where there is none, and what must live until they were read."""
        live = [grads[place] for place in places]
        if self._grad_guard is None or places != self._grad_places or not self._grad_guard.check(*live):
            items = {item.place: item for table in self._tables for item in table.items}
            given, live = live, [items[place].gradient(grads[place], self._rule == "sgd") for place in places]
            copied = any(old.layout != torch.strided or old.data_ptr() != new.data_ptr()
                         for old, new in zip(given, live))
            self._grad_places, self._grad_guard = places, None if copied else make_guard(given)
        addresses = [*map(Tensor.data_ptr, live)]
        if len(live) == len(grads):
            return addresses, live
        pointers: list[int | None] = [None] * len(grads)
        for place, address in zip(places, addresses):
            pointers[place] = address
        return pointers, live

    # ---- registering ----

    def _name(self, group: int, index: int) -> str:
        names = self.param_groups[group].get("param_names")
        return f"parameter {names[index]}" if names else f"parameter {index} of group {group}"

    def _register(self, params: list[Tensor], grads: list[Tensor | None]) -> None:
        """Describes the parameters to the library, unless it knows all of that."""
        was_known = {id(param) for place, param in enumerate(self._params) if place in self._places}
        self._snapshot, self._grad_guard, self._params = None, None, []
        items, place = [], 0
        for group_index, group in enumerate(self.param_groups):
            for index, param in enumerate(group["params"]):
                grad = grads[place]
                place += 1
                if grad is None and (id(param) not in was_known or self._options[group_index].kept
                                     and not self.state.get(param)):
                    continue
                try:
                    item = Item(place - 1, self._name(group_index, index), param, group_index)
                    if grad is None:
                        self._take_state(item)
                    else:
                        item.grad_dtype = item.gradient(grad, self._rule == "sgd").dtype
                except (TypeError, ValueError, KeyError):
                    if grad is not None:
                        raise
                    continue  # without a gradient it does not matter what it is
                items.append(item)
        for item in items:  # when all parameters are known to be good
            if grads[item.place] is not None:
                self._take_state(item)
        self._place_steps(items)
        keys = [item.key() for item in items] + [tuple(options.kept.items()) for options in self._options]
        if keys != self._known or not self._tables:
            self._known = []
            self._tables = self._make_tables(items, len(params))
            self._untold.clear()
            self._known, self._places = keys, {item.place for item in items}
        for item in items:
            item.forget()
        self._params, self._lengths = params, [len(group["params"]) for group in self.param_groups]
        self._snapshot = Snapshot([item.param for item in items], self.state)

    def _make_tables(self, items: list[Item], param_count: int) -> list[Table]:
        structs = [options.struct for options in self._options]
        parts: dict[tuple[Any, ...], list[Item]] = {}
        for item, number in zip(items, count_rounds(items)):
            parts.setdefault((number, str(item.memory.device), str(self._steps_device(item))), []).append(item)
        self._tables = []  # which lets go of the old ones first
        return [Table(part, structs, self._steps[self._steps_device(part[0])], param_count, self._seed, self._threads)
                for part in map(parts.get, sorted(parts))]

    def _steps_device(self, item: Item) -> torch.device:
        """Returns where a parameter's step count lies: as in torch.optim, where a captured step can count it."""
        capturable = self.param_groups[item.group].get("capturable")
        return item.memory.device if capturable and item.memory.is_cuda else torch.device("cpu")

    def _take_state(self, item: Item) -> None:
        """Finds a parameter's moments in the state, which is made where there is none yet."""
        kept = self._options[item.group].kept
        if not kept:
            return
        state = self.state[item.param]
        was_empty = len(state) == 0
        for kind, name in enumerate(state_names(self._rule)):
            if name not in kept:
                continue
            form = kept[name]
            if form != "f32" and (item.param.is_complex() or form in BLOCKS and isinstance(item.param, DTensor)):
                raise TypeError(f"{item.name} is {'complex' if item.param.is_complex() else 'a DTensor'}: its {name} "
                                f"cannot be {form}")
            if state.get(name) is None:
                if not was_empty and name not in SOMETIMES:
                    raise KeyError(f"{item.name}: its state has no {name}")
                make_moment(state, name, form, item)
                if self._rule == "sgd":  # without a buffer this is its first step
                    state["step"] = 0
            else:
                convert_moment(state, name, form, item)
            absmax = state[f"{name}_absmax"] if form in BLOCKS else None
            item.moments.append((kind, memory_of(state[name]), absmax))
        if was_empty:
            state["step"] = 0
        if "step" not in state and self._rule != "sgd":
            raise KeyError(f"{item.name}: its state has no step")
        state.setdefault("step", 1)  # torch.optim.SGD counts none; all that matters is that there was one

    def _place_steps(self, items: list[Item]) -> None:
        """Puts the step counts beside each other, where they can be read and raised at once. The tensors that hold them
        remain."""
        slots: dict[tuple[torch.device, int], int] = {}
        values: dict[torch.device, list[float]] = {}
        for item in items:
            if self._options[item.group].kept:
                state, device = self.state[item.param], self._steps_device(item)
                count = state["step"]  # which two states may share
                key = device, id(count) if isinstance(count, Tensor) else id(state)
                if key not in slots:
                    slots[key] = len(values.setdefault(device, []))
                    values[device].append(count)
                item.slot = slots[key]
        for device, counts in values.items():
            block = self._steps.get(device)
            places = [count.data_ptr() if isinstance(count, Tensor) else 0 for count in counts]
            if block is not None and places == [block.data_ptr() + 8 * slot for slot in range(len(block))]:
                continue
            self._steps[device] = torch.tensor([float(count) for count in counts], dtype=torch.float64, device=device)
            self._known = []
        for item in items:
            if item.slot is not None:
                state, view = self.state[item.param], self._steps[self._steps_device(item)][item.slot]
                if type(state["step"]) is not Tensor:
                    state["step"] = view
                elif state["step"].data_ptr() != view.data_ptr():
                    state["step"].data = view
                item.step = view
        for item in items:
            if item.slot is None and torch.device("cpu") not in self._steps:
                self._steps[torch.device("cpu")] = torch.zeros(0, dtype=torch.float64)

    # ---- checkpoints ----

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_seed": self._seed, "_threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "defaults" not in state:  # a checkpoint, not a copy
            state["state"] = self._translated(state["state"], state["param_groups"])
        super().__setstate__(state)
        self._step_supports_amp_scaling = False
        self._reset()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what state_dict() gave, of this class or that of torch.optim, with any formats of the moments; they are
        converted to those of this optimizer. What it refuses changes nothing."""

        def hold(_: Any, given: dict[str, Any]) -> dict[str, Any]:
            moments = {key: {name: _Held(v) if isinstance(v, Tensor) else v for name, v in value.items()}
                       if isinstance(value, dict) else value for key, value in given["state"].items()}
            return {**given, "state": moments}

        last = self.register_load_state_dict_pre_hook(hold)
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()

    def _translated(self, state: Mapping[Any, Any], groups: list[dict[str, Any]]) -> Any:
        """Returns a checkpoint's state as this optimizer keeps it, and completes its groups; changes nothing else."""
        for index, (group, old) in enumerate(zip(groups, self.param_groups)):
            self._translate_group(index, group, old)
        translated: Any = defaultdict(dict)
        for key, value in state.items():
            if isinstance(value, dict):
                value = {name: v.tensor if isinstance(v, _Held) else v for name, v in value.items()}
            translated[key] = value
        for group_index, group in enumerate(groups):
            options = Options(self._rule, self.defaults)
            options.read(group)
            for index, param in enumerate(group["params"]):
                if translated.get(param):
                    self._translate_state(translated[param], self._name(group_index, index), param, options, group)
        return translated

    def _translate_group(self, index: int, group: dict[str, Any], old: dict[str, Any]) -> None:
        own = {"lr", "betas", "eps", "alpha", "dampening"} & set(RULES[self._rule])
        lacking = own - group.keys()
        if lacking:
            raise ValueError(f"group {index} of the checkpoint has no {', '.join(sorted(lacking))}: it is not of "
                             f"{type(self).__name__}")
        for name in ("ema_momentum", "classic_momentum"):
            if name not in group and old.get(name) and group["momentum"] != 0:
                raise ValueError(f"group {index} of the checkpoint has no {name}: its momentum buffers mean something "
                                 "else")
        for name in RULES[self._rule]:
            if name in old:
                group.setdefault(name, old[name] if name in self._ours else self.defaults[name])
        group["state_format"] = old.get("state_format", self.defaults["state_format"])

    def _translate_state(self, state: dict[str, Any], name: str, param: Tensor, options: Options,
                         group: dict[str, Any]) -> None:
        names = [moment for moment in state_names(self._rule) if moment]
        strange = (all_moments() - set(names)) & state.keys()
        lacking = [moment for moment in options.kept if state.get(moment) is None]
        if strange or lacking and self._rule != "sgd":
            given = [moment for moment in state if moment != "step"]
            raise ValueError(f"{name} keeps {', '.join(options.kept) or 'no state'}, but is given {', '.join(given)}")
        item = Item(0, name, param, 0)
        formats = state_formats(self._rule, options.values["state_format"])
        for moment in names:
            if isinstance(state.get(moment), Tensor):
                state[moment] = state[moment].detach() if not isinstance(state[moment], DTensor) else state[moment]
                convert_moment(state, moment, formats[moment], item)
                drop_subnormals(state, moment)
        if "step" in state:
            capturable = group.get("capturable") and param.is_cuda
            state["step"] = torch.tensor(float(state["step"]), dtype=torch.float64,
                                         device=param.device if capturable else "cpu")


class SGD(_Fused, torch.optim.SGD):
    """torch.optim.SGD, stepped by fusedopt."""

    _rule = "sgd"
    _ours = ("decoupled_weight_decay", "ema_momentum", "classic_momentum", "state_format")

    def __init__(self, params: Iterable[Any], lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float | Tensor = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False, ema_momentum: bool = False, classic_momentum: bool = False,
                 state_format: str | Mapping[str, str] = "f32", seed: int = 0, threads: int = 0) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, maximize=maximize, foreach=foreach,
                         differentiable=differentiable, fused=fused)
        self._begin(seed, threads, decoupled_weight_decay=decoupled_weight_decay, ema_momentum=ema_momentum,
                    classic_momentum=classic_momentum, state_format=state_format)


class RMSprop(_Fused, torch.optim.RMSprop):
    """torch.optim.RMSprop, stepped by fusedopt."""

    _rule = "rmsprop"
    _ours = ("decoupled_weight_decay", "eps_inside_sqrt", "state_format")

    def __init__(self, params: Iterable[Any], lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, *,
                 decoupled_weight_decay: bool = False, eps_inside_sqrt: bool = False,
                 state_format: str | Mapping[str, str] = "f32", seed: int = 0, threads: int = 0) -> None:
        super().__init__(params, lr, alpha, eps, weight_decay, momentum, centered, capturable, foreach, maximize,
                         differentiable)
        self._begin(seed, threads, decoupled_weight_decay=decoupled_weight_decay, eps_inside_sqrt=eps_inside_sqrt,
                    state_format=state_format)


class Adam(_Fused, torch.optim.Adam):
    """torch.optim.Adam, stepped by fusedopt."""

    _rule = "adam"
    _ours = ("no_bias_correction", "state_format")

    def __init__(self, params: Iterable[Any], lr: float | Tensor = 1e-3,
                 betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False, no_bias_correction: bool = False,
                 state_format: str | Mapping[str, str] = "f32", seed: int = 0, threads: int = 0) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=decoupled_weight_decay)
        self._begin(seed, threads, no_bias_correction=no_bias_correction, state_format=state_format)


class AdamW(_Fused, torch.optim.AdamW):
    """torch.optim.AdamW, stepped by fusedopt."""

    _rule = "adam"  # of which it is a flag of the group that makes AdamW
    _ours = ("no_bias_correction", "state_format")

    def __init__(self, params: Iterable[Any], lr: float | Tensor = 1e-3,
                 betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, no_bias_correction: bool = False,
                 state_format: str | Mapping[str, str] = "f32", seed: int = 0, threads: int = 0) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach,
                         capturable=capturable, differentiable=differentiable, fused=fused)
        self._begin(seed, threads, no_bias_correction=no_bias_correction, state_format=state_format)
