"""fusedopt from Python: one file, nothing but the standard library.

Optimizer steps over anything that says where its memory is: PyTorch's tensors, NumPy's and CuPy's arrays, ctypes and
array arrays, or an Array of pointer and count:

    w, g = array.array("f", [1, 2, 3]), array.array("f", [0, 0, 0])
    optimizer = fusedopt.Optimizer([w], [g], rule="adamw", lr=1e-3)
    optimizer.step()                      # reads g, writes w

TorchOptimizer is a torch.optim.Optimizer, for tensors of the CPU and of GPUs:

    optimizer = fusedopt.TorchOptimizer(model.parameters(), rule="adamw", lr=1e-3, state_format="bf16")

It imports PyTorch when it is first mentioned. Learning-rate schedulers, closures, hooks, parameter groups, added ones
too, and checkpoints work as with torch.optim, whose checkpoints of the same rule it reads.

Options, in PyTorch's spelling; what a rule has not is refused (see RULES):

    lr, betas, eps, weight_decay, momentum, dampening, alpha        numbers
    maximize, decoupled_decay, nesterov, ema_momentum, classic_momentum, centered, eps_inside_sqrt, amsgrad,
    no_bias_correction                                              true or false
    state_format                                        "f32", "bf16", "q8" or "q8_64", or {"exp_avg": "bf16", ...}

Their defaults are PyTorch's. include/fusedopt.h says what each means.

The shared library is the one that the environment variable FUSEDOPT_LIBRARY names; or the one that was built in this
file's repository, by the presets release or cpu-only; or the system's. Every failure is an Error.
"""

import ctypes
import ctypes.util
import functools
import os
import pathlib
import weakref

__all__ = ["Array", "Error", "Optimizer", "RULES", "TorchOptimizer", "version"]

# ---- the library -------------------------------------------------------------------------------------------------

_FORMATS = {  # value of fopt_format, bytes of an element, its type in NumPy's spelling and in PyTorch's
    "f32": (0, 4, "<f4", "float32"),
    "bf16": (1, 2, "<u2", "bfloat16"),
    "f16": (2, 2, "<f2", "float16"),
    "q8": (3, 1, "|u1", "uint8"),
    "q8_64": (4, 1, "|u1", "uint8"),
}
_KINDS = 8  # FOPT_STATE_KINDS

_NUMBERS = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum", "dampening", "alpha")
_FLAGS = {
    "maximize": 1 << 0,
    "decoupled_decay": 1 << 1,
    "nesterov": 1 << 2,
    "ema_momentum": 1 << 3,
    "classic_momentum": 1 << 4,
    "centered": 1 << 5,
    "eps_inside_sqrt": 1 << 6,
    "amsgrad": 1 << 7,
    "no_bias_correction": 1 << 8,
}
_EVERY = ("lr", "weight_decay", "maximize", "decoupled_decay", "state_format")
_ADAM = (*_EVERY, "betas", "eps", "amsgrad", "no_bias_correction")

RULES = {  # in the order of fopt_rule, and the options that each has
    "sgd": (*_EVERY, "momentum", "dampening", "nesterov", "ema_momentum", "classic_momentum"),
    "rmsprop": (*_EVERY, "alpha", "eps", "momentum", "centered", "eps_inside_sqrt"),
    "adam": _ADAM,
    "adamw": _ADAM,
}
_RULES = {name: value for value, name in enumerate(RULES)}


class _Sized(ctypes.Structure):
    """A struct that begins with its own size, as all of the library's do."""

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(self), **fields)


class _Group(_Sized):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("rule", ctypes.c_int),
        ("flags", ctypes.c_uint),
        *((name, ctypes.c_double) for name in _NUMBERS),
        ("state_format", ctypes.c_int * _KINDS),
    ]


class _Tensor(_Sized):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("param", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("param_format", ctypes.c_int),
        ("grad_format", ctypes.c_int),
        ("group", ctypes.c_size_t),
        ("global_id", ctypes.c_uint64),
        ("first_element", ctypes.c_size_t),
        ("full_count", ctypes.c_size_t),
    ]


class _Config(_Sized):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("device_kind", ctypes.c_int),
        ("device_index", ctypes.c_int),
        ("seed", ctypes.c_uint64),
        ("host_allocator", ctypes.c_void_p * 3),
        ("device_allocator", ctypes.c_void_p * 3),
        ("isa", ctypes.c_int),
        ("threads", ctypes.c_int),
        ("parallel_for", ctypes.c_void_p),
        ("parallel_context", ctypes.c_void_p),
    ]


class _State(_Sized):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("bytes", ctypes.c_size_t),
        ("format", ctypes.c_int),
        ("absmax", ctypes.c_void_p),
    ]


class Error(RuntimeError):
    """What fopt_last_error() says; `status` is the fopt_status."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def _find_library():
    given = os.environ.get("FUSEDOPT_LIBRARY")
    if given:
        return given
    build = pathlib.Path(__file__).resolve().parents[1] / "build"
    for preset in ("release", "library", "cpu-only"):
        built = build / preset / "libfusedopt.so"
        if built.exists():
            return str(built)
    found = ctypes.util.find_library("fusedopt")
    if not found:
        raise OSError(f"no libfusedopt: not named by FUSEDOPT_LIBRARY, not built in {build}, not in the system")
    return found


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_PROTOTYPES = {
    "fopt_version_string": (ctypes.c_char_p,),
    "fopt_last_error": (ctypes.c_char_p,),
    "fopt_state_kind_name": (ctypes.c_char_p, _INT, _INT),
    "fopt_group_init": (_INT, _POINTER, _SIZE, _INT),
    "fopt_create": (_INT, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER),
    "fopt_destroy": (None, _POINTER),
    "fopt_step": (_INT, _POINTER, _POINTER, _POINTER),
    "fopt_set_group": (_INT, _POINTER, _SIZE, _POINTER, _POINTER),
    "fopt_set_grads": (_INT, _POINTER, _POINTER, _POINTER),
    "fopt_zero_grads": (_INT, _POINTER, _POINTER),
    "fopt_state": (_INT, _POINTER, _SIZE, _INT, _POINTER),
    "fopt_get_step": (_INT, _POINTER, _SIZE, _POINTER, _POINTER),
    "fopt_set_step": (_INT, _POINTER, _SIZE, ctypes.c_int64, _POINTER),
}


@functools.lru_cache(maxsize=None)
def _library():
    library = ctypes.CDLL(_find_library())
    for name, (result, *arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _call(name, *arguments):
    status = getattr(_library(), name)(*arguments)
    if status:
        raise Error(status, _library().fopt_last_error().decode(errors="replace"))


def version():
    """The library's, for instance "0.1.0"."""
    return _library().fopt_version_string().decode()


# ---- arrays ------------------------------------------------------------------------------------------------------


class Array:
    """`count` elements of a format ("f32", "bf16", "f16", "q8", "q8_64") at an address of a device ("cpu", "cuda:0").

    NumPy and CuPy take one as it is (numpy.asarray(array)), bf16 as its 16-bit words and q8 as its codes. `owner` keeps
    the memory alive.
    """

    def __init__(self, pointer, count, format="f32", device="cpu", owner=None, read_only=False):
        if format not in _FORMATS:
            raise ValueError(f"format is {format!r}, must be one of {', '.join(_FORMATS)}")
        self.pointer, self.count, self.format, self.device = pointer, count, format, device
        self.owner, self.read_only = owner, read_only
        self.bytes = count * _FORMATS[format][1]

    def _interface(self, kind):
        if self.device.split(":")[0] != kind:
            raise AttributeError(f"the array is in memory of {self.device}")
        data = (self.pointer or 0, self.read_only)
        typestr = _FORMATS[self.format][2]
        return {"shape": (self.count,), "typestr": typestr, "data": data, "strides": None, "version": 3}

    __array_interface__ = property(lambda self: self._interface("cpu"))
    __cuda_array_interface__ = property(lambda self: self._interface("cuda"))


def _from_torch(tensor):
    """A tensor whose elements fill its memory, in any order of dimensions."""
    names = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}
    if str(tensor.layout) != "torch.strided" or str(tensor.dtype) not in names:
        raise TypeError(f"a {tensor.layout} tensor of {tensor.dtype}: must be strided, of {', '.join(names)}")
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size > 1 and stride != expected:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} with strides {tensor.stride()} is not dense")
        expected *= max(size, 1)
    return Array(tensor.data_ptr(), tensor.numel(), names[str(tensor.dtype)], str(tensor.device), tensor)


def _from_interface(thing, interface, device):
    """What NumPy or CuPy say of an array, in C's order."""
    count, stride = 1, None
    for size in interface["shape"]:
        count *= size
    types = {"<f4": "f32", "<f2": "f16"}
    form = "bf16" if str(getattr(thing, "dtype", "")) == "bfloat16" else types.get(interface["typestr"])
    if not form:
        raise TypeError(f"an array of {interface['typestr']}: must be float32, float16 or bfloat16")
    stride = _FORMATS[form][1]
    for size, given in zip(reversed(interface["shape"]), reversed(interface.get("strides") or ())):
        if size > 1 and given != stride and count > 0:
            raise ValueError(f"an array of shape {interface['shape']} with strides {interface['strides']} bytes is "
                             "not contiguous")
        stride *= size
    pointer, read_only = interface["data"]
    return Array(pointer, count, form, device, thing, read_only)


def _from_buffer(thing):
    view = memoryview(thing)
    form = {"f": "f32", "<f": "f32", "e": "f16", "<e": "f16"}.get(view.format)
    if not form or not view.c_contiguous or view.readonly:
        raise TypeError(f"a {type(thing).__name__} of format {view.format!r}: must be writable, of consecutive floats")
    start = (ctypes.c_char * view.nbytes).from_buffer(view)  # holds the buffer where it is
    return Array(ctypes.addressof(start), view.nbytes // view.itemsize, form, "cpu", start)


def _array(thing):
    if isinstance(thing, Array):
        return thing
    if hasattr(thing, "data_ptr"):
        return _from_torch(thing)
    if hasattr(thing, "__cuda_array_interface__"):
        index = getattr(getattr(thing, "device", None), "id", 0)
        return _from_interface(thing, thing.__cuda_array_interface__, f"cuda:{index}")
    if hasattr(thing, "__array_interface__"):
        return _from_interface(thing, thing.__array_interface__, "cpu")
    return _from_buffer(thing)


def _device(name):
    """The kind and the index in fopt_device of "cpu", "cuda", "cuda:1"."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}, must be cpu, cuda or cuda:N")
    return ("cpu", "cuda").index(kind), int(index or 0)


# ---- groups ------------------------------------------------------------------------------------------------------


def _state_formats(rule, wanted):
    names = [_library().fopt_state_kind_name(_RULES[rule], kind) for kind in range(_KINDS)]
    if isinstance(wanted, str):
        wanted = {name.decode(): wanted for name in names if name}
    formats = [0] * _KINDS
    for name, form in wanted.items():
        if name.encode() not in names or form not in _FORMATS:
            raise ValueError(f"state_format has {name!r}: {form!r}, which {rule} or the library does not have")
        formats[names.index(name.encode())] = _FORMATS[form][0]
    return formats


def _group(rule, options):
    """The fopt_group that a rule's defaults and these options make."""
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}, must be one of {', '.join(RULES)}")
    group = _Group()
    _call("fopt_group_init", ctypes.byref(group), ctypes.sizeof(group), _RULES[rule])
    for name, value in options.items():
        if name not in RULES[rule]:
            raise TypeError(f"{rule} has no option {name!r}; it has {', '.join(RULES[rule])}")
        if name == "betas":
            group.beta1, group.beta2 = map(float, value)
        elif name == "state_format":
            group.state_format[:] = _state_formats(rule, value)
        elif name in _FLAGS:
            group.flags = group.flags | _FLAGS[name] if value else group.flags & ~_FLAGS[name]
        else:
            setattr(group, name, float(value))
    return group


def _defaults(rule):
    """All options of a rule, by name, with the library's defaults."""
    group = _group(rule, {})
    values = {"betas": (group.beta1, group.beta2), "state_format": "f32"}
    values.update((name, bool(group.flags & flag)) for name, flag in _FLAGS.items())
    values.update((name, getattr(group, name)) for name in _NUMBERS)
    return {name: values[name] for name in RULES[rule]}


# ---- the optimizer -----------------------------------------------------------------------------------------------


class Optimizer:
    """An fopt_optimizer, destroyed with this object.

    `params` are arrays; or groups, dictionaries with "params", and what is different in them of: "grads" (None: skipped
    until set_grads), "names" (for messages), "ids" (fopt_tensor.global_id), "rule" and the options. The optimizer
    keeps the arrays alive. `stream` is a cudaStream_t as an integer, 0 for the default one; on the CPU it is ignored.
    """

    def __init__(self, params, grads=None, rule="adamw", *, device=None, seed=0, threads=0, **options):
        params = list(params)
        if not params or not isinstance(params[0], dict):
            params = [{"params": params, "grads": grads}]
        elif grads is not None:
            raise TypeError("grads goes with params that are arrays; groups have their own")
        self._rules, self._options = [], []  # of each group
        self.params, self._grads, self._groups = [], [], []  # of each tensor
        tensors = []
        for given in params:
            given = dict(given)
            columns = [given.pop("params")] + [given.pop(name, None) for name in ("grads", "names", "ids")]
            self._rules.append(given.pop("rule", rule))
            self._options.append({**options, **given})
            tensors += self._describe(len(self._rules) - 1, *columns)
        groups = [_group(*group) for group in zip(self._rules, self._options)]
        kind, index = _device(device or (self.params[0].device if self.params else "cpu"))
        self.device = ("cpu", "cuda:%d" % index)[kind]
        for array in self.params:
            if _device(array.device) != (kind, index):
                raise ValueError(f"a parameter is in memory of {array.device}, not of {self.device}")
        config = _Config(device_kind=kind, device_index=index, seed=seed, threads=threads)
        self._handle = _POINTER()
        _call("fopt_create", ctypes.byref(config), (_Group * len(groups))(*groups), len(groups),
              (_Tensor * len(tensors))(*tensors), len(tensors), ctypes.byref(self._handle))
        weakref.finalize(self, _library().fopt_destroy, self._handle)

    def _describe(self, group, params, grads, names, ids):
        params = [_array(param) for param in params]
        grads = [None] * len(params) if grads is None else [g if g is None else _array(g) for g in grads]
        names = names or [None] * len(params)
        ids = ids or [0] * len(params)
        for array, grad, name, number in zip(params, grads, names, ids, strict=True):
            if array.read_only:
                raise ValueError(f"the parameter at {array.pointer:#x} is read-only")
            if grad and grad.count != array.count:
                raise ValueError(f"a parameter has {array.count} elements, but its gradient {grad.count}")
            yield _Tensor(
                name=name and name.encode(),
                param=array.pointer,
                grad=grad and grad.pointer,
                count=array.count,
                param_format=_FORMATS[array.format][0],
                grad_format=_FORMATS[(grad or array).format][0],
                group=group,
                global_id=number,
            )
            self.params.append(array)
            self._groups.append(group)
            self._grads.append(grad or Array(None, array.count, array.format))

    def step(self, stream=0):
        """One step of every tensor that has a gradient."""
        _call("fopt_step", self._handle, None, stream)

    def set_grads(self, grads, stream=0):
        """One gradient for each parameter, of the format and count that it had; None skips it."""
        arrays = [grad if grad is None else _array(grad) for grad in grads]
        if len(arrays) != len(self.params):
            raise ValueError(f"{len(arrays)} gradients for {len(self.params)} parameters")
        for i, (new, old) in enumerate(zip(arrays, self._grads)):
            if new and (new.format, new.count) != (old.format, old.count):
                raise ValueError(f"gradient {i} has {new.count} elements of {new.format}, must have {old.count} of "
                                 f"{old.format}")
        pointers = [array and array.pointer for array in arrays]
        _call("fopt_set_grads", self._handle, (_POINTER * len(pointers))(*pointers), stream)
        self._grads = [new or Array(None, old.count, old.format) for new, old in zip(arrays, self._grads)]

    def zero_grads(self, stream=0):
        """Writes zeros to every gradient."""
        _call("fopt_zero_grads", self._handle, stream)

    def set_group(self, index=0, stream=0, **options):
        """Changes options of a group from the next step on."""
        options = {**self._options[index], **options}
        group = _group(self._rules[index], options)
        _call("fopt_set_group", self._handle, index, ctypes.byref(group), stream)
        self._options[index] = options

    def state(self, tensor):
        """The moments of a parameter, by name, as they lie in memory: they change with the next step.

        A moment in q8 or q8_64 is two, of which "..._absmax" has one float for each 256 or 64 elements.
        """
        rule = _RULES[self._rules[self._groups[tensor]]]
        views = {}
        for kind in range(_KINDS):
            view = _State()
            _call("fopt_state", self._handle, tensor, kind, ctypes.byref(view))
            if view.data:
                name = _library().fopt_state_kind_name(rule, kind).decode()
                form = next(name for name, row in _FORMATS.items() if row[0] == view.format)
                views[name] = Array(view.data, view.count, form, self.device, self)
                if view.absmax:
                    block = 64 if form == "q8_64" else 256
                    views[name + "_absmax"] = Array(view.absmax, -(-view.count // block), "f32", self.device, self)
        return views

    def get_step(self, tensor, stream=0):
        """How many steps a parameter has made."""
        step = ctypes.c_int64()
        _call("fopt_get_step", self._handle, tensor, ctypes.byref(step), stream)
        return step.value

    def set_step(self, tensor, step, stream=0):
        _call("fopt_set_step", self._handle, tensor, step, stream)

    def _check_on_cpu(self):
        if self.device != "cpu":
            raise NotImplementedError(f"the state is in memory of {self.device}: copy what state() gives by the "
                                      "means of what owns the parameters")

    def state_dict(self):
        """Step counts and a copy of the moments, as bytes. On the CPU alone; elsewhere, see state()."""
        self._check_on_cpu()
        return [
            {"step": self.get_step(i)}
            | {name: ctypes.string_at(view.pointer, view.bytes) for name, view in self.state(i).items()}
            for i in range(len(self.params))
        ]

    def load_state_dict(self, saved):
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


# ---- PyTorch -----------------------------------------------------------------------------------------------------


def _make_torch_optimizer():
    import torch

    dtypes = {name: getattr(torch, dtype) for name, (_, _, _, dtype) in _FORMATS.items()}

    def tensor_of(array, like):
        """A view of an array: with the shape and the order of dimensions of a parameter, if it has one for each."""
        if array.device == "cpu":
            memory = (ctypes.c_char * array.bytes).from_address(array.pointer)
            memory.owner = array
            flat = torch.frombuffer(memory, dtype=dtypes[array.format])
        else:
            flat = torch.as_tensor(array, device=like.device).view(dtypes[array.format])
        return flat if array.count != like.numel() else flat.as_strided(like.shape, like.stride())

    def stream_of(device):
        return torch.cuda.current_stream(device).cuda_stream if device != "cpu" else 0

    def gradient(param):
        """As the library wants it: where it lies otherwise than its parameter, a copy."""
        if param.grad is None or param.grad.stride() == param.stride() or param.numel() < 2:
            return param.grad
        return torch.empty_like(param, dtype=param.grad.dtype).copy_(param.grad)

    class TorchOptimizer(torch.optim.Optimizer):
        """A torch.optim.Optimizer that fusedopt steps, on PyTorch's current stream.

        The parameters are f32, bf16 or f16, on any devices, each with a gradient of its own type. A step takes them
        where they are then: it goes on with the state that there is when one was moved, or a group was added.

        Under torch.cuda.graph a step may be captured, after one that was not. A replay uses the gradients and the
        hyperparameters of the capture; where a scheduler has changed them since, call apply_groups() before it.
        """

        def __init__(self, params, rule="adamw", *, seed=0, threads=0, **options):
            self._create = {"rule": rule, "seed": seed, "threads": threads}
            self._parts, self._registered = {}, None
            defaults = _defaults(rule)
            for name in options.keys() - defaults.keys():
                raise TypeError(f"{rule} has no option {name!r}; it has {', '.join(defaults)}")
            super().__init__(params, {**defaults, **options})
            self._register()

        def __getstate__(self):
            self._collect()
            return {**super().__getstate__(), "_create": self._create}

        def __setstate__(self, state):
            super().__setstate__(state)
            if not hasattr(self, "_parts"):  # a copy; load_state_dict() comes here too
                self._parts, self._registered = {}, None

        def _tensors(self):
            return [param for group in self.param_groups for param in group["params"]]

        def _options(self, group):
            values = {name: group.get(name, self.defaults[name]) for name in RULES[self._create["rule"]]}
            return {name: value.item() if torch.is_tensor(value) else value for name, value in values.items()}

        def _register(self, state=None):
            """Describes the parameters to the library, unless they are as they were, and gives it their state: the
            one that is given, or the one that they had."""
            tensors = self._tensors()
            now = [(p.data_ptr(), p.shape, p.stride(), p.dtype, p.device) for p in tensors]
            now.append([len(group["params"]) for group in self.param_groups])
            if now == self._registered and state is None:
                return
            if state is None:
                self._collect()
                state = self.state
            numbers = {param: i for i, param in enumerate(tensors)}
            parts = {}
            for device in dict.fromkeys(str(param.device) for param in tensors):
                groups = []
                for group in self.param_groups:
                    here = [param for param in group["params"] if str(param.device) == device]
                    columns = {"params": here, "ids": [numbers[param] + 1 for param in here]}
                    if "param_names" in group:
                        names = dict(zip(group["params"], group["param_names"]))
                        columns["names"] = [names[param] for param in here]
                    groups.append({**self._options(group), **columns})
                optimizer = Optimizer(groups, device=device, **self._create)
                parts[device] = optimizer, [param for group in groups for param in group["params"]]
                for i, param in enumerate(parts[device][1]):
                    self._take_in(optimizer, i, param, numbers[param], state.get(param) or {})
            self._parts, self._registered = parts, now
            self._collect()

        def _take_in(self, optimizer, index, param, number, saved):
            """Copies what is saved of a parameter's state to the library."""
            given = {name: value for name, value in saved.items() if name != "step" and value is not None}
            # torch.optim.SGD counts no steps; all that matters is whether there was a first.
            step = int(saved.get("step", len(given) > 0))
            views = optimizer.state(index)
            if step == 0 or param.numel() == 0:
                return
            if given.keys() != views.keys():
                raise ValueError(f"parameter {number} keeps {', '.join(views) or 'no state'}, but is given "
                                 f"{', '.join(given) or 'none'}")
            for name in views:
                view = tensor_of(views[name], param)
                if given[name].shape != view.shape:
                    raise ValueError(f"parameter {number} has a {name} of shape {tuple(view.shape)}, but is given one "
                                     f"of {tuple(given[name].shape)}")
                view.copy_(given[name])
                if view.is_floating_point():  # the library keeps no subnormals
                    view.masked_fill_(view.abs() < torch.finfo(torch.float32).tiny, 0)
            optimizer.set_step(index, step, stream_of(optimizer.device))

        def _collect(self):
            """Brings self.state up to date: step counts, and the moments as views."""
            for optimizer, tensors in self._parts.values():
                for i, param in enumerate(tensors):
                    step = optimizer.get_step(i, stream_of(optimizer.device))
                    self.state.pop(param, None)
                    if step > 0:  # before the first there is none, as in torch.optim
                        moments = {name: tensor_of(view, param) for name, view in optimizer.state(i).items()}
                        self.state[param] = {"step": torch.tensor(float(step), dtype=torch.float64), **moments}

        def state_dict(self):
            """As torch.optim's; the moments are not copies either."""
            self._collect()
            return super().state_dict()

        def load_state_dict(self, state_dict):
            """Takes what state_dict() gave, or that of torch.optim's optimizer of the rule, unless into q8 or q8_64."""
            super().load_state_dict(state_dict)
            # PyTorch has cast the moments to their parameters' type.
            saved = [number for group in state_dict["param_groups"] for number in group["params"]]
            for group in self.param_groups:
                group.update(self._options(group))
            self._register({p: state_dict["state"].get(number) for number, p in zip(saved, self._tensors())})

        def apply_groups(self):
            """Gives the library what has changed in self.param_groups; step() does."""
            for optimizer, _ in self._parts.values():
                for i, group in enumerate(self.param_groups):
                    options = self._options(group)
                    if options == optimizer._options[i]:
                        continue
                    if optimizer.device != "cpu" and torch.cuda.is_current_stream_capturing():
                        raise RuntimeError(f"options of group {i} changed during a capture: call apply_groups() before")
                    optimizer.set_group(i, stream_of(optimizer.device), **options)

        @torch.no_grad()
        def step(self, closure=None):
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            self._register()
            self.apply_groups()
            for optimizer, tensors in self._parts.values():
                stream = stream_of(optimizer.device)
                optimizer.set_grads([gradient(param) for param in tensors], stream)
                optimizer.step(stream)
                torch.autograd.graph.increment_version([param for param in tensors if param.grad is not None])
            return loss

    TorchOptimizer.__qualname__ = "TorchOptimizer"
    return TorchOptimizer


def __getattr__(name):
    if name != "TorchOptimizer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _make_torch_optimizer())
