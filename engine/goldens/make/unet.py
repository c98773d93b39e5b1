"""The base model's UNet: diffusers' `UNet2DConditionModel`, as SD2 configures it (linear projections, heads by
resolution) and as SD1 does (1×1 convolutions, one number of heads)."""

import torch
from diffusers import UNet2DConditionModel

import common
from cafe_unet import CONFIG

SD1 = CONFIG | dict(use_linear_projection=False, attention_head_dim=2, layers_per_block=2, block_out_channels=(8, 16), 
                    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))


def main():
    for name, config, (height, width) in (("unet_sd2", CONFIG, (8, 12)), ("unet_sd1", SD1, (6, 4))):
        torch.manual_seed(0)
        model = common.randomize(UNet2DConditionModel(**config), seed=3)
        model.save_pretrained(common.folder(name))
        source = common.generator(4)
        latents = torch.randn(3, 4, height, width, generator=source)
        states = torch.randn(3, 7, 24, generator=source)
        timesteps = torch.tensor([1, 500, 999])
        out = model(latents, timesteps, states).sample
        common.save_cases(name, {"latents": latents, "states": states, "timesteps": timesteps, "out": out})


if __name__ == "__main__":
    main()
