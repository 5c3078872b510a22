"""Trains a language model on real text with AdamW's state in f32, in q8 and in q8_64, and compares the final losses.

    bench/peers/run --help                                  # makes build/peers, once
    PYTHONPATH=python build/peers/bin/python bench/peers/train_text.py [--words]

The model reads 16 bytes and predicts the next: an embedding, two hidden layers, 256 outputs, 1.3 million parameters in
all. With --words it reads words instead, what white space separates: of the 8,800 rows of its embedding, and as many
outputs, nearly half are of words that the text has once. PyTorch computes the gradients, fusedopt makes the steps;
initial parameters and batches are the same for all formats. The text is that of Python's own help topics
(pydoc_data.topics), some 470 kB of English, unless --text names a file; its last tenth is held out.
"""

import argparse
import importlib
import math
import sys
import time

import torch

import fusedopt

CONTEXT, WIDTH = 16, 64


def read_text(path):
    if path:
        with open(path, "rb") as file:
            return file.read()
    topics = importlib.import_module("pydoc_data.topics").topics
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def tokens_of(text, words):
    """Returns the numbers of the text's bytes or words, and how many different ones there may be."""
    if not words:
        return torch.frombuffer(bytearray(text), dtype=torch.uint8).long(), 256
    numbers = {}
    tokens = [numbers.setdefault(word, len(numbers)) for word in text.split()]
    return torch.tensor(tokens), len(numbers)


def make_model(seed, vocabulary):
    torch.manual_seed(seed)
    hidden = 800 if vocabulary == 256 else 256
    return torch.nn.Sequential(
        torch.nn.Embedding(vocabulary, WIDTH),
        torch.nn.Flatten(),
        torch.nn.Linear(CONTEXT * WIDTH, hidden),
        torch.nn.GELU(),
        torch.nn.Linear(hidden, hidden // 2),
        torch.nn.GELU(),
        torch.nn.Linear(hidden // 2, vocabulary),
    )


def loss_at(model, text, places):
    windows = text[places[:, None] + torch.arange(CONTEXT + 1)]
    return torch.nn.functional.cross_entropy(model(windows[:, :-1]), windows[:, -1])


def held_out_loss(model, text, begin):
    places = torch.arange(begin, len(text) - CONTEXT, 7)
    with torch.no_grad():
        return sum(float(loss_at(model, text, part)) * len(part) for part in places.split(4096)) / len(places)


def train(state_format, text, vocabulary, options):
    model = make_model(options.seed, vocabulary)
    optimizer = fusedopt.torch.AdamW(model.parameters(), lr=options.lr, state_format=state_format)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=options.steps)
    generator = torch.Generator().manual_seed(options.seed)
    begin = len(text) * 9 // 10
    last, started = [], time.monotonic()
    for step in range(options.steps):
        places = torch.randint(begin - CONTEXT, (options.batch,), generator=generator)
        loss = loss_at(model, text, places)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step >= options.steps * 9 // 10:
            last.append(loss.item())
        if sys.stderr.isatty() and step % 50 == 0:
            print(f"\r{state_format} step {step} loss {loss.item():.4f}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    parameters = sum(p.numel() for p in model.parameters())
    return parameters, sum(last) / len(last), held_out_loss(model, text, begin), time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="a file to learn instead")
    parser.add_argument("--words", action="store_true", help="words instead of bytes")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    text, vocabulary = tokens_of(read_text(options.text), options.words)
    print(f"{len(text)} tokens, {vocabulary} different; {options.steps} steps of {options.batch}; uniform guessing: "
          f"{math.log(vocabulary):.4f}")
    print(f"{'state':<6} {'parameters':>10} {'training loss':>14} {'held-out loss':>14} {'seconds':>8}")
    losses = {}
    for state_format in ("f32", "q8", "q8_64"):
        parameters, training, held_out, seconds = train(state_format, text, vocabulary, options)
        losses[state_format] = training, held_out
        print(f"{state_format:<6} {parameters:>10} {training:>14.4f} {held_out:>14.4f} {seconds:>8.0f}", flush=True)
    f32, f32_held_out = losses.pop("f32")
    for state_format, (training, held_out) in losses.items():
        change, held_out_change = training / f32 - 1, held_out / f32_held_out - 1
        print(f"{state_format} against f32: training {change:+.2%}, held out {held_out_change:+.2%}")
    return 0 if all(x < 1.01 * f32 and y < 1.01 * f32_held_out for x, y in losses.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
