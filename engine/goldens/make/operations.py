"""The fused operations of engine/src/op, one by one, with the gradient of every argument: the golden `operations`."""

import torch
import torch.nn.functional as F

import common

source = common.generator(7)
cases = {}


def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(*shape, generator=source) * scale + shift


def case(name: str, operation, **arguments: torch.Tensor) -> None:
    """Result and gradients under a random gradient of the result; what starts with `mask` is a constant."""
    with torch.enable_grad():
        trained = {key: tensor.requires_grad_() for key, tensor in arguments.items() if not key.startswith("mask")}
        y = operation(**arguments)
        upstream = normal(*y.shape)
        gradients = torch.autograd.grad(y, list(trained.values()), upstream)
    cases.update({f"{name}.{key}": tensor for key, tensor in arguments.items()})
    cases.update({f"{name}.grad_{key}": gradient for key, gradient in zip(trained, gradients)})
    cases.update({f"{name}.y": y, f"{name}.upstream": upstream})


def attention(n_heads: int):
    def operation(query, key, value, mask=None):
        query, key, value = (x.unflatten(-1, (n_heads, -1)).transpose(1, 2) for x in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)

    return operation


def attentions() -> None:
    # batch, queries, keys, width, heads: heads of 5, 8, 17 and 20 numbers, and tiles of queries and keys that end early.
    for batch, n_queries, n_keys, width, n_heads in [(2, 5, 7, 15, 3), (1, 67, 19, 16, 2), (2, 3, 70, 17, 1), (3, 9, 1, 40, 2)]:
        qkv = dict(query=normal(batch, n_queries, width), key=normal(batch, n_keys, width),
                   value=normal(batch, n_keys, width))  # fmt: skip
        case(f"attention.{n_queries}x{n_keys}.{n_heads}", attention(n_heads), **qkv)
    x = {name: normal(2, 21, 24) for name in ("query", "key", "value")}
    causal = torch.full((21, 21), float("-inf")).triu(1)
    case("attention.causal.3", attention(3), **x, mask=causal)
    x = {name: normal(2, n, 18) for name, n in (("query", 6), ("key", 13), ("value", 13))}
    case("attention.bias.2", attention(2), **x, mask=normal(6, 13, scale=2.0))


def norms() -> None:
    for name, shape in {"1x13": (1, 13), "2x5x24": (2, 5, 24), "3x7x33": (3, 7, 33)}.items():
        arguments = dict(x=normal(*shape, scale=2.0, shift=0.7), weight=normal(shape[-1], shift=1.0), bias=normal(shape[-1]))
        case(f"layer_norm.{name}", lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias, 1e-5), **arguments)
    groups = {"4": (2, 12, 5, 7), "2": (3, 6, 3, 3), "1": (1, 5, 19), "8": (2, 8, 5, 4)}
    for n_groups, shape in groups.items():
        for name, after in {"group_norm": lambda y: y, "group_norm_silu": F.silu}.items():
            arguments = dict(x=normal(*shape, scale=1.5, shift=-0.4), weight=normal(shape[1], shift=1.0), bias=normal(shape[1]))
            case(
                f"{name}.{n_groups}",
                lambda x, weight, bias: after(F.group_norm(x, int(n_groups), weight, bias, 1e-6)),
                **arguments,
            )


def activations() -> None:
    shape = (3, 5, 38)
    for name, operation in {
        "gelu": lambda x: F.gelu(x),
        "silu": lambda x: F.silu(x),
        # OpenAI CLIP's, as transformers has it (`QuickGELUActivation`).
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        # diffusers' GEGLU, after its projection.
        "geglu": lambda x: x.chunk(2, dim=-1)[0] * F.gelu(x.chunk(2, dim=-1)[1]),
    }.items():
        case(name, operation, x=normal(*shape, scale=3.0))


def rest() -> None:
    def linear(x, weight, bias=None):
        return F.linear(x, weight, bias)

    for name, shape, n_out in [("2x5x7", (2, 5, 7), 11), ("1x1", (1, 1), 1), ("33x17", (33, 17), 35)]:
        arguments = dict(x=normal(*shape), weight=normal(n_out, shape[-1]), bias=normal(n_out))
        case(f"linear.{name}", linear, **arguments)
        without = {key: tensor.detach().clone() for key, tensor in arguments.items() if key != "bias"}
        case(f"linear.{name}.without_bias", linear, **without)
    for shape in [(2, 3, 5, 4), (1, 2, 1, 7)]:
        name = "x".join(map(str, shape))
        case(f"upsample.{name}", lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"), x=normal(*shape))


attentions()
norms()
activations()
rest()
common.save_cases("operations", cases)
