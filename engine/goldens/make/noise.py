"""Goldens of engine/src/noise: diffusers' schedules, forward process, DDIM and DDPM steps, into ../noise/.

The model is a formula of latents and timestep, so that whole sampling loops can be compared.
"""

import diffusers
import torch
from common import generator, save_cases

STABLE_DIFFUSION = dict(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
    steps_offset=1,
)  # fmt: skip
BETAS = {
    "linear": dict(beta_schedule="linear"),
    "scaled_linear": dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "squaredcos_cap_v2": dict(beta_schedule="squaredcos_cap_v2"),
}
SHAPE = (2, 4, 3, 3)


def model(latents: torch.Tensor, timestep: int) -> torch.Tensor:
    return 0.6 * latents + 0.0003 * timestep - 0.1


def schedules(cases: dict[str, torch.Tensor]) -> None:
    for name, options in BETAS.items():
        for suffix, zero_snr in [("", False), (".zero_snr", True)]:
            made = diffusers.DDIMScheduler(**options, rescale_betas_zero_snr=zero_snr)
            cases[f"betas.{name}{suffix}"] = made.betas
            cases[f"alphas_cumprod.{name}{suffix}"] = made.alphas_cumprod


def forward_process(cases: dict[str, torch.Tensor]) -> None:
    ddpm = diffusers.DDPMScheduler(**BETAS["scaled_linear"])
    source = generator(1)
    shape = (5, 4, 3, 3)
    cases["forward.x0"] = torch.randn(shape, generator=source)
    cases["forward.noise"] = torch.randn(shape, generator=source)
    cases["forward.timesteps"] = torch.tensor([0, 1, 420, 998, 999])
    inputs = [cases[f"forward.{name}"] for name in ("x0", "noise", "timesteps")]
    cases["forward.noisy"] = ddpm.add_noise(*inputs)
    cases["forward.velocity"] = ddpm.get_velocity(*inputs)


def variances(cases: dict[str, torch.Tensor]) -> None:
    ddim = diffusers.DDIMScheduler()
    pairs = [(0, 0), (420, 400), (980, 960), (487, 486), (999, 998), (19, -1)]
    cases["variance.pairs"] = torch.tensor(pairs)
    cases["variance.values"] = torch.stack([ddim._get_variance(*pair) for pair in pairs])


def ddim_loop(cases: dict[str, torch.Tensor], name: str, n_steps: int, eta: float, **options) -> None:
    ddim = diffusers.DDIMScheduler(**{**STABLE_DIFFUSION, **options})
    ddim.set_timesteps(n_steps)
    cases[f"{name}.timesteps"] = ddim.timesteps
    latents = cases["start"]
    for index, timestep in enumerate(ddim.timesteps.tolist()):
        noise = cases["steps_noise"][index] if eta > 0 else None
        latents = ddim.step(model(latents, timestep), timestep, latents, eta=eta, variance_noise=noise).prev_sample
        if index == 0:
            cases[f"{name}.first"] = latents
    cases[f"{name}.last"] = latents


def ddim_loops(cases: dict[str, torch.Tensor]) -> None:
    for prediction in ["epsilon", "v_prediction", "sample"]:
        for spacing in ["leading", "trailing", "linspace"]:
            for n_steps in [20, 50]:
                for eta in [0.0, 0.7]:
                    name = f"ddim.{prediction}.{spacing}.{n_steps}.{eta}"
                    ddim_loop(cases, name, n_steps, eta, prediction_type=prediction, timestep_spacing=spacing)
    ddim_loop(cases, "ddim.alpha_one", 20, 0.7, set_alpha_to_one=True, steps_offset=0)
    ddim_loop(cases, "ddim.clipped", 20, 0.7, clip_sample=True, clip_sample_range=1.5)
    zero_snr = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    ddim_loop(cases, "ddim.zero_snr", 20, 0.7, **zero_snr)


def ddpm_loop(cases: dict[str, torch.Tensor], name: str, n_steps: int, **options) -> None:
    base = dict(STABLE_DIFFUSION)
    del base["set_alpha_to_one"]
    ddpm = diffusers.DDPMScheduler(**{**base, **options})
    ddpm.set_timesteps(n_steps)
    latents = cases["start"]
    for index, timestep in enumerate(ddpm.timesteps.tolist()):
        # DDPM's step draws its own noise: it draws what is in `steps_noise` here.
        diffusers.schedulers.scheduling_ddpm.randn_tensor = lambda *_, **__: cases["steps_noise"][index]
        latents = ddpm.step(model(latents, timestep), timestep, latents).prev_sample
    cases[f"{name}.last"] = latents


def main() -> None:
    source = generator()
    cases = {
        "start": torch.randn(SHAPE, generator=source),
        "steps_noise": torch.randn((50, *SHAPE), generator=source),
    }
    schedules(cases)
    forward_process(cases)
    variances(cases)
    ddim_loops(cases)
    for variance in ["fixed_small", "fixed_large"]:
        for prediction in ["epsilon", "v_prediction", "sample"]:
            ddpm_loop(cases, f"ddpm.{variance}.{prediction}", 50, variance_type=variance, prediction_type=prediction)
    ddpm_loop(cases, "ddpm.clipped", 20, clip_sample=True, steps_offset=0)
    save_cases("noise", cases)


main()
