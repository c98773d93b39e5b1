"""The blocks of convolutions that the VAE and the UNet share: diffusers' ResnetBlock2D, Downsample2D, Upsample2D."""

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from safetensors.torch import save_file

import common

BLOCKS = {
    "resnet_time": ResnetBlock2D(in_channels=8, out_channels=12, temb_channels=10, groups=4, eps=1e-5),
    "resnet_plain": ResnetBlock2D(in_channels=8, out_channels=8, temb_channels=None, groups=2, eps=1e-6),
    "down_all_sides": Downsample2D(8, use_conv=True, padding=1),
    "down_right_and_bottom": Downsample2D(8, use_conv=True, padding=0),
    "up": Upsample2D(8, use_conv=True),
}


def main() -> None:
    source = common.generator(3)
    # An odd batch, not square; odd sides too, where the two paddings round differently.
    x, odd = torch.randn(3, 8, 6, 10, generator=source), torch.randn(3, 8, 7, 5, generator=source)
    time = torch.randn(3, 10, generator=source)
    weights, cases = {}, {"x": x, "odd": odd, "time": time}
    for seed, (name, block) in enumerate(BLOCKS.items()):
        common.randomize(block, seed)
        state = {f"{name}.{key}": value for key, value in block.state_dict().items() if "Conv2d_0" not in key}
        weights.update({key: value.clone() for key, value in state.items()})
        arguments = (time if name == "resnet_time" else None,) if name.startswith("resnet") else ()
        cases[f"{name}.x"] = block(x, *arguments)
        cases[f"{name}.odd"] = block(odd, *arguments)
    save_file(weights, common.folder("block") / "model.safetensors")
    common.save_cases("block", cases)


if __name__ == "__main__":
    main()
