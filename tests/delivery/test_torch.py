"""Tests of fusedopt.torch, in TAP: what torch.optim does on the same gradients, it does. Arguments: the project's
folder, the shared library, and a seed or none.

Where nothing else is said, parameters and moments may differ from torch.optim's by what PyTorch itself allows between
its own implementations: each step rounds at other places.
"""

import contextlib
import copy
import gc
import io
import os
import pathlib
import pickle
import random
import re
import signal
import sys
import warnings
import weakref
from collections import defaultdict

project = pathlib.Path(sys.argv[1])
os.environ["FUSEDOPT_LIBRARY"] = sys.argv[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(project / "python"))
import torch
from torch.nn import Parameter

import fusedopt
import fusedopt.torch as ours
from checks import refused, run

theirs = torch.optim
torch.set_num_threads(1)

CASES = (
    ("SGD", {"lr": 0.2, "weight_decay": 1e-4}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("RMSprop", {"lr": 1e-3, "weight_decay": 1e-4}),
    ("RMSprop", {"lr": 1e-3, "centered": True, "momentum": 0.5, "eps": 1e-4}),
    ("Adam", {"lr": 2e-3, "weight_decay": 1e-4}),
    ("Adam", {"lr": 2e-3, "amsgrad": True, "betas": (0.8, 0.99)}),
    ("AdamW", {"lr": 2e-3, "weight_decay": 0.05}),
)


def random_tensor(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype)


def close(got, want, what=""):
    """Compares tensors, and whatever has them, as PyTorch's tests compare two implementations of an optimizer."""
    if isinstance(want, torch.Tensor):
        # Step counts are of another type, beyond 2^24 too.
        torch.testing.assert_close(got.detach().to(want.dtype), want.detach(), rtol=1e-4, atol=1e-5,
                                   msg=lambda message: f"{what}: {message}")
    elif isinstance(want, dict):
        assert set(want) <= set(got), f"{what}: {set(got)} lacks some of {set(want)}"
        for key in want:
            close(got[key], want[key], f"{what} {key}")
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want), what
        for i, pair in enumerate(zip(got, want)):
            close(*pair, f"{what} {i}")
    else:
        assert got == want, f"{what}: got {got} want {want}"


def state_of(optimizer, params):
    return [{key: value for key, value in optimizer.state.get(p, {}).items() if value is not None} for p in params]


def both(scene, *arguments):
    """Plays a scene, a function of a module of optimizers that returns tensors, with ours and theirs, and compares."""
    results = []
    for module in (ours, theirs):
        torch.manual_seed(1)
        results.append(scene(module, *arguments))
    close(*results, f"{scene.__name__} {arguments}")


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def step(optimizer, *pairs):
    """Makes a step with these gradients of these parameters."""
    for param, grad in pairs:
        param.grad = grad
    optimizer.step()


# ---- A. state is state -------------------------------------------------------------------------------------------


def state_can_be_read():
    def scene(module, name, options):
        params = [Parameter(random_tensor(7, 5)), Parameter(random_tensor(300)), Parameter(random_tensor(3))]
        optimizer = getattr(module, name)(params, **options)
        seen = [len(optimizer.state)]
        for i in range(6):
            for p in params:
                p.grad = random_tensor(*p.shape)
            if i < 3:
                params[1].grad = None
            optimizer.step()
            seen += [len(optimizer.state), copy.deepcopy(state_of(optimizer, params)), copy.deepcopy(params)]
        return seen

    for name, options in CASES:
        both(scene, name, options)


def state_moves_to_a_grown_parameter():
    def scene(module, name):
        w = Parameter(torch.zeros(2))
        optimizer = getattr(module, name)([w], lr=0.01)
        for _ in range(20):
            step(optimizer, (w, torch.tensor([1.0, -1.0])))
        state = optimizer.state.get(w)
        grown = Parameter(torch.cat([w.detach(), torch.zeros(4)]))
        del optimizer.state[w]
        optimizer.param_groups[0]["params"][0] = grown
        optimizer.state[grown] = {key: value if key == "step" else torch.cat([value, torch.zeros(4)])
                                  for key, value in state.items()}
        for _ in range(4):
            step(optimizer, (grown, torch.tensor([1.0, -1.0, 1.0, 1.0, 0.3, -0.3])))
        optimizer.state_dict()
        return grown.detach(), state_of(optimizer, [grown]), len(optimizer.state)

    both(scene, "Adam")
    both(scene, "AdamW")


def state_can_be_changed():
    def clear(optimizer, w):
        optimizer.state.clear()

    def replace(optimizer, w):
        optimizer.state = defaultdict(dict)

    def zero(optimizer, w):
        for state in optimizer.state.values():
            for key, value in state.items():
                value.zero_() if key != "step" else None

    def delete(optimizer, w):
        del optimizer.state[w]

    def other_tensors(optimizer, w):
        optimizer.state[w].update({key: value * 2 for key, value in optimizer.state[w].items() if key != "step"})

    def swap(optimizer, w):
        state = optimizer.state[w]
        names = sorted(key for key in state if key != "step")
        if len(names) > 1:
            state[names[0]], state[names[1]] = state[names[1]].clone(), state[names[0]].abs()

    def data(optimizer, w):
        for key, value in optimizer.state[w].items():
            value.data = value.data + 1 if key != "step" else value.data

    def transpose(optimizer, w):
        for key, value in optimizer.state[w].items():
            value.t_() if value.dim() == 2 else None

    def step_tensor(optimizer, w):
        if "step" in optimizer.state[w]:
            optimizer.state[w]["step"] = torch.tensor(3.0)

    def step_in_place(optimizer, w):
        if "step" in optimizer.state[w]:
            optimizer.state[w]["step"] += 100

    def scene(module, name, options, change):
        w, other = Parameter(random_tensor(4, 4)), Parameter(random_tensor(3))
        optimizer = getattr(module, name)([w, other], **options)
        for i in range(8):
            if i == 5:
                change(optimizer, w)
            step(optimizer, (w, random_tensor(4, 4)), (other, random_tensor(3)))
        return w.detach(), other.detach(), [{k: v for k, v in state.items() if name != "SGD" or k != "step"}
                                            for state in state_of(optimizer, [w, other])]

    for change in (clear, replace, zero, delete, other_tensors, swap, data, transpose, step_tensor, step_in_place):
        for name, options in CASES:
            if change in (swap, data) and options.get("centered"):
                continue  # the root of a negative number, to torch.optim
            if "momentum" in options or name != "SGD":
                both(scene, name, options, change)


def what_holds_a_moment_stays():
    """Who has a reference to a moment, or put one there, sees it change."""
    w = Parameter(torch.zeros(4))
    optimizer = ours.Adam([w])
    step(optimizer, (w, torch.ones(4)))
    held = dict(optimizer.state[w])
    mine = optimizer.state[w]["exp_avg"] = torch.full((4,), 0.5)
    step(optimizer, (w, torch.ones(4)))
    assert optimizer.state[w]["exp_avg"] is mine and abs(mine[0].item() - 0.55) < 1e-6
    assert held["step"].item() == 2 and held["exp_avg_sq"] is optimizer.state[w]["exp_avg_sq"]


def step_counts_are_exact():
    w = Parameter(torch.zeros(1))
    optimizer = ours.Adam([w])
    step(optimizer, (w, torch.ones(1)))
    optimizer.state[w]["step"].fill_(2**24)
    step(optimizer, (w, torch.ones(1)))
    assert optimizer.state[w]["step"].item() == 2**24 + 1
    optimizer.state[w]["step"].fill_(2.5)
    refused(ValueError, "parameter 0 of group 0: its step is 2.5", optimizer.step)
    optimizer.state[w]["step"].fill_(-1)
    refused(fusedopt.Error, "step is -1", optimizer.step)
    del optimizer.state[w]["exp_avg"]
    refused(KeyError, "parameter 0 of group 0: its state has no exp_avg", optimizer.step)
    optimizer.state[w]["exp_avg"] = torch.zeros(2)
    refused(ValueError, "has the shape (1,), but its exp_avg (2,)", optimizer.step)


# ---- B. what a parameter is --------------------------------------------------------------------------------------


def parameters_can_change():
    def replaced(w, optimizer):
        new = Parameter(w.detach().clone())
        optimizer.param_groups[0]["params"][0] = new
        optimizer.state[new] = optimizer.state.pop(w, {})
        return new

    def moved(w, optimizer):
        w.data = w.data.clone()

    def transposed(w, optimizer):
        w.data = w.data.t()

    def transposed_in_place(w, optimizer):
        w.grad = None
        with torch.no_grad():
            w.t_()

    def transposed_copy(w, optimizer):
        w.data = w.data.t().contiguous()

    def holey(w, optimizer):
        w.data = torch.zeros(6, 12)[:, ::2].copy_(w.data)

    def of_half_precision(w, optimizer):
        w.data = w.data.bfloat16()
        w.grad = None
        w.grad_dtype = None

    def frozen(w, optimizer):
        w.requires_grad_(False)

    def scene(module, name, options, change):
        w, other = Parameter(random_tensor(6, 6)), Parameter(random_tensor(3))
        optimizer = getattr(module, name)([w, other], **options)
        for i in range(8):
            if i == 4:
                new = change(w, optimizer)
                w = w if new is None else new
            if i == 6:
                w.requires_grad_(True)
            step(optimizer, (w, random_tensor(6, 6)), (other, random_tensor(3)))
        return w.detach().float(), [v for k, v in state_of(optimizer, [w])[0].items() if k in ("exp_avg", "square_avg")]

    for change in (replaced, moved, transposed, transposed_in_place, transposed_copy, holey, frozen):
        for name, options in CASES:
            both(scene, name, options, change)
    both(scene, "Adam", {"lr": 0.5}, of_half_precision)


def any_strides():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for layout in (torch.channels_last, torch.contiguous_format):
            w = Parameter(torch.randn(4, 3, 5, 5).to(dtype).contiguous(memory_format=layout))
            want, buffer = w.detach().float().clone(), 0
            optimizer = ours.SGD([w], lr=0.5, momentum=0.5)
            for grad_layout in (torch.contiguous_format, torch.channels_last):
                w.grad = torch.randn(4, 3, 5, 5).to(dtype).contiguous(memory_format=grad_layout)
                buffer = w.grad.float() + 0.5 * buffer
                want = (want - 0.5 * buffer).to(dtype).float()
                optimizer.step()
            assert (w.float() - want).abs().max() <= want.abs().max() * torch.finfo(dtype).eps
            close(optimizer.state[w]["momentum_buffer"], buffer)

    def scene(module, shape, index):
        w = Parameter(random_tensor(*shape)[index])
        optimizer = module.Adam([w], lr=0.1)
        for _ in range(3):
            step(optimizer, (w, random_tensor().expand(w.shape)))
        return w.detach(), state_of(optimizer, [w])

    for shape, index in (((6, 4, 2), (..., 0)), ((9,), slice(None, None, 3)), ((4, 5), (slice(None), slice(1, 3))),
                         ((3,), 0), ((0, 4), ...), ((1, 5), ...)):
        both(scene, shape, index)


def the_same_memory_twice():
    def tied(module, name, shape):
        a, b, c = (Parameter(torch.ones(6)) for _ in range(3))
        b.data = a.data[shape]
        optimizer = getattr(module, name)([a, b, c], lr=0.1)
        for i in range(5):
            step(optimizer, (a, torch.ones(6) + i), (b, random_tensor(*b.shape)), (c, random_tensor(6)))
        return a.detach(), b.detach(), c.detach()

    def twice(module, name, _):
        a, b = Parameter(torch.ones(6)), Parameter(torch.ones(2))
        with quiet():
            optimizer = getattr(module, name)([a, b, a], lr=0.1)
        for _ in range(5):
            step(optimizer, (a, random_tensor(6)), (b, random_tensor(2)))
        return a.detach(), b.detach(), [state["step"] for state in state_of(optimizer, [a, b]) if name != "SGD"]

    for name in ("SGD", "RMSprop", "Adam"):
        both(tied, name, slice(None))
        both(tied, name, slice(2, 5))
        both(twice, name, None)
    shared = Parameter(torch.ones(3)), Parameter(torch.ones(3))

    def shared_state(module):
        a, b = (Parameter(p.detach().clone()) for p in shared)
        optimizer = module.Adam([a, b], lr=0.1)
        step(optimizer, (a, torch.ones(3)), (b, torch.ones(3)))
        optimizer.state[b] = optimizer.state[a]
        step(optimizer, (a, torch.ones(3)), (b, -torch.ones(3)))
        return a.detach(), b.detach(), state_of(optimizer, [a])

    both(shared_state)


# ---- C. loading --------------------------------------------------------------------------------------------------


def trained(cls, count=512, steps=5, **options):
    torch.manual_seed(2)
    w = Parameter(torch.randn(count))
    optimizer = cls([w], **options)
    for _ in range(steps):
        step(optimizer, (w, torch.randn(count)))
    return w, optimizer


def load(source, cls, **options):
    """Returns a parameter like the source's, and its optimizer, which has loaded the source's checkpoint."""
    w, optimizer = source
    other = Parameter(w.detach().clone())
    loaded = cls([other], **options)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other, loaded


def checkpoints_resume_to_the_bit():
    """Through memory and through a file, for every state."""
    for name, options in CASES:
        for form in ("f32", "bf16", "q8", "q8_64"):
            if form.startswith("q8") and options.get("centered"):
                continue  # which the library refuses
            options = {**options, "state_format": form, "seed": 3}
            w, optimizer = trained(getattr(ours, name), 700, **options)
            file = io.BytesIO()
            torch.save({"w": w, "optimizer": optimizer.state_dict()}, file)
            file.seek(0)
            saved = torch.load(file)
            second = getattr(ours, name)([saved["w"]], **{**options, "lr": 1.0})
            second.load_state_dict(saved["optimizer"])
            for key, value in second.state[saved["w"]].items():
                assert torch.equal(value, optimizer.state[w][key]), key
                want = {"f32": torch.float32, "bf16": torch.bfloat16}.get(form, torch.uint8)
                assert key == "step" or value.dtype == (torch.float32 if key.endswith("_absmax") else want)
            for i in range(5):
                grad = torch.randn(700)
                step(optimizer, (w, grad)), step(second, (saved["w"], grad))
            assert torch.equal(w, saved["w"]), (name, options)


def formats_stay_and_values_are_converted():
    for cls, options in ((ours.Adam, {}), (theirs.Adam, {}), (ours.Adam, {"state_format": "q8"}),
                         (ours.Adam, {"state_format": "q8_64"}), (ours.Adam, {"state_format": "bf16"})):
        source = trained(cls, **options)
        for form, bytes_each in (("f32", 4), ("bf16", 2), ("q8", 1), ("q8_64", 1)):
            w, loaded = load(source, ours.Adam, state_format=form)
            state = loaded.state[w]
            assert loaded.param_groups[0]["state_format"] == form
            assert state["exp_avg"].numel() * state["exp_avg"].element_size() == 512 * bytes_each
            assert ("exp_avg_absmax" in state) == (bytes_each == 1)
            grad = torch.randn(512)
            step(source[1], (source[0], grad)), step(loaded, (w, grad))
            assert (w - source[0]).abs().max() < 2e-4, (options, form)  # steps are of 1e-3
            source = trained(cls, **options)
    w, loaded = load(trained(ours.Adam), ours.Adam, state_format={"exp_avg": "q8", "exp_avg_sq": "bf16"})
    assert [loaded.state[w][name].dtype for name in ("exp_avg", "exp_avg_sq")] == [torch.uint8, torch.bfloat16]
    # The codes that the library stores: the first step of momentum keeps the gradient, to nearest.
    from fusedopt.torch_moments import dequantize, quantize
    for form in ("q8", "q8_64"):
        w = Parameter(torch.zeros(1000))
        optimizer = ours.SGD([w], momentum=0.9, state_format=form)
        grad = torch.randn(1000) * torch.logspace(-6, 6, 1000)
        step(optimizer, (w, grad))
        codes, absmax = quantize(grad, form, True)
        state = optimizer.state[w]
        assert torch.equal(state["momentum_buffer"], codes)
        close(state["momentum_buffer_absmax"] / absmax, torch.ones_like(absmax))
    positive = torch.rand(1000) ** 8 + 1e-30
    codes, absmax = quantize(positive, "q8", False)
    again = dequantize(codes, absmax, "q8", False)
    # The least values are 3.25e-7 and 7.75e-7 of absmax, and the distances of others less than a tenth of them.
    assert codes.min() > 0 and ((again - positive).abs() <= 0.3 * positive + 4e-7 * absmax.max()).all()
    assert ((again - positive).abs() <= 0.08 * positive)[positive > 0.01].all()


def others_checkpoints():
    """Ours goes on with theirs, and theirs with ours, to the same as without a checkpoint."""
    for name, options in CASES:
        for first, second in ((ours, theirs), (theirs, ours)):
            source = trained(getattr(first, name), **options)
            w, loaded = load(source, getattr(second, name), **options)
            for _ in range(5):
                grad = torch.randn(512)
                step(source[1], (source[0], grad)), step(loaded, (w, grad))
            close(w, source[0], f"{name} {options}")


def arithmetic_is_the_checkpoints():
    """Decoupled decay is translated; what is another rule's is refused, and changes nothing."""
    for first, second in ((theirs.AdamW, ours.Adam), (ours.AdamW, ours.Adam), (ours.AdamW, theirs.Adam)):
        source = trained(first, lr=0.1, weight_decay=0.5)
        w, loaded = load(source, second)
        grad = torch.randn(512)
        step(source[1], (source[0], grad)), step(loaded, (w, grad))
        close(w, source[0])
    momentum = {"lr": 0.5, "momentum": 0.9}
    source = trained(ours.SGD, **momentum, classic_momentum=True)
    w, loaded = load(source, ours.SGD, **momentum)
    grad = torch.randn(512)
    step(source[1], (source[0], grad)), step(loaded, (w, grad))
    close(w, source[0])
    for source, cls, options, words in (
        (trained(theirs.SGD, **momentum), ours.Adam, {}, "group 0 of the checkpoint has no betas, eps"),
        (trained(theirs.SGD, lr=0.5), ours.RMSprop, {}, "group 0 of the checkpoint has no alpha, eps"),
        (trained(theirs.Adam, lr=0.5), ours.SGD, {}, "group 0 of the checkpoint has no dampening"),
        (trained(theirs.SGD, **momentum), ours.SGD, {**momentum, "classic_momentum": True},
         "has no classic_momentum: its momentum buffers mean something else"),
    ):
        expect_unchanged(source[1].state_dict(), cls, options, words)
    good = trained(ours.Adam, amsgrad=True)[1].state_dict()
    for spoil, words in (
        (lambda s: s["state"][0].pop("exp_avg"), "parameter 0 of group 0 keeps exp_avg, *but is given exp_avg_sq"),
        (lambda s: s["state"][0].pop("max_exp_avg_sq"), "keeps exp_avg, exp_avg_sq, max_exp_avg_sq, but is given"),
        (lambda s: s["state"][0].update(momentum_buffer=torch.zeros(512)), "but is given *momentum_buffer"),
        (lambda s: s["state"][0].update(exp_avg=torch.zeros(511)), "has the shape (512,), but its exp_avg (511,)"),
        (lambda s: s["state"][0].update(exp_avg=torch.zeros(512, dtype=torch.uint8)), "exp_avg has 512 codes, but 0"),
        (lambda s: s["param_groups"].append({"params": []}), "different number of parameter groups"),
        (lambda s: s["param_groups"][0].update(params=[0, 1]), "doesn't match the size of optimizer's group"),
    ):
        saved = copy.deepcopy(good)
        spoil(saved)
        expect_unchanged(saved, ours.Adam, {"lr": 0.25}, words)


def expect_unchanged(saved, cls, options, words):
    w, optimizer = trained(cls, **options)
    before = copy.deepcopy((optimizer.state_dict(), optimizer.defaults))
    twin = copy.deepcopy((w, optimizer))
    refused(ValueError, words, optimizer.load_state_dict, saved)
    close((optimizer.state_dict(), optimizer.defaults), before)
    for param, o in ((w, optimizer), twin):
        step(o, (param, torch.ones(512)))
    assert torch.equal(w, twin[0])


def hooks_decide():
    w, optimizer = trained(ours.Adam)
    saved = copy.deepcopy(optimizer.state_dict())
    calls = []

    def before(opt, state):
        calls.append("before")
        assert isinstance(state["state"][0]["exp_avg"], torch.Tensor)
        return {**state, "state": {0: {**state["state"][0], "exp_avg": torch.full((512,), 7.0)}}}

    def after(opt):
        calls.append("after")
        assert opt.state[w]["exp_avg"][0] == 7
        opt.state[w]["step"].fill_(9)

    optimizer.register_load_state_dict_pre_hook(before)
    optimizer.register_load_state_dict_post_hook(after)
    optimizer.load_state_dict(saved)
    step(optimizer, (w, torch.zeros(512)))
    assert calls == ["before", "after"] and optimizer.state[w]["step"] == 10
    assert (optimizer.state[w]["exp_avg"] - 6.3).abs().max() < 1e-5
    assert len(optimizer._optimizer_load_state_dict_pre_hooks) == 1
    named = [("layer.weight", w)]
    optimizer = ours.Adam(named)
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["param_names"] == ["layer.weight"]


def subnormals_of_a_checkpoint():
    w, source = trained(theirs.Adam, 2)
    source.state[w]["exp_avg_sq"].copy_(torch.tensor([1e-40, 1e-30]))
    other, loaded = load((w, source), ours.Adam)
    assert loaded.state[other]["exp_avg_sq"].tolist() == torch.tensor([0, 1e-30]).tolist()
    assert source.state[w]["exp_avg_sq"][0] > 0


def copies():
    for twin in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        pair = trained(ours.AdamW, state_format="q8", seed=5)
        other = twin(pair)
        for w, optimizer in (pair, other):
            for i in range(3):
                step(optimizer, (w, torch.full((512,), 0.1 * i)))
        assert torch.equal(pair[0], other[0]) and pair[0].data_ptr() != other[0].data_ptr()


# ---- D. references, hyperparameters ------------------------------------------------------------------------------


def nothing_is_kept_alive():
    w = Parameter(torch.zeros(1000))
    optimizer = ours.Adam([w])
    for _ in range(3):
        w.grad = torch.ones(1000)
        grad = weakref.ref(w.grad)
        optimizer.step()
        optimizer.zero_grad()
        assert grad() is None
    optimizer.state[w]["exp_avg"], moment = torch.zeros(1000), weakref.ref(optimizer.state[w]["exp_avg"])
    assert moment() is None
    old = weakref.ref(w)
    other = Parameter(torch.zeros(1000))
    optimizer.param_groups[0]["params"][0] = other
    optimizer.state.clear()
    step(optimizer, (other, torch.ones(1000)))
    del w
    gc.collect()
    assert old() is None


def hyperparameters_are_read_at_each_step():
    def tensors(module):
        w, lr, betas = Parameter(torch.zeros(2)), torch.tensor(0.1), (torch.tensor(0.9), torch.tensor(0.999))
        optimizer = module.Adam([w], lr=lr)
        optimizer.param_groups[0]["betas"] = betas
        for i in range(4):
            step(optimizer, (w, torch.tensor([1.0, -2.0]) + i))
            betas[0].fill_(0.5)
            lr.mul_(2)
        return w.detach()

    def a_list(module):
        w = Parameter(torch.zeros(2))
        optimizer = module.Adam([w], lr=0.1)
        optimizer.param_groups[0]["betas"] = betas = [0.9, 0.999]
        for i in range(4):
            step(optimizer, (w, torch.tensor([1.0, -2.0]) + i))
            betas[0] = 0.5
        return w.detach()

    def options(module, name, changes):
        w = Parameter(torch.tensor([1.0, -2.0]))
        optimizer = getattr(module, name)([w], lr=0.1)
        for i in range(4):
            step(optimizer, (w, torch.tensor([1.0, -2.0]) + i))
            optimizer.param_groups[0].update(changes)
        return w.detach()

    both(tensors), both(a_list)
    for name, changes in (("SGD", {"weight_decay": 0.5}), ("SGD", {"maximize": True}), ("SGD", {"lr": 1}),
                          ("RMSprop", {"alpha": 0.5, "eps": 0.1}), ("Adam", {"betas": (0.1, 0.2)}),
                          ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}), ("AdamW", {"eps": 0.1})):
        both(options, name, changes)
    w = Parameter(torch.zeros(2))
    optimizer = ours.Adam([w], lr=0.5)
    step(optimizer, (w, torch.ones(2)))
    for bad, words in (({"lr": -1}, "group 0: lr is -1"), ({"betas": (2.0, 0.5)}, "group 0: beta1 is 2")):
        before = w.detach().clone()
        optimizer.param_groups[0].update(bad)
        for _ in range(2):
            refused(fusedopt.Error, words, optimizer.step)
        assert torch.equal(w, before)
        optimizer.param_groups[0].update(lr=0.5, betas=(0.9, 0.999))
    step(optimizer, (w, torch.ones(2)))
    assert abs(w[0].item() + 1) < 1e-5 and optimizer.state[w]["step"] == 2


# ---- H. momentum, on and off -------------------------------------------------------------------------------------


def momentum_on_and_off():
    def scene(module, name, options, key, values):
        w = Parameter(torch.tensor([1.0, -2.0]))
        optimizer = getattr(module, name)([w], lr=0.1, **options)
        for i, value in enumerate(values):
            optimizer.param_groups[0][key] = value
            step(optimizer, (w, torch.tensor([1.0, -2.0]) + i))
        return w.detach(), [{k: v for k, v in s.items() if k != "step"} for s in state_of(optimizer, [w])]

    for values in ((0, 0.9, 0.9, 0, 0.9), (0.9, 0.9, 0, 0, 0.5), (0, 0, 0.5), (0.9, 0)):
        for options in ({}, {"dampening": 0.3}, {"weight_decay": 0.1}):
            both(scene, "SGD", options, "momentum", values)
    both(scene, "SGD", {"momentum": 0.9, "nesterov": True}, "momentum", (0.9, 0, 0.9))
    both(scene, "RMSprop", {"momentum": 0.9}, "momentum", (0.9, 0, 0, 0.5))
    both(scene, "RMSprop", {"centered": True}, "centered", (True, False, False, True))
    both(scene, "Adam", {"amsgrad": True}, "amsgrad", (True, False, True))
    w = Parameter(torch.zeros(2))  # where torch.optim has a KeyError
    optimizer = ours.Adam([w])
    step(optimizer, (w, torch.ones(2)))
    optimizer.param_groups[0]["amsgrad"] = True
    step(optimizer, (w, torch.ones(2)))
    assert torch.equal(optimizer.state[w]["max_exp_avg_sq"], optimizer.state[w]["exp_avg_sq"])


def schedulers():
    lr = torch.optim.lr_scheduler

    def scene(module, name, options, make):
        w = Parameter(torch.tensor([1.0, -2.0]))
        optimizer = getattr(module, name)([w], lr=0.1, **options)
        scheduler = make(optimizer)
        for i in range(30):
            step(optimizer, (w, w.detach() + torch.tensor([0.5, -1.0])))
            scheduler.step()
        return w.detach(), optimizer.param_groups[0]["lr"], optimizer.param_groups[0].get("momentum", 0)

    for make in (
        lambda o: lr.StepLR(o, 10, 0.5),
        lambda o: lr.CosineAnnealingLR(o, 30),
        lambda o: lr.OneCycleLR(o, 0.2, total_steps=60),
        lambda o: lr.CyclicLR(o, 0.1, 0.2, step_size_up=7),
        lambda o: lr.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, total_iters=5), lr.ExponentialLR(o, 0.9)], [5]),
    ):
        both(scene, "SGD", {}, make)
        both(scene, "SGD", {"momentum": 0.5}, make)
        both(scene, "AdamW", {}, make)


# ---- I. what is not a dense tensor of floats ---------------------------------------------------------------------


def what_is_refused_is_named():
    good = Parameter(torch.ones(2))
    good.grad = torch.ones(2)
    for bad, words in ((torch.zeros(2, dtype=torch.float64), "is of torch.float64: must be of float32"),
                       (torch.zeros(2, dtype=torch.complex128), "is of torch.complex128: must be of float32"),
                       (torch.zeros(1).expand(2), "is expanded: its elements share memory"),
                       (torch.zeros(2, device="meta"), "is on the device meta: must be on the CPU or CUDA")):
        bad = Parameter(bad)
        for group, name in (([good, bad], "parameter 1 of group 0"),
                            ([("a", good), ("layer.b", bad)], "parameter layer.b")):
            optimizer = ours.Adam(group)
            optimizer.step()  # without a gradient it is as with torch.optim
            before = good.detach().clone()
            bad.grad = torch.zeros_like(bad)
            refused(TypeError, f"{name} {words}", optimizer.step)
            assert torch.equal(good, before) and not optimizer.state.get(bad)
            bad.grad = None
    w = Parameter(torch.ones(2))
    w.grad = torch.ones(2).to_sparse()
    for name in ("Adam", "AdamW", "RMSprop"):
        optimizer = getattr(ours, name)([("embedding", w)])
        refused(TypeError, "the gradient of parameter embedding is torch.sparse_coo: must be strided", optimizer.step)
    ours.SGD([w], lr=1.0).step()
    assert w.tolist() == [0, 0]
    for name in ("SGD", "RMSprop", "Adam", "AdamW"):
        refused(ValueError, "differentiable", getattr(ours, name), [w], differentiable=True)
    optimizer = ours.Adam([w])
    step(optimizer, (w, torch.ones(2)))
    optimizer.param_groups[0]["differentiable"] = True
    refused(ValueError, "differentiable", optimizer.step)
    refused(fusedopt.Error, "group 0: state_format of exp_avg is f16", ours.Adam, [w], state_format="f16")
    refused(ValueError, "state_format has 'exp_avg': 'f8'", ours.Adam, [w], state_format="f8")
    refused(ValueError, "state_format has 'square_avg'", ours.Adam, [w], state_format={"square_avg": "f32"})
    optimizer = ours.Adam([w])
    refused(fusedopt.Error, "lr is 1e+11", optimizer.add_param_group, {"params": [Parameter(w.detach())], "lr": 1e11})
    assert len(optimizer.param_groups) == 1
    w = Parameter(torch.ones(2, dtype=torch.complex64))
    w.grad = torch.ones_like(w)
    optimizer = ours.Adam([w], state_format="q8")
    refused(TypeError, "parameter 0 of group 0 is complex: its exp_avg cannot be q8", optimizer.step)


def complex_parameters():
    def scene(module, name, options, conjugate):
        w = torch.randn(5, 4, dtype=torch.complex64)
        w = Parameter(w.conj() if conjugate else w)
        optimizer = getattr(module, name)([w], **options)
        for _ in range(3):
            step(optimizer, (w, torch.randn(4, 5, dtype=torch.complex64).t()))
        return torch.view_as_real(w.detach().resolve_conj()), [
            {k: torch.view_as_real(v) if v.is_complex() else v for k, v in s.items() if k != "step"}
            for s in state_of(optimizer, [w])]

    for name, options in CASES:
        if not options.get("amsgrad"):
            both(scene, name, options, False)
    both(scene, "SGD", {"lr": 0.1}, True)


def scaled_gradients():
    def scene(module, name, options):
        scaler, w = torch.amp.GradScaler("cpu", init_scale=1024.0), Parameter(torch.ones(3))
        optimizer = getattr(module, name)([w], **options)
        for factor in (1.0, float("inf"), 2.0):
            optimizer.zero_grad()
            scaler.scale((w * factor * torch.tensor([1.0, 2.0, 3.0])).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        return w.detach(), state_of(optimizer, [w]), scaler.get_scale()

    both(scene, "Adam", {}), both(scene, "Adam", {"fused": True}), both(scene, "SGD", {"fused": True})
    assert not ours.Adam([Parameter(torch.ones(1))], fused=True)._step_supports_amp_scaling


def distributed_tensors():
    """A shard of a mesh of four ranks, of which this process is the third: the others' part is not computed."""
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor, init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    whole, grad = random_tensor(64, 32), random_tensor(64, 32)
    want = Parameter(whole.clone())
    source = ours.AdamW([want], lr=0.1, state_format="bf16", seed=3)
    for _ in range(2):
        step(source, (want, grad.clone()))
    dist.init_process_group("fake", store=FakeStore(), rank=2, world_size=4)
    try:
        mesh = init_device_mesh("cpu", (4,))
        for placement, rows in ((Shard(0), slice(32, 48)), (Replicate(), slice(None))):
            w = Parameter(DTensor.from_local(whole[rows].clone(), mesh, [placement], run_check=False))
            optimizer = ours.AdamW([w], lr=0.1, state_format="bf16", seed=3)
            for _ in range(2):
                w.grad = DTensor.from_local(grad[rows].clone(), mesh, [placement], run_check=False)
                table = optimizer._tables
                optimizer.step()
            assert optimizer._tables is table  # and not made anew at each step
            # The same bits, the random ones too, as where the tensor is whole.
            assert torch.equal(w.to_local(), want.detach()[rows]), placement
            moment = optimizer.state[w]["exp_avg"]
            assert isinstance(moment, DTensor) and torch.equal(moment.to_local(), source.state[want]["exp_avg"][rows])
        optimizer = ours.AdamW([w], state_format="q8")
        refused(TypeError, "parameter 0 of group 0 is a DTensor: its exp_avg cannot be q8", optimizer.step)
    finally:
        dist.destroy_process_group()


# ---- the rest ----------------------------------------------------------------------------------------------------


def any_mode():
    w = Parameter(torch.ones(3))
    optimizer = ours.Adam([w], lr=0.1)
    with torch.inference_mode():
        step(optimizer, (w, torch.ones(3)))
    optimizer = ours.Adam([w], lr=0.1)
    with torch.autocast("cpu"):
        step(optimizer, (w, torch.ones(3)))
    with torch.enable_grad():
        step(optimizer, (w, torch.ones(3)))
    assert (w - 0.7).abs().max() < 1e-6 and w.is_leaf


def closure_and_hooks():
    w = Parameter(torch.tensor([1.0, 2.0]))
    optimizer, calls = ours.SGD([w], lr=0.25), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 5 and w.tolist() == [0.5, 1] and calls == ["pre", "post"]
    version = w._version
    optimizer.step()
    assert w._version > version  # so that autograd sees that what it saved is gone
    optimizer.zero_grad()
    optimizer.step()
    assert w.tolist() == [0, 0]


def groups():
    def scene(module):
        a, b = Parameter(random_tensor(5)), Parameter(random_tensor(5))
        optimizer = module.Adam([{"params": [a], "lr": 0.01}], lr=0.02)
        for i in range(9):
            if i == 3:
                optimizer.add_param_group({"params": [b], "weight_decay": 0.1})
            if i == 6:
                optimizer.param_groups.pop(0)
            step(optimizer, (a, random_tensor(5)), (b, random_tensor(5)))
        return a.detach(), b.detach(), state_of(optimizer, [a, b])

    both(scene)
    w = Parameter(torch.ones(2))
    a, b = Parameter(torch.ones(300)), Parameter(torch.ones(300))
    optimizer = ours.Adam([{"params": [a], "state_format": "q8"}, {"params": [b]}])
    step(optimizer, (a, torch.ones(300)), (b, torch.ones(300)))
    assert [optimizer.state[p]["exp_avg"].dtype for p in (a, b)] == [torch.uint8, torch.float32]
    for options in ({"fused": True}, {"foreach": True}, {"foreach": False}):
        optimizer = ours.AdamW([w], **options)
        step(optimizer, (w, torch.ones(2)))


def signatures():
    import inspect
    for name in ("SGD", "RMSprop", "Adam", "AdamW"):
        mine = inspect.signature(getattr(ours, name).__init__).parameters
        for parameter in inspect.signature(getattr(theirs, name).__init__).parameters.values():
            same = mine.get(parameter.name)
            assert same and (same.default, same.kind) == (parameter.default, parameter.kind), f"{name}: {parameter}"
        assert issubclass(getattr(ours, name), getattr(theirs, name))


def a_child_of_fork():
    def train():
        torch.manual_seed(3)
        w = Parameter(torch.randn(100_000))
        optimizer = ours.Adam([w])
        for _ in range(3):
            step(optimizer, (w, torch.ones(100_000)))
        return w.detach().clone(), optimizer

    want, optimizer = train()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that waits for ever
        optimizer.step()  # the parent's
        os._exit(0 if torch.equal(train()[0], want) else 1)
    assert os.waitpid(child, 0)[1] == 0


def trains_like_torch():
    """The distance to a float64 run is that of PyTorch's own float32 run, within a factor of 2.

    Both are made of the same number of roundings to float32, nearly all of them in the gradients, which are PyTorch's
    in both. A learning rate wrong by a thousandth shows as a factor of over 100.
    """
    for name, options in CASES:
        options = {key: value for key, value in options.items() if key != "maximize"}
        models = [network(), network(), network(torch.float64)]
        runs = [train(models[0], getattr(ours, name)(models[0].parameters(), **options))]
        runs += [train(model, getattr(theirs, name)(model.parameters(), **options)) for model in models[1:]]
        off, torch_off = [(flat(model) - flat(models[2])).norm().item() for model in models[:2]]
        assert off <= 2 * torch_off, f"{name} {options}: {off:.3g} from the float64 run, PyTorch {torch_off:.3g}"
        assert runs[0][-1] < runs[0][0] / 2, f"{name} {options}: did not learn"
        if name == "Adam" and "amsgrad" not in options:
            model = network()
            train(model, ours.Adam(model.parameters(), **{**options, "lr": options["lr"] * 1.001}))
            assert (flat(model) - flat(models[2])).norm().item() > 100 * torch_off


def digits():
    rows = re.findall(r'^    "(\d)([A-Q]{64})"', (project / "bench" / "train" / "digits.h").read_text(), re.MULTILINE)
    assert len(rows) == 1797
    pixels = torch.tensor([[(ord(c) - ord("A")) / 16 for c in pixels] for _, pixels in rows])
    return pixels, torch.tensor([int(label) for label, _ in rows])


def network(dtype=torch.float32):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)]
    return torch.nn.Sequential(*layers).to(dtype)


def train(model, optimizer):
    """Makes 100 steps. Returns the losses."""
    losses, (data, labels) = [], digits()
    for i in range(100):
        rows = torch.arange(i * 64, i * 64 + 64) % len(data)
        loss = torch.nn.functional.cross_entropy(model(data[rows].to(next(model.parameters()).dtype)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def flat(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


# ---- random sequences --------------------------------------------------------------------------------------------


class Life:
    """What may happen to an optimizer, to ours and to theirs alike: each operation takes its choices from a generator
    of random numbers, which both have with the same seed."""

    def __init__(self, module, seed, forms=("f32",)):
        self.dice = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.module = module
        self.name, options = self.dice.choice(CASES)
        self.options = {**options, "lr": 0.01}
        form = self.dice.choice(forms)
        if form != "f32" and not (options.get("centered") and form.startswith("q8")):
            self.options |= {"state_format": form, "seed": seed}
        self.params = [self.new_param() for _ in range(self.dice.randint(1, 5))]
        groups = [{"params": self.params[:1]}, {"params": self.params[1:]}]
        self.optimizer = getattr(module, self.name)(groups[: len(self.params)], **self.options)

    def random(self, shape):
        return torch.randn(shape, generator=self.generator)

    def new_param(self):
        return Parameter(self.random(self.dice.choice([(3,), (5, 4), (300,), (2, 3, 4), ()])))

    def one(self):
        return self.dice.choice([p for group in self.optimizer.param_groups for p in group["params"]])

    def step(self):
        for p in self.params:
            p.grad = self.random(p.shape) if self.dice.random() < 0.8 else None
        self.optimizer.step()

    def set_lr(self):
        self.dice.choice(self.optimizer.param_groups)["lr"] = self.dice.choice([0.0, 0.001, 0.02])

    def set_decay(self):
        self.dice.choice(self.optimizer.param_groups)["weight_decay"] = self.dice.choice([0, 0.1])

    def set_betas(self):
        group = self.dice.choice(self.optimizer.param_groups)
        if "betas" in group:
            group["betas"] = self.dice.choice([(0.9, 0.999), (0.5, 0.9)])

    def cycle_momentum(self):
        if self.name == "SGD" and not self.options.get("nesterov"):
            self.dice.choice(self.optimizer.param_groups)["momentum"] = self.dice.choice([0, 0.5, 0.9])

    def forget_one(self):
        self.optimizer.state.pop(self.one(), None)

    def forget_all(self):
        self.optimizer.state = defaultdict(dict)

    def scale_moments(self):
        for key, value in self.optimizer.state.get(self.one(), {}).items():
            if key != "step" and value is not None and value.is_floating_point():
                value.mul_(0.5)

    def replace_moments(self):
        state = self.optimizer.state.get(self.one(), {})
        for key, value in list(state.items()):
            if key != "step" and value is not None:
                state[key] = value.clone()

    def set_step(self):
        state = self.optimizer.state.get(self.one(), {})
        if "step" in state and self.name != "SGD":
            state["step"].fill_(self.dice.randint(1, 1000))

    def move(self):
        p = self.one()
        p.data = p.data.clone()

    def restride(self):
        p = self.one()
        if p.dim() == 2:
            p.data = p.data.t().contiguous().t()
        elif p.dim() == 1:
            p.data = torch.stack([p.data, p.data], 1)[:, 0]

    def replace(self):
        for group in self.optimizer.param_groups:
            if group["params"] and self.dice.random() < 0.5:
                old = group["params"][0]
                new = Parameter(old.detach().clone())
                group["params"][0] = new
                self.params[next(i for i, p in enumerate(self.params) if p is old)] = new
                if old in self.optimizer.state:
                    self.optimizer.state[new] = self.optimizer.state.pop(old)

    def freeze(self):
        p = self.one()
        p.requires_grad_(not p.requires_grad)

    def add_group(self):
        new = [self.new_param()]
        self.params += new
        self.optimizer.add_param_group({"params": new, "lr": 0.005})

    def save_and_load(self):
        file = io.BytesIO()
        torch.save(self.optimizer.state_dict(), file)
        file.seek(0)
        groups = [{"params": group["params"]} for group in self.optimizer.param_groups]
        self.optimizer = getattr(self.module, self.name)(groups, **self.options)
        self.optimizer.load_state_dict(torch.load(file))

    def copy(self):
        self.params, self.optimizer = copy.deepcopy((self.params, self.optimizer))

    OPERATIONS = ("step", "step", "step", "step", "set_lr", "set_decay", "set_betas", "cycle_momentum", "forget_one",
                  "forget_all", "scale_moments", "replace_moments", "set_step", "move", "restride", "replace", "freeze",
                  "add_group", "save_and_load", "copy")


def live_alike(lives, seed, compare):
    """Lets the same happen to two optimizers, and compares them after each step."""
    mine, other = lives
    story = []
    try:
        for _ in range(40):
            operation = random.Random(f"{seed} {len(story)}").choice(Life.OPERATIONS)
            story.append(operation)
            getattr(mine, operation)(), getattr(other, operation)()
            if operation == "step":
                drop = ("step",) if mine.name == "SGD" else ()
                compare(*[([p.detach() for p in life.params],
                           [{key: value for key, value in state.items() if key not in drop}
                            for state in state_of(life.optimizer, life.params)]) for life in lives])
    except Exception as error:
        raise AssertionError(f"seed {seed}, {mine.name} {mine.options}: {', '.join(story)}") from error


def random_sequences():
    first = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    for seed in range(first, first + 60):
        live_alike((Life(ours, seed), Life(theirs, seed)), seed, close)


class Forgetful(Life):
    """One whose optimizer knows nothing of earlier steps but what is in its state."""

    def step(self):
        self.optimizer._reset()
        super().step()


def nothing_is_remembered():
    """To the bit, in all formats: what is kept between steps is for speed alone."""
    first = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    forms = ("f32", "bf16", "q8", "q8_64")
    for seed in range(first, first + 60):
        lives = Life(ours, seed, forms), Forgetful(ours, seed, forms)
        live_alike(lives, seed, lambda got, want: torch.testing.assert_close(got, want, rtol=0, atol=0))


# ---- PyTorch's own configurations --------------------------------------------------------------------------------


def database():
    """Returns PyTorch's list of optimizers, with the inputs that it tests them with, or why there is none."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            from torch.testing._internal.common_optimizers import optim_db
    except ImportError as error:
        return None, f"torch.testing: {error}"
    return [info for info in optim_db if info.optim_cls.__name__ in ours.__all__], None


def configurations():
    for info in database()[0]:
        name = info.optim_cls.__name__
        for impl in (None, *info.supported_impls):
            if impl == "fused" and "cpu" not in info.supports_fused_on:
                continue
            for given in info.optim_inputs_func(device="cpu"):
                options = dict(given.kwargs)
                if options.get("capturable") or isinstance(options.get("lr"), torch.Tensor) and impl == "foreach":
                    continue  # for GPUs; refused by torch.optim
                if impl in ("foreach", "fused"):
                    options[impl] = True
                yield info, name, options


def database_steps():
    """Every configuration gives what torch.optim gives by a loop, parameters and state, with schedulers too."""
    def scene(module, name, options, scheduler, dense):
        weight, bias = torch.randn(10, 5, 2), torch.randn(10, 2)
        weight, bias = (Parameter(t[..., 0].contiguous() if dense else t[..., 0]) for t in (weight, bias))
        inputs, none = torch.randn(5), Parameter(torch.randn(3))
        if module is theirs:
            options = {**options, "foreach": False}
            options.pop("fused", None)
        options = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
        optimizer = getattr(module, name)([weight, bias, none], **options)
        repr(optimizer)
        schedulers = [make(optimizer) for make in scheduler or ()]
        losses = []

        def closure():
            optimizer.zero_grad()
            loss = (weight.mv(inputs) + bias).pow(2).sum()
            loss.backward()
            return loss

        for _ in range(8):
            losses.append(optimizer.step(closure).item())
            for s in schedulers:
                s.step(losses[-1]) if isinstance(s, torch.optim.lr_scheduler.ReduceLROnPlateau) else s.step()
        assert not optimizer.state.get(none)
        return weight.detach(), bias.detach(), [{k: v for k, v in s.items() if k != "step" or name != "SGD"}
                                                for s in state_of(optimizer, [weight, bias])]

    count = 0
    for info, name, options in configurations():
        for dense in (True, False):
            both(scene, name, options, None, dense)
        for scheduler in info.scheduler_inputs:
            with quiet():
                both(scene, name, options, scheduler, True)
            count += 1
    assert count > 100, count


def database_errors():
    """What torch.optim refuses is refused in its words."""
    count = 0
    for info in database()[0]:
        for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
            given, cls = error.optimizer_error_input, getattr(ours, info.optim_cls.__name__)
            count += 1
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    optimizer = cls(given.params, **given.kwargs)
                    optimizer.step()
                    assert any(re.search(error.error_regex, str(w.message)) for w in caught), f"{given}: accepted"
                except error.error_type as refusal:
                    assert re.search(error.error_regex, str(refusal)), f"{given}: {refusal}"
    assert count > 20, count


def database_checkpoints():
    """Through a file with weights_only, from names and to them, of older and of number-like kinds."""
    for info, name, options in configurations():
        cls = getattr(ours, name)
        options = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in options.items()}
        source = trained(cls, 50, **options)
        file = io.BytesIO()
        torch.save(source[1].state_dict(), file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        close(saved, source[1].state_dict())
        for change in (lambda s: None,
                       lambda s: [group.pop(k, None) for group in s["param_groups"]
                                  for k in ("maximize", "foreach", "fused", "capturable", "differentiable")],
                       lambda s: [state.update(step=state["step"].item()) for state in s["state"].values()
                                  if "step" in state],
                       lambda s: [group.update(param_names=["w"]) for group in s["param_groups"]]):
            w = Parameter(source[0].detach().clone())
            other = cls([w], **options)
            given = copy.deepcopy(saved)
            change(given)
            other.load_state_dict(given)
            want = copy.deepcopy(source)
            grad = torch.randn(50)
            step(other, (w, grad)), step(want[1], (want[0], grad))
            assert torch.equal(w, want[0]), (name, options)


def database_noop():
    """Without gradients nothing happens; zero ones change what they should."""
    for info, name, options in configurations():
        w = Parameter(torch.randn(5))
        optimizer = getattr(ours, name)([w], **options)
        before = w.detach().clone()
        optimizer.step()
        assert torch.equal(w, before) and not optimizer.state.get(w), (name, options)
        step(optimizer, (w, torch.zeros(5)))
        assert options.get("weight_decay") or name == "AdamW" or torch.equal(w, before), (name, options)


no_database = database()[1]
no_distributed = None if torch.distributed.is_available() else "a PyTorch without distributed"
run("fusedopt.torch", (
    ("A. state can be read", state_can_be_read, None),
    ("A. state moves to a grown parameter", state_moves_to_a_grown_parameter, None),
    ("A. state can be changed in any way", state_can_be_changed, None),
    ("A. what holds a moment stays", what_holds_a_moment_stays, None),
    ("A. step counts", step_counts_are_exact, None),
    ("B. parameters can change in any way", parameters_can_change, None),
    ("B. strides and types", any_strides, None),
    ("B. tied parameters, and one that is given twice", the_same_memory_twice, None),
    ("C. checkpoints resume to the bit", checkpoints_resume_to_the_bit, None),
    ("C. formats stay, values are converted", formats_stay_and_values_are_converted, None),
    ("C. torch.optim's checkpoints, both ways", others_checkpoints, None),
    ("C. a checkpoint's arithmetic is taken or refused", arithmetic_is_the_checkpoints, None),
    ("C. hooks decide what is loaded", hooks_decide, None),
    ("C. a checkpoint's subnormal moments become zeros", subnormals_of_a_checkpoint, None),
    ("C. copies", copies, None),
    ("D. nothing is kept alive", nothing_is_kept_alive, None),
    ("D. hyperparameters are read at each step", hyperparameters_are_read_at_each_step, None),
    ("H. momentum on and off", momentum_on_and_off, None),
    ("H. schedulers", schedulers, None),
    ("I. what is refused is named", what_is_refused_is_named, None),
    ("I. complex parameters", complex_parameters, None),
    ("I. scaled gradients", scaled_gradients, None),
    ("I. DTensors", distributed_tensors, no_distributed),
    ("closure and hooks", closure_and_hooks, None),
    ("in modes of PyTorch's", any_mode, None),
    ("groups", groups, None),
    ("signatures are torch.optim's", signatures, None),
    ("a child of fork makes steps", a_child_of_fork, None),
    ("digits, trained like by torch.optim", trains_like_torch, None),
    ("random sequences of operations", random_sequences, None),
    ("nothing is remembered between steps", nothing_is_remembered, None),
    ("PyTorch's configurations: steps", database_steps, no_database),
    ("PyTorch's configurations: errors", database_errors, no_database),
    ("PyTorch's configurations: checkpoints", database_checkpoints, no_database),
    ("PyTorch's configurations: no gradients, and zeros", database_noop, no_database),
))
