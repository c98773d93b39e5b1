"""Times convolutions of PyTorch and of the engine in turn, and prints a table: least milliseconds, and their ratio.

    cargo build --release -p cafe-engine --example conv_speed
    python engine/benches/peers/conv.py target/release/examples/conv_speed [ROUNDS] [--candle] [WORD]
"""

import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

THREADS = 2
SHAPES = [  # name, c_in, c_out, size, batch, kernel, stride, train
    *[(f"unet {i}->{o}@{s}", i, o, s, b, 3, 1, 0) for b in (1, 2) for i, o, s in [
        (320, 320, 64), (320, 320, 32), (640, 640, 32), (640, 640, 16), (1280, 1280, 16), (1280, 1280, 8),
        (1920, 640, 32), (960, 320, 64), (2560, 1280, 8)]],
    ("unet down 320@64", 320, 320, 64, 2, 3, 2, 0),
    ("unet out 320->4@64", 320, 4, 64, 2, 3, 1, 0),
    ("unet in 4->320@64", 4, 320, 64, 2, 3, 1, 0),
    ("shortcut 960->320@64", 960, 320, 64, 2, 1, 1, 0),
    ("patches 14 of 224", 3, 1536, 224, 1, 14, 14, 0),
    ("patches 32 of 224", 3, 768, 224, 4, 32, 32, 0),
    *[(f"train {c}@{s}", c, c, s, 16, 3, 1, t) for c, s in [(64, 16), (96, 8), (128, 4), (128, 8)] for t in (0, 1)],
    ("train down 64@16", 64, 64, 16, 16, 3, 2, 1),
    ("train 1x1 192->96@8", 192, 96, 8, 16, 1, 1, 1),
    ("train 320@32", 320, 320, 32, 2, 3, 1, 1),
]


def peer(c_in, c_out, size, batch, kernel, stride, train, repeats):
    x = torch.randn(batch, c_in, size, size, requires_grad=bool(train))
    weight = torch.randn(c_out, c_in, kernel, kernel) / (c_in * kernel * kernel) ** 0.5
    bias = torch.randn(c_out)
    weight.requires_grad_(bool(train)), bias.requires_grad_(bool(train))
    least = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        y = F.conv2d(x, weight, bias, stride, 1 if kernel == 3 else 0)
        if train:
            y.sum().backward()
            x.grad = weight.grad = bias.grad = None
        least = min(least, time.perf_counter() - start)
    return least * 1e3


def main():
    torch.set_num_threads(THREADS)
    options = [word for word in sys.argv[2:] if not word.isdigit() and not word.startswith("--")]
    rounds = next((int(word) for word in sys.argv[2:] if word.isdigit()), 3)
    with_candle = "--candle" in sys.argv
    engine = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "RAYON_NUM_THREADS": str(THREADS)})

    def ours(*numbers):
        engine.stdin.write(" ".join(map(str, numbers)) + "\n")
        engine.stdin.flush()
        return float(engine.stdout.readline())

    print(f"{'shape':28} {'batch':>5} {'torch ms':>9} {'ours ms':>9} {'ratio':>6} {'GFLOP/s':>8}" + "  candle ms" * with_candle)
    for name, *numbers in SHAPES:
        if options and not any(word in name for word in options):
            continue
        c_in, c_out, size, batch, kernel, stride, train = numbers
        flops = 2 * batch * c_out * (size // stride) ** 2 * c_in * kernel**2 * (3 if train else 1)
        repeats = max(3, min(30, int(8e9 / flops)))
        pairs = [(peer(*numbers, repeats), ours(*numbers, repeats)) for _ in range(rounds)]
        torch_ms, our_ms = (min(times) for times in zip(*pairs))
        row = f"{name:28} {batch:5} {torch_ms:9.2f} {our_ms:9.2f} {our_ms / torch_ms:6.2f} {flops / our_ms / 1e6:8.0f}"
        if with_candle:
            row += f" {ours(*numbers[:-1], train + 2, 3):10.2f}"
        print(row + (" forward+backward" if train else ""), flush=True)
    engine.stdin.close()


main()
