"""The moments of a parameter of PyTorch's, in its optimizer's state: new ones, and from one format to another.

The map of codes is that of Dettmers et al., as include/fusedopt.h describes FOPT_Q8 and FOPT_Q8_64.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .arrays import is_dense
from .library import BLOCKS, FORMATS, RULES, state_names

try:
    from torch.distributed.tensor import DTensor
except ImportError:  # a PyTorch without distributed
    DTensor = ()
if TYPE_CHECKING:
    from .torch_tables import Item

DTYPES = {name: getattr(torch, row[3]) for name, row in FORMATS.items()}
FORMAT_OF = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}  # of parameters and gradients
UNSIGNED = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")


@functools.lru_cache(maxsize=None)
def all_moments() -> frozenset[str]:
    """Returns the names of the moments of all rules."""
    return frozenset(name for rule in RULES for name in state_names(rule) if name)


# ---- memory ------------------------------------------------------------------------------------------------------


def local_part(tensor: Tensor) -> Tensor:
    """Returns a DTensor's shard, or what is no DTensor."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


def memory_of(tensor: Tensor) -> Tensor:
    """Returns the tensor whose memory is meant: a DTensor's shard; of complex numbers, the pairs of floats."""
    tensor = local_part(tensor)
    return torch.view_as_real(tensor) if tensor.is_complex() and not tensor.is_conj() else tensor


def check(tensor: Tensor, name: str) -> None:
    """Refuses what is no array of numbers that the library has, on a device that it has."""
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is {tensor.layout}: must be strided")
    if tensor.device.type not in ("cpu", "cuda"):
        raise TypeError(f"{name} is on the device {tensor.device}: must be on the CPU or CUDA")
    if tensor.dtype not in FORMAT_OF and tensor.dtype != torch.complex64:
        raise TypeError(f"{name} is of {tensor.dtype}: must be of float32, bfloat16, float16 or complex64")


def fills_memory(tensor: Tensor) -> bool:
    """Tells whether a tensor's elements, as they lie, fill its memory, in any order of dimensions."""
    return is_dense(tensor.shape, tensor.stride()) and not tensor.is_neg() and not tensor.is_conj()


def _in_memory_order(tensor: Tensor) -> Tensor:
    """Returns a dense tensor's elements in the order of its memory."""
    return tensor.as_strided((tensor.numel(),), (1,))


def like_memory(value: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a tensor's values as elements of a type that lie as those of `like` do: itself, if they do already."""
    if value.dtype == dtype and value.device == like.device and value.stride() == like.stride():
        return value
    return torch.empty_like(like, dtype=dtype).copy_(value)


# ---- codes -------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def _code_map(form: str, signed: bool) -> Tensor:
    """Returns the 256 values of q8's codes, in order: the middles of 2^i (signed) or 2^(i+1) equal parts of [0.1, 1],
    times 10^(i-6) for i from 0 to 6, with both signs if signed; 0; and 1."""
    if form not in ("q8", "q8_64"):
        raise ValueError(f"moments in {form} can be neither read nor written as numbers")
    values = [0.0, 1.0]
    for i in range(7):
        parts = 2**i if signed else 2 ** (i + 1)
        middles = [(0.1 + 0.9 * (part + 0.5) / parts) * 10.0 ** (i - 6) for part in range(parts)]
        values += middles + [-middle for middle in middles] * signed
    return torch.tensor(sorted(values), dtype=torch.float64)


def _blocks(flat: Tensor, form: str) -> Tensor:
    """Returns the elements as rows of a block each, the last one filled up with zeros."""
    return torch.nn.functional.pad(flat, (0, -flat.numel() % BLOCKS[form])).view(-1, BLOCKS[form])


def quantize(flat: Tensor, form: str, signed: bool) -> tuple[Tensor, Tensor]:
    """Returns the codes of numbers, each the nearest, and their blocks' absmax. A positive number that has no sign
    never becomes zero: it would be divided by."""
    values = _code_map(form, signed).to(flat.device)
    blocks = _blocks(flat.double(), form)
    most = blocks.abs().amax(1, keepdim=True)
    most = torch.where(most > 0, most.clamp(min=2.0**-57 if signed else 2.0**-103), most)
    absmax = (most / values[-2]).float()  # the largest becomes the last value below 1, on either side
    ratio = torch.where(absmax > 0, blocks / absmax.double(), torch.zeros_like(blocks))
    codes = torch.bucketize(ratio, (values[1:] + values[:-1]) / 2)
    if not signed:
        codes = torch.where((blocks > 0) & (codes == 0), 1, codes)
    codes = torch.where(absmax > 0, codes, 0)
    return codes.to(torch.uint8).flatten()[: flat.numel()], absmax.flatten()


def dequantize(codes: Tensor, absmax: Tensor, form: str, signed: bool) -> Tensor:
    """Returns the numbers that codes stand for, in their blocks, as floats."""
    values = _code_map(form, signed).to(codes.device, torch.float32)
    blocks = values[_blocks(codes, form).long()] * absmax.view(-1, 1)
    return blocks.flatten()[: codes.numel()]


# ---- moments -----------------------------------------------------------------------------------------------------


def make_moment(state: dict[str, Any], name: str, form: str, item: Item) -> None:
    """Adds a moment of zeros to a parameter's state."""
    dtype = torch.complex64 if item.param.is_complex() else DTYPES[form]
    state[name] = torch.zeros_like(item.param, dtype=dtype, memory_format=torch.preserve_format)
    if form in BLOCKS:
        blocks = -(-item.param.numel() // BLOCKS[form])
        state[f"{name}_absmax"] = torch.zeros(blocks, dtype=torch.float32, device=item.param.device)


def _numbers(plain: Tensor, absmax: Any, name: str, wanted: str, item: Item) -> Tensor:
    """Returns the numbers that a moment's codes stand for."""
    blocks = absmax.numel() if isinstance(absmax, Tensor) else -1
    forms = [form for form in (wanted, *BLOCKS) if form in BLOCKS and -(-plain.numel() // BLOCKS[form]) == blocks]
    if not forms or not fills_memory(plain):
        raise ValueError(f"{item.name}: its {name} has {plain.numel()} codes, but {max(blocks, 0)} absmax")
    flat = dequantize(_in_memory_order(plain), absmax.to(plain.device, torch.float32), forms[0], name not in UNSIGNED)
    return flat.as_strided(plain.shape, plain.stride())


def convert_moment(state: dict[str, Any], name: str, form: str, item: Item) -> None:
    """Brings a moment to the format, the device and the order of elements that the parameter asks for, unless it is
    there already. The tensor that holds it remains: others may refer to it."""
    value, absmax = state[name], state.get(f"{name}_absmax")
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise TypeError(f"{item.name}: its {name} must be a strided tensor")
    if value.is_complex() != item.param.is_complex():
        raise TypeError(f"{item.name} is of {item.param.dtype}, but its {name} of {value.dtype}")
    plain, like, dtype = memory_of(value), item.memory, DTYPES[form]
    if plain.shape != like.shape:
        raise ValueError(f"{item.name} has the shape {tuple(item.param.shape)}, but its {name} {tuple(value.shape)}")
    blocks = -(-value.numel() // BLOCKS[form]) if form in BLOCKS else None
    if (plain.dtype == dtype and plain.device == like.device and plain.stride() == like.stride()
            and (blocks is None or isinstance(absmax, Tensor) and absmax.dtype == torch.float32
                 and absmax.shape == (blocks,) and absmax.is_contiguous() and absmax.device == like.device)):
        return
    if plain.dtype == torch.uint8:
        plain = _numbers(plain, absmax, name, form, item)
    new = like_memory(plain, like, torch.float32 if blocks is not None else dtype)
    if blocks is not None:
        codes, state[f"{name}_absmax"] = quantize(_in_memory_order(new), form, name not in UNSIGNED)
        new = codes.as_strided(like.shape, like.stride())
    else:
        state.pop(f"{name}_absmax", None)
    holder = value.to_local() if isinstance(value, DTensor) else value
    holder.data = torch.view_as_complex(new) if value.is_complex() else new


def drop_subnormals(state: dict[str, Any], name: str) -> None:
    """Makes zeros of what is too small for the library to keep."""
    value = memory_of(state[name])
    if not value.is_floating_point():
        return
    small = (value.abs() < torch.finfo(torch.float32).tiny) & (value != 0)
    if small.any():
        state[name] = state[name].clone()
        memory_of(state[name]).masked_fill_(small, 0)
