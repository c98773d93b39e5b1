"""A CAFE UNet of the mini family's size in PyTorch: a training step and DDIM sampling, timed; what the engine is
measured against.

    python engine/benches/peers/mini.py FOLDER
    cargo run --release -p cafe-engine --example mini -- FOLDER
"""

import pathlib
import sys
import time

import torch
from diffusers import DDIMScheduler

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "goldens" / "make"))

from cafe_unet import CafeUNet, loss_of  # noqa: E402

CONFIG = dict(
    sample_size=16, in_channels=4, out_channels=4, block_out_channels=(64, 96, 128), layers_per_block=1,
    down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3,
    attention_head_dim=(2, 3, 4), norm_num_groups=16, cross_attention_dim=128, use_linear_projection=True,
)
CLIP_DIM, DINO_DIM, N_DINO_TOKENS, BATCH, SAMPLES, STEPS = 128, 160, 65, 16, 12, 20


def timed(name, n_runs, work):
    work()
    times = []
    for _ in range(n_runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    print(f"torch {name}: min {min(times):.3f} s, median {sorted(times)[len(times) // 2]:.3f} s", flush=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    n_runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = CafeUNet(1, CLIP_DIM, DINO_DIM, CONFIG)
    model.save(folder)
    data = dict(
        latents=torch.randn(BATCH, 4, 16, 16), noise=torch.randn(BATCH, 4, 16, 16),
        timesteps=torch.randint(0, 1000, (BATCH,)), clip=torch.randn(BATCH, CLIP_DIM),
        dino=torch.randn(BATCH, N_DINO_TOKENS, DINO_DIM), keep_clip=torch.ones(BATCH), keep_dino=torch.ones(BATCH),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def train():
        with torch.enable_grad():
            loss = loss_of(model, data)
            optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    timed("train", n_runs, train)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                              set_alpha_to_one=False, clip_sample=False)
    clip, dino = torch.randn(SAMPLES, CLIP_DIM), torch.randn(SAMPLES, N_DINO_TOKENS, DINO_DIM)
    zero_clip, zero_dino = torch.zeros_like(clip), torch.zeros_like(dino)
    all_clip, all_dino = torch.cat([zero_clip, zero_clip, clip]), torch.cat([zero_dino, dino, dino])

    @torch.no_grad()
    def sample():
        scheduler.set_timesteps(STEPS)
        z = torch.randn(SAMPLES, 4, 16, 16)
        for t in scheduler.timesteps:
            none, with_dino, both = model.predict(torch.cat([z] * 3), t.repeat(3 * SAMPLES), all_clip, all_dino).chunk(3)
            e = none + 1.5 * (with_dino - none) + 3.0 * (both - with_dino)
            z = scheduler.step(e, t, z).prev_sample

    timed("sample", max(2, n_runs // 2), sample)


if __name__ == "__main__":
    main()
