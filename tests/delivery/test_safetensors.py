"""Whether others read our files and we read theirs: a reader and a writer of safetensors files in a few lines of
Python, and the packages safetensors, torch and bitsandbytes, where they are installed. Arguments: the program
checkpoint_files, an empty folder. Prints TAP."""
import json
import os
import random
import struct
import subprocess
import sys
import traceback

program, folder = sys.argv[1:]
count = 0
failed = False


def report(text):
    """Decorates a test: runs it, and prints its line."""

    def run(test):
        global count, failed
        count += 1
        try:
            reason = test()
            print(f"ok {count} - {text}" + (f" # SKIP {reason}" if reason else ""))
        except Exception:
            failed = True
            print(f"not ok {count} - {text}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")

    return run


def state_after(*arguments):
    """Returns what the program prints: name -> (format, bytes)."""
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    lines = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    return {name: (form, bytes.fromhex(digits)) for name, form, digits in lines}


DTYPES = {"f32": ("F32", 4), "bf16": ("BF16", 2), "f16": ("F16", 2), "q8": ("U8", 1), "q8_64": ("U8", 1), "i64": ("I64", 8)}


def read(path):
    """Returns the metadata, and name -> (dtype, shape, bytes); checks all that the format demands."""
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length].decode("utf-8"))
    assert data[8:9] == b"{" and length % 8 == 0 and length < 100_000_000
    metadata = header.pop("__metadata__", {})
    assert all(isinstance(value, str) for value in metadata.values())
    sizes, end, tensors = dict(DTYPES.values()), 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        elements = 1
        for size in entry["shape"]:
            elements *= size
        assert first == end and last - first == elements * sizes[entry["dtype"]], name
        assert first % sizes[entry["dtype"]] == 0, f"{name} is not aligned"
        tensors[name] = entry["dtype"], entry["shape"], data[8 + length + first : 8 + length + last]
        end = last
    assert end == len(data) - 8 - length
    return metadata, tensors


def write(path, tensors, metadata=None):
    """Writes name -> (dtype, shape, bytes), in that order."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


ours = os.path.join(folder, "ours.safetensors")
theirs = os.path.join(folder, "theirs.safetensors")
want = state_after("write", ours)


@report("our file has the state, under PyTorch's names")
def _():
    _, tensors = read(ours)
    assert set(tensors) == set(want), set(tensors) ^ set(want)
    names = {name.replace("embed.weight", "NAME") for name in tensors if name.startswith("embed.weight")}
    assert names == {"NAME", "NAME.step", "NAME.exp_avg", "NAME.exp_avg_sq"}, names
    assert "layers.0.weight.max_exp_avg_sq" in tensors and 'head € "quoted".momentum_buffer' in tensors
    for name, (form, data) in want.items():
        dtype, shape, found = tensors[name]
        assert (dtype, found) == (DTYPES[form][0], data), name
        assert shape == ([] if name.endswith(".step") else [len(data) // DTYPES[form][1]]), (name, shape)


@report("its metadata say what it is of")
def _():
    metadata, _ = read(ours)
    assert metadata["fusedopt.format"] == "1" and metadata["fusedopt.seed"] == "11111111111111111111"
    assert metadata["fusedopt.version"].count(".") == 2
    groups, tensors = json.loads(metadata["fusedopt.groups"]), json.loads(metadata["fusedopt.tensors"])
    assert groups[0]["rule"] == "adamw" and groups[0]["lr"] == 0.3 and groups[0]["weight_decay"] == 0.01
    assert groups[0]["beta1"] == 0.9 and groups[0]["beta2"] == 0.999 and groups[0]["eps"] == 1e-8
    assert groups[2]["formats"]["exp_avg"] == "q8" and groups[4]["formats"]["exp_avg_sq"] == "q8_64"
    assert groups[3]["rule"] == "sgd" and groups[3]["momentum"] == 0.9
    assert tensors[3] == {"name": 'head € "quoted"', "id": "4", "group": 3, "first": 0, "count": 600, "full": 600}


@report("a file that another writer makes of it, in any order and shape, gives the same state")
def _():
    _, tensors = read(ours)
    generator = random.Random(1)
    for _ in range(10):
        names = list(tensors)
        generator.shuffle(names)
        shuffled = {}
        for name in names:
            dtype, shape, data = tensors[name]
            if name.endswith(".step"):
                dtype, data = "F32", struct.pack("<f", *struct.unpack("<q", data))
            elif len(data) % 30 == 0 and not name.endswith("absmax"):
                shape = [30, shape[0] // 30]
            shuffled[name] = dtype, shape, data
        write(theirs, shuffled, {"format": "pt"} if generator.random() < 0.5 else None)
        assert state_after("read", theirs) == want


@report("tensors in files of their own give the same state")
def _():
    _, tensors = read(ours)
    paths = []
    for i, start in enumerate(["embed", "layers", "head"]):
        paths.append(os.path.join(folder, f"{i}.safetensors"))
        write(paths[-1], {name: entry for name, entry in tensors.items() if name.startswith(start)})
    assert state_after("read", *paths) == want


def numpy_package():
    try:
        import safetensors.numpy
    except ImportError as error:
        return None, str(error)
    return safetensors.numpy, None


@report("the package safetensors reads our file")
def _():
    package, reason = numpy_package()
    if not package:
        return reason
    from safetensors import safe_open

    _, tensors = read(ours)
    with safe_open(ours, framework="np") as file:
        assert set(file.keys()) == set(tensors)
        assert file.metadata()["fusedopt.format"] == "1"
        for name, (dtype, shape, data) in tensors.items():
            if dtype != "BF16":  # NumPy has none
                array = file.get_tensor(name)
                assert array.tobytes() == data and list(array.shape) == shape, name


@report("we read the package's file")
def _():
    package, reason = numpy_package()
    if not package:
        return reason
    import numpy

    _, tensors = read(ours)
    types = {"F32": "float32", "F16": "float16", "U8": "uint8", "I64": "int64"}
    with_bf16 = ("layers.0", "layers.2")  # NumPy has none
    arrays = {
        name: numpy.frombuffer(data, types[dtype]).reshape(shape)
        for name, (dtype, shape, data) in tensors.items()
        if not name.startswith(with_bf16)
    }
    package.save_file(arrays, theirs, metadata={"format": "np"})
    rest = os.path.join(folder, "rest.safetensors")
    write(rest, {name: tensors[name] for name in tensors if name.startswith(with_bf16)})
    assert state_after("read", theirs, rest) == want


@report("PyTorch reads our file, bf16 too, and we read its")
def _():
    try:
        import torch
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        return str(error)
    _, tensors = read(ours)
    loaded = load_file(ours)
    for name, (_, shape, data) in tensors.items():
        array = loaded[name]
        assert list(array.shape) == shape, name
        assert array.reshape(-1).view(torch.uint8).numpy().tobytes() == data if shape else array.item() == 3, name
    save_file(loaded, theirs, metadata={"format": "pt"})
    assert state_after("read", theirs) == want


def peers():
    """Returns the example that converts, or why there is none."""
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples"))
    try:
        import torch_checkpoint
    except ImportError as error:
        return None, str(error)
    return torch_checkpoint, None


def there_and_back(example, name, make):
    """An optimizer of others, with one parameter of this name: its state becomes that of our program, and ours its."""
    import torch

    torch.manual_seed(1)
    model = torch.nn.Module()
    *path, last = name.split(".")
    owner = model
    for part in path:
        owner.add_module(part, torch.nn.Module())
        owner = owner.get_submodule(part)
    owner.register_parameter(last, torch.nn.Parameter(torch.randn(20, 30)))
    (parameter,) = model.parameters()
    optimizer = make([parameter])
    for _ in range(5):
        parameter.grad = torch.randn(20, 30)
        optimizer.step()
    example.save(model, optimizer, theirs, parameters=True)
    _, tensors = read(theirs)
    rest = os.path.join(folder, "rest.safetensors")
    write(rest, {key: entry for key, entry in read(ours)[1].items() if not key.startswith(name)})
    state = state_after("read", theirs, rest)
    taken = [key for key in state if key.startswith(name)]
    assert set(taken) == set(tensors), set(taken) ^ set(tensors)
    for key in taken:
        assert state[key][1] == tensors[key][2], key
    assert struct.unpack("<q", state[name + ".step"][1]) == (5,)

    again = make([parameter])
    example.load(model, again, ours, parameters=True)
    example.save(model, again, theirs, parameters=True)
    _, tensors = read(theirs)
    for key in taken:
        assert tensors[key][2] == want[key][1], key
    before = parameter.detach().clone()
    parameter.grad = torch.randn(20, 30)
    again.step()
    assert 0 < (parameter - before).abs().max() < 2


@report("the state of PyTorch's AdamW becomes ours, and ours its")
def _():
    example, reason = peers()
    if not example:
        return reason
    import torch

    there_and_back(example, "embed.weight", lambda parameters: torch.optim.AdamW(parameters, lr=0.3))


@report("the state of bitsandbytes' Adam8bit becomes ours, and ours its")
def _():
    example, reason = peers()
    if not example:
        return reason
    try:
        import bitsandbytes
    except ImportError as error:
        return str(error)
    there_and_back(
        example,
        "layers.1.weight",
        lambda parameters: bitsandbytes.optim.Adam8bit(parameters, lr=0.3, min_8bit_size=1),
    )


print(f"1..{count}")
sys.exit(failed)
