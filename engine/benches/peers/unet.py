"""The SD2-base UNet in diffusers, with random weights: one step at two sizes, timed; what the engine is measured against.

    python engine/benches/peers/unet.py FOLDER      writes the model and cases into FOLDER once, then times
    cargo run --release -p cafe-engine --example unet -- FOLDER
"""

import pathlib
import sys
import time

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

CONFIG = dict(
    sample_size=64, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280),
    attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True, layers_per_block=2,
)


def main():
    folder = pathlib.Path(sys.argv[1])
    n_runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    if (folder / "config.json").exists():
        model = UNet2DConditionModel.from_pretrained(folder)
    else:
        torch.manual_seed(0)
        model = UNet2DConditionModel(**CONFIG)
        model.save_pretrained(folder, max_shard_size="20GB")
    model.eval()
    source = torch.Generator().manual_seed(1)
    cases = {}
    for side in (32, 64):
        latents = torch.randn(1, 4, side, side, generator=source)
        states = torch.randn(1, 77, 1024, generator=source)
        timesteps = torch.tensor([500])
        out = model(latents, timesteps, states).sample
        times = []
        for _ in range(n_runs):
            begin = time.perf_counter()
            model(latents, timesteps, states)
            times.append(time.perf_counter() - begin)
        print(f"diffusers {side}x{side}: min {min(times):.3f} s, median {sorted(times)[len(times) // 2]:.3f} s", flush=True)
        cases |= {f"{side}.latents": latents, f"{side}.states": states, f"{side}.out": out}
    save_file({key: value.contiguous() for key, value in cases.items()}, folder / "cases.safetensors")


if __name__ == "__main__":
    main()
