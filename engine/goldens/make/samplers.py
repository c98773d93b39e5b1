"""Goldens of engine/src/noise/{dpm_solver,sampler,guidance}.rs and engine/src/cafe/edit.rs, into ../samplers/.

The model is the formula of noise.py, so that whole sampling loops can be compared.
"""

import json

import diffusers
import torch
from common import folder, generator, save_cases

STABLE_DIFFUSION = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
SHAPE = (2, 4, 3, 3)


def model(latents: torch.Tensor, timestep: int) -> torch.Tensor:
    return 0.6 * latents + 0.0003 * timestep - 0.1


def dpm_solver(**options) -> diffusers.DPMSolverMultistepScheduler:
    return diffusers.DPMSolverMultistepScheduler(**{**STABLE_DIFFUSION, **options})


def dpm_loop(cases: dict[str, torch.Tensor], name: str, n_steps: int, **options) -> None:
    name = f"dpm.{name}.{n_steps}"
    solver = dpm_solver(**options)
    solver.set_timesteps(n_steps)
    cases[f"{name}.timesteps"], cases[f"{name}.sigmas"] = solver.timesteps, solver.sigmas
    latents = cases["start"]
    # Timesteps may repeat where sigmas are Karras's: steps are counted.
    solver.set_begin_index(0)
    for index, timestep in enumerate(solver.timesteps.tolist()):
        latents = solver.step(model(latents, timestep), timestep, latents).prev_sample
        if index == 1:
            cases[f"{name}.second"] = latents
    cases[f"{name}.last"] = latents


def dpm_loops(cases: dict[str, torch.Tensor]) -> None:
    for prediction in ["epsilon", "v_prediction", "sample"]:
        for spacing in ["leading", "trailing", "linspace"]:
            for n_steps in [5, 10, 14, 15, 20, 50]:
                options = dict(prediction_type=prediction, timestep_spacing=spacing)
                dpm_loop(cases, f"{prediction}.{spacing}", n_steps, **options)
    for n_steps in [5, 20]:
        dpm_loop(cases, "sigma_min", n_steps, final_sigmas_type="sigma_min")
        dpm_loop(cases, "second_order_final", n_steps, final_sigmas_type="sigma_min", lower_order_final=False)
        dpm_loop(cases, "euler_at_final", n_steps, final_sigmas_type="sigma_min", euler_at_final=True)
        dpm_loop(cases, "karras", n_steps, use_karras_sigmas=True)
        dpm_loop(cases, "karras_cosine", n_steps, use_karras_sigmas=True, beta_schedule="squaredcos_cap_v2")
        zero_snr = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
        dpm_loop(cases, "zero_snr", n_steps, **zero_snr)


def edit_loop(cases, name, scheduler, n_steps, strength, mask=None, eta=None) -> None:
    """The loop of diffusers' img2img pipeline (`get_timesteps`, `add_noise`), with the blend of its inpaint pipeline."""
    scheduler.set_timesteps(n_steps)
    first = n_steps - min(int(n_steps * strength), n_steps)
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    source, noise = cases["source"], cases["start"]
    latents = scheduler.add_noise(source, noise, timesteps[:1].repeat(len(source)))
    for index, timestep in enumerate(timesteps.tolist()):
        options = {} if eta is None else dict(eta=eta, variance_noise=cases["steps_noise"][first + index])
        latents = scheduler.step(model(latents, timestep), timestep, latents, **options).prev_sample
        if mask is not None:
            kept = source
            if index + 1 < len(timesteps):
                kept = scheduler.add_noise(source, noise, timesteps[index + 1].repeat(len(source)))
            latents = (1 - mask) * kept + mask * latents
    cases[f"edit.{name}.first"] = torch.tensor([first])
    cases[f"edit.{name}.last"] = latents


def edit_loops(cases: dict[str, torch.Tensor]) -> None:
    ddim = diffusers.DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=False)
    for strength in [0.3, 0.58, 0.75]:
        for n_steps in [10, 50]:
            for masked, mask in [("", None), (".masked", cases["mask"])]:
                edit_loop(cases, f"ddim.{strength}.{n_steps}{masked}", ddim, n_steps, strength, mask)
                edit_loop(cases, f"ddim_noise.{strength}.{n_steps}{masked}", ddim, n_steps, strength, mask, eta=0.7)
                solver = dpm_solver(timestep_spacing="leading")
                edit_loop(cases, f"dpm.{strength}.{n_steps}{masked}", solver, n_steps, strength, mask)


def guidance(cases: dict[str, torch.Tensor]) -> None:
    source = generator(3)
    none, dino, both = (torch.randn(3, 4, 5, 5, generator=source) for _ in range(3))
    # Per row, the one or the other difference is the greater.
    dino[0] += 2 * torch.randn(4, 5, 5, generator=source)
    both[1] += 3 * torch.randn(4, 5, 5, generator=source)
    dino[2] = none[2]
    cases |= {"guidance.none": none, "guidance.dino": dino, "guidance.both": both}

    def norm(x):
        return x.flatten(1).norm(dim=1)[:, None, None, None]

    # Normalised as in SynCD, whose image scale counts from the prediction under the image: one less than ours.
    for dino_scale, clip_scale in [(1.5, 7.5), (1.0, 3.0), (3.0, 0.0)]:
        to_dino, to_both = dino - none, both - dino
        least = torch.minimum(norm(to_dino), norm(to_both))
        to_dino = to_dino * torch.nan_to_num(least / norm(to_dino), nan=1.0).clamp(max=1)
        to_both = to_both * torch.nan_to_num(least / norm(to_both), nan=1.0).clamp(max=1)
        guided = dino + (dino_scale - 1) * to_dino + clip_scale * to_both
        cases[f"guidance.normalised.{dino_scale}.{clip_scale}"] = guided
    joint = none + 7.5 * (both - none)
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    for share in [0.3, 1.0]:
        cases[f"guidance.rescaled.{share}"] = rescale_noise_cfg(joint, both, share)


def configs() -> None:
    """`scheduler_config.json` as diffusers writes it."""
    for name, scheduler in {
        "ddim": diffusers.DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=False),
        "pndm": diffusers.PNDMScheduler(**STABLE_DIFFUSION),
        "dpm_solver": dpm_solver(use_karras_sigmas=True, timestep_spacing="trailing"),
        "dpm_solver_order_3": dpm_solver(solver_order=3),
        "euler": diffusers.EulerDiscreteScheduler(**STABLE_DIFFUSION),
        "unipc": diffusers.UniPCMultistepScheduler(**STABLE_DIFFUSION),
    }.items():
        scheduler.save_pretrained(folder("samplers") / name)
    # What the other class makes of a config of this one.
    made = diffusers.DPMSolverMultistepScheduler.from_pretrained(folder("samplers") / "pndm")
    made.set_timesteps(20)
    print(json.dumps(made.timesteps.tolist()))


def main() -> None:
    source = generator()
    cases = {
        "start": torch.randn(SHAPE, generator=source),
        "source": torch.randn(SHAPE, generator=source),
        "steps_noise": torch.randn((50, *SHAPE), generator=source),
        "mask": torch.rand((2, 1, 3, 3), generator=source).mul(1.6).sub(0.3).clamp(0, 1),
    }
    dpm_loops(cases)
    edit_loops(cases)
    guidance(cases)
    save_cases("samplers", cases)
    configs()


main()
