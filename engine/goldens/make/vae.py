"""AutoencoderKL: three levels, and the same weights under the names and in the shapes of old files."""

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

import common

SHAPE = dict(
    block_out_channels=(4, 6, 8),
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    norm_num_groups=2,
    sample_size=32,
)
# Like SD2's, and like SD3's and Flux's: no quant_conv, a shift, no attention.
PLAIN = dict(
    latent_channels=3, shift_factor=0.3, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False,
    mid_block_add_attention=False,
)  # fmt: skip
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def cases(model: AutoencoderKL) -> dict[str, torch.Tensor]:
    source = common.generator(5)
    # An odd batch, not square.
    pixels = 2 * torch.rand(3, 3, 16, 28, generator=source) - 1
    distribution = model.encode(pixels).latent_dist
    latents = torch.randn(3, model.config.latent_channels, 4, 7, generator=source)
    noise = torch.randn(latents.shape, generator=source)
    return {
        "pixels": pixels,
        "mean": distribution.mean,
        "log_variance": distribution.logvar,
        "noise": noise,
        "sample": distribution.mean + distribution.std * noise,
        "latents": latents,
        "decoded": model.decode(latents).sample,
    }


def main() -> None:
    for name, options in [("vae", dict(layers_per_block=2)), ("vae_plain", dict(layers_per_block=1, **PLAIN))]:
        model = common.randomize(AutoencoderKL(**SHAPE, **options))
        common.save_cases(name, cases(model))
        model.save_pretrained(common.folder(name))

    # The whole model is in `vae`; of the old form only what differs is kept.
    model = AutoencoderKL.from_pretrained(common.folder("vae"))
    old = {}
    for key, value in model.state_dict().items():
        before, found, rest = key.partition(".attentions.0.")
        if found:
            new = next((new for new in OLD if rest.startswith(f"{new}.")), None)
            rest = rest.replace(new, OLD[new]) if new else rest
            # The encoder's as 1×1 convolutions, as the original files have them.
            is_convolution = before.startswith("encoder") and new and value.dim() == 2
            old[f"{before}{found}{rest}"] = (value[:, :, None, None] if is_convolution else value).clone()
    save_file(old, common.folder("vae") / "old_attention.safetensors")


if __name__ == "__main__":
    main()
