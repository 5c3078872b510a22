"""Tests of the Python package but for PyTorch, in TAP. Arguments: the project's folder, the shared library.

What needs nothing but Python always runs; what needs NumPy is skipped where there is none.
"""

import array
import copy
import ctypes
import mmap
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile

project = pathlib.Path(sys.argv[1])
os.environ["FUSEDOPT_LIBRARY"] = sys.argv[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(project / "python"))
import fusedopt
from checks import refused, run
from fusedopt.arrays import as_array

try:
    import numpy
except ImportError:
    numpy = None

# ---- Python alone ------------------------------------------------------------------------------------------------


def floats(*values):
    return array.array("f", values)


def readme_example():
    w, g = floats(0, 1, 2, 10), floats(0, 0, 0, 0)
    optimizer = fusedopt.Optimizer([w], [g], rule="adamw", lr=0.1, weight_decay=0)
    for _ in range(500):
        for i in range(4):
            g[i] += 2 * (w[i] - 3)
        optimizer.step()
        optimizer.zero_grads()
    assert [f"{x:.3f}" for x in w] == ["3.000"] * 4, w
    assert list(g) == [0] * 4 and optimizer.get_step(0) == 500


def words(text, kind):
    return [struct.unpack(kind, bytes.fromhex(word))[0] for word in text.split()]


def golden():
    """Every option of every rule means what it means to PyTorch.

    60 steps of at most 3 roundings each, of 6e-8 relative to all that the element has been and has moved: 1e-5. An
    option wrong by a thousandth is off by a hundred times as much (test_golden.c, test `tightness`).
    """
    files = sorted((project / "tests" / "golden").glob("*.txt"))
    assert files
    for file in files:
        lines = [line.partition(" ") for line in file.read_text().splitlines() if not line.startswith("#")]
        head = {key: value for key, _, value in lines[:lines.index(("steps", " ", "60"))]}
        has = fusedopt.RULES[head["rule"]]
        options = {flag: True for flag in head["flags"].split()}
        if "betas" in has:
            options["betas"] = float.fromhex(head["beta1"]), float.fromhex(head["beta2"])
        for name in ("eps", "momentum", "dampening", "alpha"):
            if name in has:
                options[name] = float.fromhex(head[name])
        optimizer, path = None, []
        for key, _, value in lines:
            if key == "start":
                w = floats(*words(value, ">f"))
                g, last, reach = floats(*[0] * len(w)), list(w), [abs(x) for x in w]
                # So that momentum is there from the first step on, whatever this learning rate is.
                optimizer = fusedopt.Optimizer([w], [g], head["rule"], **options)
            elif key in ("lr", "weight_decay"):
                optimizer.set_group(**{key: float.fromhex(value)})
            elif key == "grad":
                g[:] = floats(*words(value, ">f"))
                optimizer.step()
                reach = [r + abs(new - old) for r, new, old in zip(reach, w, last)]
                last = list(w)
            elif key == "f64":
                for i, (got, want, r) in enumerate(zip(w, words(value, ">d"), reach)):
                    assert abs(got - want) <= 1e-5 * r, f"{file.name}: element {i}: got {got} want {want}, reach {r}"


def gradient(i, step):
    return ((i * 7919 + step * 104729) % 2003 / 1001 - 1) * 10 ** ((i + step) % 5 - 3)


def run_steps(optimizer, grads, first, last):
    for step in range(first, last):
        for g in grads:
            for i in range(len(g)):
                g[i] = gradient(i, step)
        optimizer.step()


def state_dict():
    for options in (
        {"rule": "sgd"},
        {"rule": "sgd", "momentum": 0.9, "nesterov": True},
        {"rule": "rmsprop", "centered": True, "momentum": 0.5},
        {"rule": "adam", "amsgrad": True, "state_format": "bf16"},
        {"rule": "adamw", "state_format": {"exp_avg": "bf16"}},
        {"rule": "adamw", "state_format": "q8"},
        {"rule": "sgd", "momentum": 0.9, "state_format": "q8"},
    ):
        sizes = (5, 300)
        params, grads = [[floats(*range(n)) for n in sizes] for _ in range(2)]
        first = fusedopt.Optimizer(params, grads, seed=7, **options)
        run_steps(first, grads, 0, 5)
        saved, resumed = first.state_dict(), [copy.copy(w) for w in params]
        run_steps(first, grads, 5, 9)
        second = fusedopt.Optimizer(resumed, grads, seed=7, **options)
        second.load_state_dict(saved)
        assert second.state_dict() == saved
        run_steps(second, grads, 5, 9)
        assert resumed == params and second.state_dict() == first.state_dict(), options
        assert all(tensor["step"] == 9 for tensor in second.state_dict())
    one = fusedopt.Optimizer([floats(1)], rule="adam")
    refused(ValueError, "tensor 0 keeps {}*exp_avg", fusedopt.Optimizer([floats(1)], rule="sgd").load_state_dict,
            one.state_dict())


def groups_and_gradients():
    w = [floats(1, 1) for _ in range(3)]
    g = [floats(1, 2) for _ in range(3)]
    optimizer = fusedopt.Optimizer(
        [{"params": w[:2], "grads": [g[0], None], "lr": 0.5}, {"params": w[2:], "grads": g[2:], "rule": "adam"}],
        rule="sgd", lr=0.25)
    optimizer.step()
    assert list(w[0]) == [0.5, 0] and list(w[1]) == [1, 1] and abs(w[2][0] - 0.75) < 1e-6, w
    assert [optimizer.get_step(i) for i in range(3)] == [1, 0, 1]
    assert not optimizer.state(0) and sorted(optimizer.state(2)) == ["exp_avg", "exp_avg_sq"]
    optimizer.set_grads([None, g[1], None])
    optimizer.set_group(0, lr=1)
    optimizer.step()
    assert list(w[0]) == [0.5, 0] and list(w[1]) == [0, -1] and [optimizer.get_step(i) for i in range(3)] == [1, 1, 1]
    moments = (ctypes.c_float * 2).from_address(optimizer.state(2)["exp_avg"].pointer)
    assert abs(moments[1] - 0.2) < 1e-7, moments[1]
    fusedopt.Optimizer([])


def buffers():
    halves = (ctypes.c_uint16 * 2)(0x3C00, 0x4000)  # 1 and 2 in f16
    g = (ctypes.c_float * 2)(1, 1)
    optimizer = fusedopt.Optimizer([fusedopt.Array(ctypes.addressof(halves), 2, "f16")], [g], "sgd", lr=0.5)
    optimizer.step()
    assert list(halves) == [0x3800, 0x3E00], list(halves)
    words = array.array("H", [0x3F80, 0x4000])  # 1 and 2 in bf16
    optimizer = fusedopt.Optimizer([fusedopt.Array(words.buffer_info()[0], 2, "bf16", owner=words)], [g], "sgd", lr=0.5)
    optimizer.step()
    assert list(words) == [0x3F00, 0x3FC0], list(words)


def errors():
    w, g = floats(1, 2), floats(1, 2)
    create = fusedopt.Optimizer
    error = refused(fusedopt.Error, "group 0: lr is -1, must be in [0, 1e+09]", create, [w], [g], lr=-1)
    assert error.status == 1
    group = {"params": [w], "names": ["layer.weight"]}
    refused(fusedopt.Error, "tensor 0 'layer.weight': grad is 0x*overlaps the param of tensor 0", create,
            [{**group, "grads": [w]}])
    refused(TypeError, "sgd has no option 'betas'; it has lr,", create, [w], rule="sgd", betas=(0, 0))
    refused(ValueError, "rule is 'sdg', must be one of sgd,", create, [w], rule="sdg")
    refused(ValueError, "state_format has 'exp_avg': 'f8'", create, [w], state_format={"exp_avg": "f8"})
    refused(ValueError, "state_format has 'square_avg'", create, [w], state_format={"square_avg": "f32"})
    refused(fusedopt.Error, "group 0: state_format of exp_avg is f16", create, [w], state_format="f16")
    refused(ValueError, "2 elements, but its gradient 1", create, [w], [floats(1)])
    refused(TypeError, "array of format 'd': must be", create, [array.array("d", [1])])
    refused(TypeError, "bytes of format 'B': must be", create, [b"1234"])
    refused(ValueError, "zip", create, [w], [g, g])
    refused(ValueError, "device is 'tpu'", create, [w], device="tpu")
    refused(ValueError, "memory of cuda:1, not of cpu", create, [w, fusedopt.Array(64, 1, device="cuda:1")])
    refused(ValueError, "format is 'q4'", fusedopt.Array, 64, 1, "q4")
    optimizer = create([w], [g])
    refused(ValueError, "2 gradients for 1", optimizer.set_grads, [g, g])
    refused(ValueError, "gradient 0 has 1 elements of f32, must have 2 of f32", optimizer.set_grads, [floats(1)])
    refused(fusedopt.Error, "group 0: beta1 is 2", optimizer.set_group, betas=(2, 0))
    refused(fusedopt.Error, "fopt_get_step: tensor is 3, must be below tensor_count, which is 1", optimizer.get_step, 3)


class Described:
    """An array that says of itself what a test has it say."""

    def __init__(self, **interfaces):
        self.__dict__.update(interfaces)


def read_only():
    w, g = floats(1, 2), bytes(floats(1, 2))
    optimizer = fusedopt.Optimizer([w], [memoryview(g).cast("f")], "sgd", lr=1)
    optimizer.step()
    assert list(w) == [0, 0]
    refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
    assert g == bytes(floats(1, 2))
    optimizer.set_grads([floats(1, 2)])
    optimizer.zero_grads()
    optimizer.set_grads([memoryview(g).cast("f")])
    refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
    refused(ValueError, "the parameter at 0x*is read-only", fusedopt.Optimizer, [memoryview(g).cast("f")])
    with open(pathlib.Path(__file__), "rb") as file, mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ) as page:
        w = floats(*[0] * 1024)
        view = memoryview(page).cast("f")
        optimizer = fusedopt.Optimizer([w], [view], "sgd", lr=1)
        optimizer.step()
        assert w[0] == -view[0] and w[1023] == -view[1023]
        refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
        del optimizer, view


def protocols():
    w = floats(1, 2, 3, 4)
    pointer = w.buffer_info()[0]

    def interface(**changes):
        return {"shape": (2, 2), "typestr": "<f4", "data": (pointer, False), "strides": None, "version": 3, **changes}

    array = as_array(Described(__array_interface__=interface()))
    assert (array.pointer, array.count, array.format, array.device) == (pointer, 4, "f32", "cpu")
    array = as_array(Described(__array_interface__=interface(strides=(8, 4), data=(pointer, True))))
    assert array.read_only
    refused(ValueError, "shape (2, 2) with strides (1.0, 2.0) is not contiguous", as_array,
            Described(__array_interface__=interface(strides=(4, 8))))
    assert as_array(Described(__array_interface__=interface(shape=(0, 3), strides=(99, 7)))).count == 0
    assert as_array(Described(__array_interface__=interface(shape=(1, 4), strides=(99, 4)))).count == 4
    refused(TypeError, "array of >f4: must be", as_array, Described(__array_interface__=interface(typestr=">f4")))
    array = as_array(Described(__array_interface__=interface(typestr="<V2"), dtype="bfloat16"))
    assert array.format == "bf16"
    array = as_array(Described(__cuda_array_interface__=interface(), device=Described(id=1)))
    assert array.device == "cuda:1"
    refused(ValueError, "memory of cuda:1, not of cpu", fusedopt.Optimizer, [w], [array])
    refused(ValueError, "gradient 0 is in memory of cuda:1", fusedopt.Optimizer([w], [w[:]]).set_grads, [array])
    strides = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}
    for dtype, form in strides.items():
        tensor = Described(data_ptr=lambda: pointer, layout="torch.strided", dtype=dtype, shape=(2, 2), device="cpu",
                           stride=lambda: (1, 2), numel=lambda: 4)
        assert as_array(tensor).format == form
    tensor.stride = lambda: (1, 4)
    refused(ValueError, "strides (1, 4) is not dense", as_array, tensor)
    tensor.layout = "torch.sparse_coo"
    refused(TypeError, "a torch.sparse_coo tensor", as_array, tensor)
    assert as_array((ctypes.c_float * 4)()).count == 4  # whose format is "<f"


def command():
    environment = {**os.environ, "PYTHONPATH": str(project / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "fusedopt"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = text.stdout.splitlines()
    assert lines[0] == f"fusedopt {fusedopt.version()}" and lines[1].split(None, 1) == ["library", sys.argv[2]], lines
    assert any(line.startswith("cpu: ") for line in lines) and "(chosen)" in text.stdout
    assert any(line.startswith("cuda") for line in lines) and not text.stderr, text


def fork():
    """The default threads, which are gone in a child."""
    w, g = ctypes.c_float * 100_000, ctypes.c_float * 100_000

    def train():
        params, grads = w(), g()
        for i in range(0, 100_000, 1000):
            grads[i] = i
        optimizer = fusedopt.Optimizer([params], [grads], "adam")
        for _ in range(3):
            optimizer.step()
        return bytes(params)

    want = train()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits for ever
        os._exit(0 if train() == want else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---- NumPy -------------------------------------------------------------------------------------------------------


def numpy_arrays():
    w = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    want = w.copy()
    g = numpy.ones_like(w, dtype=numpy.float16)
    g.flags.writeable = False
    optimizer = fusedopt.Optimizer([w], [g], rule="sgd", momentum=0.5, lr=0.5)
    optimizer.step()
    optimizer.step()
    assert (w == want - 0.5 - 0.75).all(), w
    moments = numpy.asarray(optimizer.state(0)["momentum_buffer"])
    assert moments.dtype == numpy.float32 and (moments == 1.5).all()
    moments[:] = 0  # a view
    del optimizer  # which keeps what it views
    assert (moments == 0).all()
    refused(ValueError, "not contiguous", fusedopt.Optimizer, [w[:, :2]])
    refused(TypeError, "<f8: must be", fusedopt.Optimizer, [w.astype(float)])
    refused(ValueError, "read-only", fusedopt.Optimizer, [g])
    view = fusedopt.Optimizer([w.astype(numpy.float16)], state_format="bf16").state(0)["exp_avg"]
    assert numpy.asarray(view).dtype == numpy.uint16
    w = numpy.ones(300, dtype=numpy.float32)
    optimizer = fusedopt.Optimizer([w], [w * 2], rule="sgd", momentum=0.5, state_format="q8")
    optimizer.step()
    views = {name: numpy.asarray(view) for name, view in optimizer.state(0).items()}
    assert views["momentum_buffer"].dtype == numpy.uint8 and views["momentum_buffer"].shape == (300,)
    assert abs(views["momentum_buffer_absmax"] - 2 / 0.99296875).max() < 1e-6


def numpy_read_only():
    with tempfile.TemporaryDirectory() as folder:
        numpy.arange(2048, dtype=numpy.float32).tofile(f"{folder}/g")
        g = numpy.memmap(f"{folder}/g", numpy.float32, mode="r")
        w = numpy.zeros(2048, numpy.float32)
        optimizer = fusedopt.Optimizer([w], [g], "sgd", lr=1)
        optimizer.step()
        assert (w == -g).all()
        refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
        refused(ValueError, "read-only", fusedopt.Optimizer, [g])
        del optimizer, g
    g = numpy.ones(4, numpy.float32)
    g.flags.writeable = False
    optimizer = fusedopt.Optimizer([g.copy()], [g], "sgd")
    refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
    assert (g == 1).all()
    view = memoryview(numpy.frombuffer(bytearray(9), numpy.float32, 2, offset=1))
    assert view.format == "=f"  # of what is not aligned
    assert as_array(view).count == 2


class ByDlpack:
    """An array that offers DLPack alone, as JAX's do; an old producer knows no version."""

    def __init__(self, array, old=False):
        self.array, self.old = array, old

    def __dlpack__(self, **options):
        if self.old and options:
            raise TypeError("unexpected keyword argument")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def dlpack():
    w, g = numpy.zeros((3, 4), numpy.float32), numpy.arange(12, dtype=numpy.float16).reshape(3, 4)
    optimizer = fusedopt.Optimizer([ByDlpack(w)], [ByDlpack(g, old=True)], "sgd", lr=1)
    count = sys.getrefcount(g)
    optimizer.step()
    assert (w == -g).all()
    optimizer.set_grads([None])
    assert sys.getrefcount(g) < count  # what a capsule held is given back
    refused(ValueError, "with strides (1, 4) is not contiguous", fusedopt.Optimizer, [ByDlpack(w.T)])
    refused(TypeError, "a ByDlpack of DLPack's type 2, 64 bits", fusedopt.Optimizer, [ByDlpack(w.astype(float))])
    g.flags.writeable = False
    try:
        g.__dlpack__(max_version=(1, 0))
    except (BufferError, TypeError):
        return  # an older NumPy does not export read-only arrays
    optimizer = fusedopt.Optimizer([w], [ByDlpack(g)], "sgd")
    optimizer.step()
    refused(ValueError, "gradient 0 is read-only", optimizer.zero_grads)
    refused(ValueError, "read-only", fusedopt.Optimizer, [ByDlpack(g)])


# ---- TAP ---------------------------------------------------------------------------------------------------------

no_numpy = None if numpy else "no NumPy"
no_dlpack = no_numpy or (None if hasattr(numpy.ndarray, "__dlpack__") else "a NumPy without DLPack")
run("Python", (
    ("the README's example, with Python's own arrays", readme_example, None),
    ("each rule and option does what PyTorch did (golden)", golden, None),
    ("a state_dict resumes to the bit", state_dict, None),
    ("groups, gradients that are not there", groups_and_gradients, None),
    ("16-bit formats by address", buffers, None),
    ("read-only memory is read, and never written", read_only, None),
    ("arrays as their protocols describe them", protocols, None),
    ("errors", errors, None),
    ("python -m fusedopt", command, None),
    ("a child of fork makes steps", fork, None),
    ("NumPy: arrays", numpy_arrays, no_numpy),
    ("NumPy: read-only arrays and files", numpy_read_only, no_numpy),
    ("NumPy: DLPack", dlpack, no_dlpack),
))
