"""Tests of python/fusedopt.py, in TAP. Arguments: the project's folder, the shared library.

What needs nothing but Python always runs; what needs NumPy or PyTorch is skipped where there is none.
"""

import array
import copy
import ctypes
import io
import os
import pathlib
import pickle
import re
import struct
import sys
import traceback

project = pathlib.Path(sys.argv[1])
os.environ["FUSEDOPT_LIBRARY"] = sys.argv[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(project / "python"))
import fusedopt

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


def refused(exception, words, function, *arguments, **options):
    """Expects a call to be refused in these words; '*' stands for any text."""
    try:
        function(*arguments, **options)
    except exception as error:
        pattern = ".*".join(map(re.escape, words.split("*")))
        assert re.search(pattern, str(error)), f"got '{error}' want '{words}'"
        return error
    raise AssertionError(f"not refused: '{words}'")


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


# ---- PyTorch -----------------------------------------------------------------------------------------------------


def digits():
    rows = re.findall(r'^    "(\d)([A-Q]{64})"', (project / "bench" / "train" / "digits.h").read_text(), re.MULTILINE)
    assert len(rows) == 1797
    pixels = torch.tensor([[(ord(c) - ord("A")) / 16 for c in pixels] for _, pixels in rows])
    return pixels, torch.tensor([int(label) for label, _ in rows])


def network(dtype=None):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)]
    return torch.nn.Sequential(*layers).to(dtype or torch.float32)


def train(model, optimizer, steps, scheduler=None, first=0):
    """Returns the losses."""
    losses = []
    data, labels = train.data
    data = data.to(next(model.parameters()).dtype)
    for step in range(first, first + steps):
        rows = torch.arange(step * 64, step * 64 + 64) % len(data)
        loss = torch.nn.functional.cross_entropy(model(data[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(loss.item())
    return losses


def flat(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def same(model, other):
    return all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


CASES = (
    ("sgd", "SGD", {"lr": 0.2, "weight_decay": 1e-4}),
    ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5}),
    ("rmsprop", "RMSprop", {"lr": 1e-3, "weight_decay": 1e-4}),
    ("rmsprop", "RMSprop", {"lr": 1e-3, "centered": True, "momentum": 0.5, "eps": 1e-4}),
    ("adam", "Adam", {"lr": 2e-3, "weight_decay": 1e-4}),
    ("adam", "Adam", {"lr": 2e-3, "amsgrad": True, "betas": (0.8, 0.99)}),
    ("adamw", "AdamW", {"lr": 2e-3, "weight_decay": 0.05}),
)


def trains_like_torch():
    """The distance to a float64 run is that of PyTorch's own float32 run, within a factor of 2.

    Both are made of the same number of roundings to float32, nearly all of them in the gradients, which are PyTorch's
    in both. An option that was not passed on shows as a factor of over 1000: see `notices`, below.
    """
    for rule, name, options in CASES:
        models = [network(), network(), network(torch.float64)]
        ours = fusedopt.TorchOptimizer(models[0].parameters(), rule, **options)
        theirs = [getattr(torch.optim, name)(model.parameters(), **options) for model in models[1:]]
        losses = [train(*pair, 100) for pair in zip(models, [ours, *theirs])]
        truth = flat(models[2])
        off, torch_off = [(flat(model) - truth).norm().item() for model in models[:2]]
        assert off <= 2 * torch_off, f"{rule} {options}: {off:.3g} from the float64 run, PyTorch {torch_off:.3g}"
        assert losses[0][-1] < losses[0][0] / 2, f"{rule} {options}: did not learn"


def notices():
    """A learning rate wrong by a thousandth is seen by the test above."""
    models = [network(), network(), network(torch.float64)]
    optimizers = [fusedopt.TorchOptimizer(models[0].parameters(), "adam", lr=2.002e-3)]
    optimizers += [torch.optim.Adam(model.parameters(), lr=2e-3) for model in models[1:]]
    for pair in zip(models, optimizers):
        train(*pair, 100)
    off, torch_off = [(flat(model) - flat(models[2])).norm().item() for model in models[:2]]
    assert off > 100 * torch_off, (off, torch_off)


def schedulers():
    lr = torch.optim.lr_scheduler
    for make in (
        lambda o: lr.StepLR(o, 10, 0.5),
        lambda o: lr.CosineAnnealingLR(o, 30),
        lambda o: lr.OneCycleLR(o, 0.01, total_steps=60),  # of betas, too
        lambda o: lr.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, total_iters=5), lr.ExponentialLR(o, 0.9)], [5]),
    ):
        models = [network(), network(), network(torch.float64)]
        optimizers = [fusedopt.TorchOptimizer(models[0].parameters(), "adamw")]
        optimizers += [torch.optim.AdamW(model.parameters()) for model in models[1:]]
        runs = [train(model, o, 50, make(o)) for model, o in zip(models, optimizers)]
        off, torch_off = [(flat(model) - flat(models[2])).norm().item() for model in models[:2]]
        assert off <= 2 * torch_off, (off, torch_off)
        assert optimizers[0].param_groups[0]["lr"] == optimizers[1].param_groups[0]["lr"]


def torch_state_dict():
    """A resumed run is the same to the bit, through memory and through a file, for every state."""
    for rule, _, options in CASES:
        for form in ("f32", "bf16", "q8"):
            if form == "q8" and options.get("centered"):
                continue  # which the library refuses
            options = {**options, "state_format": form, "seed": 3}
            model = network()
            optimizer = fusedopt.TorchOptimizer(model.parameters(), rule, **options)
            train(model, optimizer, 10)
            file = io.BytesIO()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
            train(model, optimizer, 10, first=10)
            file.seek(0)
            saved = torch.load(file)
            resumed = network()
            resumed.load_state_dict(saved["model"])
            second = fusedopt.TorchOptimizer(resumed.parameters(), rule, **{**options, "lr": 1.0})
            second.load_state_dict(saved["optimizer"])
            for number, state in second.state_dict()["state"].items():
                want = saved["optimizer"]["state"][number]
                assert state.keys() == want.keys() and all(torch.equal(state[k], want[k]) for k in want)
                assert state["step"] == 10
                want = {"f32": torch.float32, "bf16": torch.bfloat16, "q8": torch.uint8}[form]
                assert all(v.dtype == (torch.float32 if k.endswith("_absmax") else want)
                           for k, v in state.items() if k != "step")
            train(resumed, second, 10, first=10)
            assert same(model, resumed), (rule, options)


def torch_checkpoints():
    """Training goes on from torch.optim's checkpoint, and the other way round."""
    for rule, name, options in CASES:
        models = [network(), network(), network(torch.float64)]
        makers = [lambda p: fusedopt.TorchOptimizer(p, rule, **options)]
        makers += [lambda p: getattr(torch.optim, name)(p, **options)] * 2
        optimizers = [make(model.parameters()) for make, model in zip(makers, models)]
        for pair in zip(models, optimizers):
            train(*pair, 20)
        saved = [copy.deepcopy(o.state_dict()) for o in optimizers]
        new = [makers[0](models[1].parameters()), makers[1](models[0].parameters()), optimizers[2]]
        new[0].load_state_dict(saved[1])  # ours goes on with theirs
        for group in saved[0]["param_groups"]:
            group.update({k: v for k, v in new[1].param_groups[0].items() if k != "params"})
        new[1].load_state_dict(saved[0])
        for model, o in ((models[1], new[0]), (models[0], new[1]), (models[2], new[2])):
            train(model, o, 20, first=20)
        reference = network()
        optimizer = makers[1](reference.parameters())
        train(reference, optimizer, 40)
        truth = flat(models[2])
        torch_off = (flat(reference) - truth).norm().item()
        for model in models[:2]:
            off = (flat(model) - truth).norm().item()
            assert off <= 2 * torch_off, (rule, options, off, torch_off)
    model = network()
    optimizer = fusedopt.TorchOptimizer(model.parameters(), "adam")
    train(model, optimizer, 1)
    other = fusedopt.TorchOptimizer(model.parameters(), "adam", amsgrad=True)
    saved = optimizer.state_dict()
    saved["param_groups"] = other.state_dict()["param_groups"]
    refused(ValueError, "parameter 0 keeps exp_avg, exp_avg_sq, max_exp_avg_sq, but is given", other.load_state_dict,
            saved)
    assert not other.state_dict()["state"]
    quantized = fusedopt.TorchOptimizer(model.parameters(), "adam", state_format="q8")
    saved = optimizer.state_dict()
    saved["param_groups"][0]["state_format"] = "q8"
    refused(ValueError, "keeps exp_avg, exp_avg_absmax*but is given exp_avg, exp_avg_sq", quantized.load_state_dict,
            saved)


def torch_subnormals():
    w = torch.nn.Parameter(torch.ones(2))
    w.grad = torch.ones(2)
    theirs, ours = torch.optim.Adam([w]), fusedopt.TorchOptimizer([w], "adam")
    theirs.step()
    theirs.state[w]["exp_avg_sq"].copy_(torch.tensor([1e-40, 1e-30]))
    ours.load_state_dict(theirs.state_dict())
    assert ours.state[w]["exp_avg_sq"].tolist() == torch.tensor([0, 1e-30]).tolist()


def torch_closure_and_hooks():
    w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = fusedopt.TorchOptimizer([w], "sgd", lr=0.25)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 5 and w.tolist() == [0.5, 1] and calls == [1]
    version = w._version
    optimizer.step()
    assert w._version > version  # so that autograd sees that what it saved is gone
    optimizer.zero_grad()
    assert w.grad is None
    optimizer.step()
    assert w.tolist() == [0, 0] and optimizer.state_dict()["state"][0]["step"] == 2


def torch_groups_moves_and_copies():
    model, other = network(), network()
    layers, others = list(model), list(other)
    ours = fusedopt.TorchOptimizer([{"params": layers[0].named_parameters(), "lr": 0.01}], "adam", lr=0.02)
    theirs = torch.optim.Adam([{"params": others[0].named_parameters(), "lr": 0.01}], lr=0.02)
    train(model, ours, 5), train(other, theirs, 5)
    ours.add_param_group({"params": layers[2].named_parameters(), "weight_decay": 0.1})
    theirs.add_param_group({"params": others[2].named_parameters(), "weight_decay": 0.1})
    train(model, ours, 5, first=5), train(other, theirs, 5, first=5)
    assert [state["step"].item() for state in ours.state_dict()["state"].values()] == [10, 10, 5, 5]
    for p in model.parameters():
        p.data = p.data.clone()  # as Module.to() does
    train(model, ours, 5, first=10), train(other, theirs, 5, first=10)
    assert (flat(model) - flat(other)).norm() < 1e-4 * flat(other).norm()
    for twin in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        copied, optimizer = twin((model, ours))
        before = flat(model).clone()
        train(copied, optimizer, 5, first=15)
        assert torch.equal(flat(model), before)
    train(model, ours, 5, first=15)
    assert same(model, copied)
    assert ours.state_dict()["param_groups"][1]["param_names"] == ["weight", "bias"]


def torch_layouts_and_types():
    torch.manual_seed(2)
    for dtype, layout in ((torch.float32, torch.channels_last), (torch.bfloat16, torch.contiguous_format),
                          (torch.float16, torch.channels_last)):
        w = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(dtype).contiguous(memory_format=layout))
        want = w.detach().float().clone()
        optimizer = fusedopt.TorchOptimizer([w], "sgd", lr=0.5, momentum=0.5)
        buffer = 0
        for _ in range(2):
            w.grad = torch.randn(4, 3, 5, 5).to(dtype)  # contiguous, whatever w is
            buffer = w.grad.float() + 0.5 * buffer
            want = (want - 0.5 * buffer).to(dtype).float()
            optimizer.step()
        assert (w.float() - want).abs().max() <= want.abs().max() * torch.finfo(dtype).eps
        assert torch.allclose(optimizer.state_dict()["state"][0]["momentum_buffer"], buffer, rtol=1e-6, atol=1e-6)
    create = fusedopt.TorchOptimizer
    refused(TypeError, "torch.float64: must be", create, [torch.zeros(1, dtype=torch.float64)])
    refused(ValueError, "not dense", create, [torch.zeros(2, 4)[:, :2]])
    refused(TypeError, "adam has no option 'momentum'", create, [torch.zeros(1)], "adam", momentum=0.5)
    refused(fusedopt.Error, "group 0: lr is -1", create, [torch.zeros(1)], "adam", lr=-1)
    assert create([torch.zeros(0)], "adam").state_dict()["state"] == {}


# ---- TAP ---------------------------------------------------------------------------------------------------------

TESTS = (
    (None, "the README's example, with Python's own arrays", readme_example),
    (None, "each rule and option does what PyTorch did (golden)", golden),
    (None, "a state_dict resumes to the bit", state_dict),
    (None, "groups, gradients that are not there", groups_and_gradients),
    (None, "16-bit formats by address", buffers),
    (None, "errors", errors),
    ("NumPy", "arrays", numpy_arrays),
    ("PyTorch", "digits, trained like by torch.optim", trains_like_torch),
    ("PyTorch", "a learning rate wrong by a thousandth is noticed", notices),
    ("PyTorch", "schedulers", schedulers),
    ("PyTorch", "a state_dict resumes to the bit", torch_state_dict),
    ("PyTorch", "torch.optim's checkpoints, both ways", torch_checkpoints),
    ("PyTorch", "a checkpoint's subnormal moments become zeros", torch_subnormals),
    ("PyTorch", "closure, hooks, missing gradients", torch_closure_and_hooks),
    ("PyTorch", "added groups, moved parameters, copies", torch_groups_moves_and_copies),
    ("PyTorch", "memory layouts and types", torch_layouts_and_types),
)

there = {None: True, "NumPy": numpy, "PyTorch": torch}
if torch:
    torch.set_num_threads(1)
    train.data = digits()
failed = 0
for number, (needs, text, test) in enumerate(TESTS, 1):
    text = f"{number} - Python: " + (f"{needs}: {text}" if needs else text)
    if not there[needs]:
        print(f"ok {text} # SKIP no {needs}")
        continue
    try:
        test()
        print(f"ok {text}")
    except Exception:
        failed += 1
        print(f"not ok {text}")
        print("# " + traceback.format_exc().replace("\n", "\n# "))
print(f"1..{len(TESTS)}")
sys.exit(failed > 0)
