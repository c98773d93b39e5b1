"""CAFE's UNet (arXiv 2312.03045, Eq. 1) on diffusers' `UNet2DConditionModel`: each `attn2` attends to CLIP tokens and
to DINO patches with keys and values of their own and a shared query, and sums both before the output projection."""

import json
import pathlib

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from safetensors.torch import save_file

import common

CLIP_DIM, DINO_DIM, N_DINO_TOKENS = 12, 20, 5

CONFIG = dict(
    sample_size=8,
    in_channels=4,
    out_channels=4,
    block_out_channels=(8, 16, 16),
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    attention_head_dim=(1, 2, 2),
    norm_num_groups=4,
    cross_attention_dim=24,
    use_linear_projection=True,
)


class DecoupledProcessor:
    """`encoder_hidden_states` is a pair: CLIP tokens (B, n, D_clip) and DINO tokens (B, N, D_dino)."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        clip_tokens, dino_tokens = CONDITIONS["clip"], CONDITIONS["dino"]

        def heads(x):
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query = heads(attn.to_q(hidden_states))
        attended = F.scaled_dot_product_attention(
            query, heads(attn.to_k_clip(clip_tokens)), heads(attn.to_v_clip(clip_tokens))
        ) + F.scaled_dot_product_attention(
            query, heads(attn.to_k_dino(dino_tokens)), heads(attn.to_v_dino(dino_tokens))
        )
        return attn.to_out[0](attended.transpose(1, 2).flatten(2))


# diffusers hands a processor one tensor only: the pair goes this way.
CONDITIONS: dict[str, torch.Tensor] = {}


class ClipTokens(torch.nn.Module):
    """IP-Adapter's `ImageProjModel`: n tokens of one embedding."""

    def __init__(self, n_tokens: int, clip_dim: int):
        super().__init__()
        self.n_tokens = n_tokens
        self.proj = torch.nn.Linear(clip_dim, n_tokens * clip_dim)
        self.norm = torch.nn.LayerNorm(clip_dim)

    def forward(self, clip):
        return self.norm(self.proj(clip).unflatten(-1, (self.n_tokens, -1)))


class CafeUNet(UNet2DConditionModel):
    def __init__(self, n_clip_tokens: int, clip_dim: int = CLIP_DIM, dino_dim: int = DINO_DIM, config: dict = CONFIG):
        super().__init__(**config)
        self.cafe = dict(clip_dim=clip_dim, dino_dim=dino_dim, n_clip_tokens=n_clip_tokens)
        self.own_config = config
        for module in self.modules():
            if getattr(module, "is_cross_attention", False):
                width = module.to_q.out_features
                del module.to_k, module.to_v
                module.to_k_clip = torch.nn.Linear(clip_dim, width, bias=False)
                module.to_v_clip = torch.nn.Linear(clip_dim, width, bias=False)
                module.to_k_dino = torch.nn.Linear(dino_dim, width, bias=False)
                module.to_v_dino = torch.nn.Linear(dino_dim, width, bias=False)
                module.set_processor(DecoupledProcessor())
        self.clip_tokens = ClipTokens(n_clip_tokens, clip_dim) if n_clip_tokens > 1 else None

    def predict(self, latents, timesteps, clip, dino):
        CONDITIONS["clip"] = clip[:, None] if self.clip_tokens is None else self.clip_tokens(clip)
        CONDITIONS["dino"] = dino
        # Unused by the processors, but it must be there.
        return self(latents, timesteps, torch.zeros(len(latents), 1, self.own_config["cross_attention_dim"])).sample

    def save(self, folder: pathlib.Path):
        config = dict(self.own_config)
        del config["cross_attention_dim"]
        config["cafe"] = self.cafe
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        state = {key: value.float().contiguous() for key, value in self.state_dict().items()}
        save_file(state, folder / "diffusion_pytorch_model.safetensors")


def batch(source: torch.Generator, size: int = 3):
    def normal(*shape):
        return torch.randn(shape, generator=source)

    return dict(
        latents=normal(size, 4, 8, 8),
        noise=normal(size, 4, 8, 8),
        timesteps=torch.randint(0, 1000, (size,), generator=source),
        clip=normal(size, CLIP_DIM),
        dino=normal(size, N_DINO_TOKENS, DINO_DIM),
        keep_clip=(torch.rand(size, generator=source) > 0.3).float(),
        keep_dino=(torch.rand(size, generator=source) > 0.3).float(),
    )


def alphas_cumprod():
    """Stable Diffusion's: scaled linear, 0.00085 to 0.012, 1,000 steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


def min_snr_weights(timesteps, prediction_type, gamma=1.0):
    """As diffusers' `train_text_to_image.py --snr_gamma`, with its own `compute_snr`."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    snr = compute_snr(scheduler, timesteps)
    weights = torch.stack([snr, gamma * torch.ones_like(timesteps)], dim=1).min(dim=1)[0]
    return weights / (snr if prediction_type == "epsilon" else snr + 1)


def loss_of(model, data, prediction_type="epsilon", min_snr=False):
    """Eq. 3: mean squared error of the noise, both conditions dropped independently."""
    dtype = model.dtype
    alpha = alphas_cumprod()[data["timesteps"]].to(dtype)[:, None, None, None]
    latents, noise = data["latents"].to(dtype), data["noise"].to(dtype)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    clip = data["clip"].to(dtype) * data["keep_clip"].to(dtype)[:, None]
    dino = data["dino"].to(dtype) * data["keep_dino"].to(dtype)[:, None, None]
    target = noise if prediction_type == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    predicted = model.predict(noisy, data["timesteps"], clip, dino)
    if not min_snr:
        return F.mse_loss(predicted, target)
    squares = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
    return (squares * min_snr_weights(data["timesteps"], prediction_type)).mean()


def main():
    torch.manual_seed(0)
    model = common.randomize(CafeUNet(n_clip_tokens=2), seed=1)
    model.save(common.folder("cafe_unet"))
    source = common.generator(2)
    data = batch(source)
    # One row has both, one lacks each: every parameter has a gradient.
    data["keep_clip"] = torch.tensor([1.0, 0.0, 1.0])
    data["keep_dino"] = torch.tensor([1.0, 1.0, 0.0])
    cases = {f"in.{key}": value for key, value in data.items()}
    cases["out.forward"] = model.predict(data["latents"], data["timesteps"], data["clip"], data["dino"])

    # Gradients in double precision: what the engine's are measured against.
    with torch.enable_grad():
        exact = common.randomize(CafeUNet(n_clip_tokens=2), seed=1).double()
        torch.set_default_dtype(torch.float64)
        for kind in ("epsilon", "v_prediction"):
            exact.zero_grad()
            loss = loss_of(exact, data, kind)
            loss.backward()
            cases[f"out.loss.{kind}"] = loss.float()
            cases[f"out.min_snr.{kind}"] = loss_of(exact, data, kind, min_snr=True).detach().float()
            if kind == "epsilon":
                for name, parameter in exact.named_parameters():
                    cases[f"gradient.{name}"] = parameter.grad.float()
        torch.set_default_dtype(torch.float32)

        # Twenty steps of AdamW over five batches.
        batches = [batch(source) for _ in range(5)]
        for index, each in enumerate(batches):
            cases.update({f"train.{index}.{key}": value for key, value in each.items()})
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
        losses = []
        for step in range(20):
            loss = loss_of(model, batches[step % 5])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        cases["train.losses"] = torch.tensor(losses)
    common.save_cases("cafe_unet", cases)
    print(losses)


if __name__ == "__main__":
    main()
