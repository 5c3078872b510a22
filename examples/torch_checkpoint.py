"""The state of PyTorch's optimizers, and of bitsandbytes' 8-bit ones, in files that fusedopt_checkpoint.h reads and
writes: save() and load(). Needs the package safetensors, and reads files of whole tensors, not of shards."""
import torch
from safetensors.torch import load_file, save_file

# bitsandbytes' names; PyTorch's are those of the files.
NAMES = {"state1": "exp_avg", "state2": "exp_avg_sq", "absmax1": "exp_avg.absmax", "absmax2": "exp_avg_sq.absmax"}


def _parameters(model, optimizer):
    """Returns the optimizer's parameters with the model's names for them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [(names[parameter], parameter) for group in optimizer.param_groups for parameter in group["params"]]


def save(model, optimizer, path, parameters=False):
    """Writes the optimizer's state to a file, and on request the parameters."""
    tensors = {}
    for name, parameter in _parameters(model, optimizer):
        for key, value in optimizer.state[parameter].items():
            if key == "step":
                value = torch.tensor(int(value))
            if key == "state2" and value.dtype == torch.uint8:
                value = value.clamp(min=1)  # a second moment of zero beside a first one that is not: steps without end
            if isinstance(value, torch.Tensor) and not key.startswith("qmap"):
                tensors[f"{name}.{NAMES.get(key, key)}"] = value.detach().cpu().contiguous()
        if parameters:
            tensors[name] = parameter.detach().cpu().contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def load(model, optimizer, path, parameters=False):
    """Reads what save() or fopt_checkpoint_save() has written."""
    tensors = load_file(path)
    bits8 = hasattr(optimizer, "name2qmap")
    if bits8:
        optimizer.fill_qmap()
    for name, parameter in _parameters(model, optimizer):
        state = {}
        for key, value in tensors.items():
            if key.startswith(name + ".") and key[len(name) + 1 :].removesuffix(".absmax").isidentifier():
                state[key[len(name) + 1 :]] = value.to(parameter.device)
        for key in list(state):
            if not key.endswith("absmax") and key != "step":
                state[key] = state[key].view(parameter.shape)
        if bits8:
            for theirs, ours in NAMES.items():
                if ours in state:
                    state[theirs] = state.pop(ours)
            if "absmax1" in state:
                state["qmap1"] = optimizer.name2qmap["dynamic"].to(parameter.device)
                state["qmap2"] = optimizer.name2qmap["udynamic"].to(parameter.device)
            state["step"] = int(state["step"])
        else:
            state["step"] = state["step"].to(torch.float32).cpu()
        optimizer.state[parameter] = state
        if parameters:
            with torch.no_grad():
                parameter.copy_(tensors[name].view(parameter.shape))
