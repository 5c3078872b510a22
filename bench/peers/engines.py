"""Optimizers as one would use them: each works on the same parameters and gradients, with state of its own."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of what it needs for other things

import fusedopt
import torch

try:
    import bitsandbytes

    why_no_bitsandbytes = ""
except Exception as error:  # it is not there, or not for this PyTorch
    bitsandbytes, why_no_bitsandbytes = None, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"

FORMATS = {"f32": (torch.float32, 4), "bf16": (torch.bfloat16, 2), "f16": (torch.float16, 2)}
MOMENTS = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adamw": 2}
MOMENT_BYTES = {"f32": 4, "bf16": 2, "q8": 1 + 4 / 256}


class Engine:
    """`step()` is timed. `state_format` is what the moments are stored in."""

    def __init__(self, name, state_format, step):
        self.name, self.state_format, self.step = name, state_format, step

    def bytes_per_param(self, rule, param_format, grad_format):
        """What a step must read and write."""
        state = MOMENTS[rule] * MOMENT_BYTES.get(self.state_format, 0)
        return 2 * FORMATS[param_format][1] + FORMATS[grad_format][1] + 2 * state


def _ours(rule, params, state_format):
    options = {"momentum": 0.9} if rule == "momentum" else {}
    name = "sgd" if rule == "momentum" else rule
    if MOMENTS[rule]:
        options["state_format"] = state_format
    optimizer = fusedopt.Optimizer([p.data for p in params], [p.grad for p in params], rule=name, **options)
    stream = torch.cuda.current_stream().cuda_stream if params[0].is_cuda else 0
    return Engine("fusedopt", state_format if MOMENTS[rule] else "none", lambda: optimizer.step(stream))


def _torchs(rule, params, param_format):
    classes = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": 0.9} if rule == "momentum" else {}
    ways = {"torch for-loop": {"foreach": False}, "torch foreach": {"foreach": True}}
    if rule != "rmsprop":  # which has no fused form
        ways["torch fused"] = {"fused": True}
    for name, way in ways.items():
        try:
            optimizer = classes.get(rule, torch.optim.SGD)(params, **options, **way)
        except (RuntimeError, TypeError) as error:  # an older PyTorch has it for fewer devices, or not at all
            print(f"{rule} without {name}: {error}", flush=True)
            continue
        yield Engine(name, param_format if MOMENTS[rule] else "none", optimizer.step)


def _bitsandbytes(rule, params):
    classes = {"adam": bitsandbytes.optim.Adam8bit, "adamw": bitsandbytes.optim.AdamW8bit}
    if rule in classes:
        yield Engine("bitsandbytes 8-bit", "q8", classes[rule](params).step)


def engines(rule, params, param_format, state_format):
    """Ours first. PyTorch keeps state in the parameters' type; what has 8-bit state is compared with that alone, and
    with ours in f32 where the library has no such state."""
    if state_format != "q8":
        return [_ours(rule, params, state_format), *_torchs(rule, params, param_format)]
    try:
        ours = [_ours(rule, params, "q8")]
    except (fusedopt.Error, ValueError):
        ours = [_ours(rule, params, "f32")]
    return [*ours, *_bitsandbytes(rule, params)]
