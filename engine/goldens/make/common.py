"""What all golden scripts share: seeds, weights that are not degenerate, and where files go.

Run a script with the versions in ../requirements.txt: `python engine/goldens/make/NAME.py`. Each makes the folders
`engine/goldens/CASE/`: the model as `save_pretrained` writes it, and `cases.safetensors` with inputs and outputs.
"""

import pathlib

import torch
from safetensors.torch import save_file

GOLDENS = pathlib.Path(__file__).resolve().parent.parent

torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Gives every parameter and buffer of floats a value that matters: fresh models have zero biases and unit norms,
    which hide mistakes."""
    source = generator(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=source)
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(noise / fan_in**0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return model.eval()


def folder(name: str) -> pathlib.Path:
    path = GOLDENS / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def save_cases(name: str, cases: dict[str, torch.Tensor]) -> None:
    """Writes inputs and outputs: `cases.safetensors` of the golden `name`."""
    tensors = {key: value.detach().clone().contiguous() for key, value in cases.items()}
    save_file(tensors, folder(name) / "cases.safetensors")
