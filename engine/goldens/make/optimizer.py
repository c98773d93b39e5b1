"""Goldens of engine/src/train: a small network trained 20 steps by PyTorch, into ../optimizer/.

AdamW, clipping, warm-up and cosine, two micro-batches per step, and a moving average of the weights. The parameter `late`
has no gradient before step 7.
"""

import diffusers.optimization
import torch
from common import generator, save_cases
from diffusers.training_utils import EMAModel

torch.set_grad_enabled(True)

N_STEPS, N_MICRO = 20, 2
KEPT = [1, 6, 7, 10, 15, 20]


def initial(source: torch.Generator) -> dict[str, torch.nn.Parameter]:
    shapes = {
        "first.weight": (8, 6), "first.bias": (8,), "second.weight": (3, 8), "second.bias": (3,), "late": (3,),
    }  # fmt: skip
    return {name: torch.nn.Parameter(0.5 * torch.randn(shape, generator=source)) for name, shape in shapes.items()}


def forward(p: dict[str, torch.nn.Parameter], x: torch.Tensor, step: int) -> torch.Tensor:
    hidden = torch.tanh(x @ p["first.weight"].T + p["first.bias"])
    y = hidden @ p["second.weight"].T + p["second.bias"]
    return y + p["late"] if step >= 7 else y


def train(cases: dict[str, torch.Tensor]) -> None:
    source = generator()
    parameters = initial(source)
    x = torch.randn((N_STEPS, N_MICRO, 5, 6), generator=source)
    y = torch.randn((N_STEPS, N_MICRO, 5, 3), generator=source)
    cases |= {"x": x, "y": y}
    cases |= {f"start.{name}": parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.03, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    rate = diffusers.optimization.get_scheduler("cosine", optimizer, num_warmup_steps=4, num_training_steps=N_STEPS)
    ema = EMAModel(parameters.values(), decay=0.9)
    losses, norms, rates = [], [], []
    for step in range(1, N_STEPS + 1):
        loss_of_step = 0.0
        for micro in range(N_MICRO):
            loss = torch.nn.functional.mse_loss(forward(parameters, x[step - 1, micro], step), y[step - 1, micro])
            (loss / N_MICRO).backward()
            loss_of_step += loss.item() / N_MICRO
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0).item())
        rates.append(rate.get_last_lr()[0])
        optimizer.step()
        rate.step()
        optimizer.zero_grad(set_to_none=True)
        ema.step(parameters.values())
        losses.append(loss_of_step)
        if step in KEPT:
            for name, parameter, average in zip(parameters, parameters.values(), ema.shadow_params):
                cases[f"weights.{step}.{name}"] = parameter.detach().clone()
                cases[f"ema.{step}.{name}"] = average.clone()
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            cases[f"state.{name}.{key}"] = value.reshape(-1) if key == "step" else value
    cases["losses"], cases["norms"], cases["rates"] = (torch.tensor(list_) for list_ in (losses, norms, rates))


def learning_rates(cases: dict[str, torch.Tensor]) -> None:
    for name in ["constant", "constant_with_warmup", "linear", "cosine"]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        rate = diffusers.optimization.get_scheduler(name, optimizer, num_warmup_steps=5, num_training_steps=30)
        values = []
        for _ in range(35):
            values.append(rate.get_last_lr()[0])
            optimizer.step()
            rate.step()
        cases[f"rates.{name}"] = torch.tensor(values, dtype=torch.float64)


def decays(cases: dict[str, torch.Tensor]) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    options = {
        "plain": dict(decay=0.9999),
        "late": dict(decay=0.5, update_after_step=7, min_decay=0.2),
        "warm_up": dict(decay=0.9, use_ema_warmup=True, inv_gamma=2.0, power=0.75),
    }
    for name, chosen in options.items():
        ema = EMAModel(parameters, **chosen)
        values = [ema.get_decay(step) for step in range(1, 41)]
        cases[f"decays.{name}"] = torch.tensor(values, dtype=torch.float64)


cases: dict[str, torch.Tensor] = {}
train(cases)
learning_rates(cases)
decays(cases)
save_cases("optimizer", cases)
