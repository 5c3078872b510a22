"""fusedopt from Python.

Optimizer steps over anything that says where its memory is: NumPy's, CuPy's and JAX's arrays, PyTorch's tensors, what
speaks DLPack or offers a buffer, or an Array of pointer and count:

    w, g = array.array("f", [1, 2, 3]), array.array("f", [0, 0, 0])
    optimizer = fusedopt.Optimizer([w], [g], rule="adamw", lr=1e-3)
    optimizer.step()                      # reads g, writes w

fusedopt.torch has SGD, RMSprop, Adam and AdamW in place of torch.optim's:

    optimizer = fusedopt.torch.AdamW(model.parameters(), lr=1e-3, state_format="bf16")

Options, in PyTorch's spelling; what a rule has not is refused (see RULES):

    lr, betas, eps, weight_decay, momentum, dampening, alpha        numbers
    maximize, decoupled_weight_decay, nesterov, ema_momentum, classic_momentum, centered, eps_inside_sqrt, amsgrad,
    no_bias_correction                                              true or false
    state_format                                        "f32", "bf16", "q8" or "q8_64", or {"exp_avg": "bf16", ...}

Their defaults are PyTorch's. include/fusedopt.h says what each means. Every failure of the library is an Error.
"""

from typing import TYPE_CHECKING, Any

from .arrays import Array
from .library import RULES, Error, version
from .optimizer import Optimizer

if TYPE_CHECKING:
    from . import torch as torch

__all__ = ["Array", "Error", "Optimizer", "RULES", "version"]


def __getattr__(name: str) -> Any:
    """Imports fusedopt.torch, and PyTorch with it, when it is first mentioned."""
    if name != "torch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module(".torch", __name__)
