"""One iteration of ProFusion's tuning in PyTorch, timed; what the engine is measured against. Makes the models and the
mini-set that both take.

    python engine/benches/peers/profusion.py FOLDER [RUNS] [desk|sd2]
    RAYON_NUM_THREADS=2 cargo run --release -p cafe-engine --example profusion -- FOLDER [RUNS]
"""

import pathlib
import sys
import time

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "goldens" / "make"))

from profusion import PromptNet, Text, family, is_tuned, loss_of  # noqa: E402

DESK = dict(
    unet=dict(sample_size=16, in_channels=4, out_channels=4, block_out_channels=(64, 96, 128), layers_per_block=1,
              down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3,
              attention_head_dim=(2, 3, 4), norm_num_groups=16, cross_attention_dim=128, use_linear_projection=True),
    own=dict(vision_dim=160, prompt_channel=128, region_proj_channel=128, region_kernel_size=4, region_downsample=4,
             with_noise=True),
    text=dict(hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4),
    n_vision=65, batch=4,
)
SD2 = dict(
    unet=dict(sample_size=64, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280),
              down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
              up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, attention_head_dim=(5, 10, 20, 20),
              cross_attention_dim=1024, use_linear_projection=True, layers_per_block=2, norm_num_groups=32),
    own=dict(vision_dim=1280, prompt_channel=1024, region_proj_channel=128, region_kernel_size=8, region_downsample=8,
             with_noise=True),
    text=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16),
    n_vision=257, batch=1,
)


def main():
    folder, n_runs = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    size = SD2 if sys.argv[3:] == ["sd2"] else DESK
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(0)
    tokenizer, n_words = family.tokenizer(folder / "tokenizer")
    unet, promptnet = UNet2DConditionModel(**size["unet"]), PromptNet(size["unet"], size["own"])
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=n_words, max_position_embeddings=16, hidden_act="gelu",
                                           bos_token_id=n_words - 2, eos_token_id=n_words - 1, pad_token_id=0,
                                           **size["text"]))
    if not (folder / "set.safetensors").is_file():
        unet.save_pretrained(folder / "unet")
        encoder.save_pretrained(folder / "text_encoder")
        promptnet.save(folder / "promptnet")
        side = size["unet"]["sample_size"]
        save_file({"latents": torch.randn(8, 4, side, side),
                   "vision": torch.randn(8, size["n_vision"], size["own"]["vision_dim"])}, folder / "set.safetensors")
    else:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        promptnet.load_state_dict(load_file(folder / "promptnet" / "diffusion_pytorch_model.safetensors"))
    pictures = load_file(folder / "set.safetensors")
    encoder.requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(is_tuned(name))
    tuned = list(promptnet.parameters()) + [each for each in unet.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=2e-5, weight_decay=1e-2)
    text = Text(encoder, tokenizer)
    times = []
    for _ in range(n_runs + 1):
        begin = time.perf_counter()
        references, targets = torch.randperm(8)[: size["batch"]], torch.randperm(8)[: size["batch"]]
        data = dict(reference=pictures["latents"][references], vision=pictures["vision"][references],
                    target=pictures["latents"][targets], noise=torch.randn_like(pictures["latents"][targets]),
                    timesteps=torch.randint(0, 1000, (size["batch"],)))
        with torch.enable_grad():
            loss = loss_of(promptnet, unet, text, data)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    times = sorted(times[1:])
    print(f"torch tune: min {times[0]:.3f} s, median {times[len(times) // 2]:.3f} s", flush=True)


if __name__ == "__main__":
    main()
