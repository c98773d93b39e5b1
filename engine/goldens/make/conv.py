"""Convolutions of PyTorch, with their gradients: the golden `conv`."""

import torch
import torch.nn.functional as F

import common

# name, batch, c_in, c_out, height, width, kernel, stride, padding, bias
CASES = [
    ("k3_s1_p1", 2, 20, 18, 9, 16, 3, 1, 1, True),
    ("k3_s1_p0", 1, 17, 16, 12, 14, 3, 1, 0, False),
    ("k3_s2_p1", 2, 8, 6, 12, 12, 3, 2, 1, True),
    ("k3_s2_p0_odd", 1, 6, 8, 15, 12, 3, 2, 0, True),
    ("k1_s1_p0", 2, 12, 16, 6, 8, 1, 1, 0, True),
    ("k4_s2_p1", 1, 8, 6, 11, 14, 4, 2, 1, False),
    ("k14_s14_p0", 2, 3, 5, 28, 14, 14, 14, 0, True),
]

source = common.generator(5)
cases = {}
for name, batch, c_in, c_out, height, width, kernel, stride, padding, has_bias in CASES:
    x = torch.randn(batch, c_in, height, width, generator=source)
    weight = torch.randn(c_out, c_in, kernel, kernel, generator=source) / (c_in * kernel**2) ** 0.5
    bias = torch.randn(c_out, generator=source) if has_bias else None
    arguments = {"x": x, "weight": weight} | ({"bias": bias} if has_bias else {})
    with torch.enable_grad():
        for tensor in arguments.values():
            tensor.requires_grad_()
        y = F.conv2d(x, weight, bias, stride, padding)
        upstream = torch.randn(y.shape, generator=source)
        gradients = torch.autograd.grad(y, list(arguments.values()), upstream)
    cases |= {f"{name}.{key}": tensor for key, tensor in arguments.items()}
    cases |= {f"{name}.grad_{key}": tensor for key, tensor in zip(arguments, gradients)}
    cases |= {
        f"{name}.y": y,
        f"{name}.upstream": upstream,
        f"{name}.stride_padding": torch.tensor([stride, padding, int(has_bias)]),
    }
common.save_cases("conv", cases)
