"""Times engines in turns, against what the memory can do."""

import statistics
import time

import torch

WIDE = 0.1  # a row whose middle half is wider than this part of its median tells little,
DRIFT = 0.05  # and so does one whose first and second half differ by more than this
LEAST, WARM_UP = 3, 2  # rounds
EVICT_BYTES = 128 << 20  # more than twice what caches hold


class Clock:
    """Times on the CPU, or on CUDA's current stream."""

    def __init__(self, device):
        self.cuda = device == "cuda"
        self.others = torch.zeros(EVICT_BYTES // 4, device=device)
        if self.cuda:
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def time(self, work):
        """Seconds of work() on the device and until it returned, with cold caches."""
        self.others.add_(1)  # on a GPU this also keeps the device busy while the work is enqueued
        if self.cuda:
            self.events[0].record()
        begin = time.perf_counter()
        work()
        host = time.perf_counter() - begin
        if not self.cuda:
            return host, host
        self.events[1].record()
        self.events[1].synchronize()
        return self.events[0].elapsed_time(self.events[1]) * 1e-3, host


def launches(work, cuda):
    """Kernels of one call of work(); -1 if the profiler cannot tell."""
    if not cuda:
        return 0
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            work()
            torch.cuda.synchronize()
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())
    except RuntimeError:
        return -1


class Roof:
    """a = a / 2 + b, in place as a step is, and a = b, in arrays of `count` floats each."""

    def __init__(self, count, device):
        self.a, self.b = torch.zeros(count, device=device), torch.zeros(count, device=device)

    def stream(self):
        torch.add(self.b, self.a, alpha=0.5, out=self.a)

    def copy(self):
        self.a.copy_(self.b)


def time_rounds(contenders, device, rounds, seconds):
    """For each contender, a function, its times in each round: once a round, another one first each time, so that what
    drifts drifts for all alike. Ends after that many seconds, but not before the third round."""
    clock = Clock(device)
    times = [[] for _ in contenders]
    end = time.perf_counter() + seconds
    for number in range(rounds + WARM_UP):
        if number >= WARM_UP + LEAST and time.perf_counter() > end:
            break
        for turn in range(len(contenders)):
            who = (number + turn) % len(contenders)
            timed = clock.time(contenders[who])
            if number >= WARM_UP:
                times[who].append(timed)
    return times


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def is_wide(values):
    """Whether another run might well have another median."""
    low, middle, high = quartiles(values)
    half = len(values) // 2
    halves = statistics.median(values[:half]), statistics.median(values[half:])
    return (high - low) / middle > WIDE or max(halves) / min(halves) > 1 + DRIFT
