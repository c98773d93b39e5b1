"""ProFusion (arXiv 2305.13579), written from its formulas on the blocks of diffusers: PromptNet, the injection of S*
into the text encoder, its loss, the fusion steps, and the gradients of pre-training and of tuning to one picture."""

import json

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

import cafe_unet
import common
import family

family.MERGES = family.MERGES + ["h o", "l d", "ho ld", "e r</w>", "hold er</w>"]

CONFIG = cafe_unet.CONFIG | dict(block_out_channels=(8, 8, 16), cross_attention_dim=16)
OWN = dict(vision_dim=12, prompt_channel=16, region_proj_channel=6, region_kernel_size=2, region_downsample=4,
           with_noise=True)
# Fusion: s1, s2, weight of the second reference, gamma, w_f, eta, refinements, steps.
S1, S2, EXTRA, GAMMA, W_F, ETA, N_REFINE, N_STEPS = 7.0, 5.0, 2.0, 0.6, 7.0, 0.9, 1, 4


class Condition(torch.nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv_in = torch.nn.Conv2d(n_in, n_out, 3, padding=1)
        self.conv_out = torch.nn.Conv2d(n_out, n_out, 3, padding=1)

    def forward(self, x):
        return self.conv_out(F.silu(self.conv_in(x)))


class PromptNet(torch.nn.Module):
    """The way down of a UNet, with a head at every resolution: all heads give maps of one size, which become one token."""

    def __init__(self, config=CONFIG, own=OWN):
        super().__init__()
        unet = UNet2DConditionModel(**config)
        widths, width = config["block_out_channels"], own["region_proj_channel"]
        self.conv_in, self.time_proj, self.time_embedding = unet.conv_in, unet.time_proj, unet.time_embedding
        self.down_blocks, self.mid_block = unet.down_blocks, unet.mid_block
        self.promptnet_cond_embedding = Condition(config["in_channels"], widths[0])
        self.vision_embedding = torch.nn.Linear(own["vision_dim"], config["cross_attention_dim"])

        def head(n_in, size):
            return torch.nn.Conv2d(n_in, width, size, stride=size)

        size = own["region_downsample"]
        self.first_prompt_projection = head(widths[0], size)
        self.down_prompt_projections = torch.nn.ModuleList()
        for index, n_in in enumerate(widths):
            size = size if index + 1 == len(widths) else size // 2
            self.down_prompt_projections.append(head(n_in, size))
        self.mid_prompt_projection = head(widths[-1], size)
        side = own["region_kernel_size"]
        self.region_prompt_output = torch.nn.Conv2d((len(widths) + 2) * width, own["prompt_channel"], side, stride=side)
        self.config, self.own = config, own

    def forward(self, reference, noisy, timesteps, vision):
        time = self.time_embedding(self.time_proj(timesteps).to(reference.dtype))
        context = self.vision_embedding(vision)
        x = self.conv_in(reference) + self.promptnet_cond_embedding(noisy)
        maps = [self.first_prompt_projection(x)]
        for block, head in zip(self.down_blocks, self.down_prompt_projections):
            if getattr(block, "has_cross_attention", False):
                x, _ = block(x, time, encoder_hidden_states=context)
            else:
                x, _ = block(x, time)
            maps.append(head(x))
        x = self.mid_block(x, time, encoder_hidden_states=context)
        maps.append(self.mid_prompt_projection(x))
        return self.region_prompt_output(torch.cat(maps, 1)).flatten(2).transpose(1, 2)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        config = {key: value for key, value in self.config.items() if key != "up_block_types"} | self.own
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        state = {key: value.float().contiguous() for key, value in self.state_dict().items()}
        save_file(state, folder / "diffusion_pytorch_model.safetensors")


class Text:
    """The text encoder with a token put in the place of `holder`."""

    def __init__(self, encoder, tokenizer):
        self.encoder, self.tokenizer = encoder, tokenizer
        self.holder = tokenizer("holder").input_ids[1]

    def ids(self, text, padded):
        return self.tokenizer(text, **(dict(padding="max_length", max_length=16) if padded else {})).input_ids

    def states(self, text, subject=None, gamma=1.0, padded=True, n_rows=1):
        ids = torch.tensor([self.ids(text, padded)] * (n_rows if subject is None else len(subject)))
        embeddings = self.encoder.embeddings(ids)
        if subject is not None:
            (slot,) = [place for place, token in enumerate(ids[0].tolist()) if token == self.holder]
            embeddings = torch.cat([embeddings[:, :slot], subject, embeddings[:, slot + 1 :]], 1)
        hook = self.encoder.embeddings.register_forward_hook(lambda *_: embeddings)
        hidden = self.encoder(ids, output_hidden_states=True).hidden_states[-2]
        hook.remove()
        hidden = self.encoder.final_layer_norm(hidden)
        if subject is not None and gamma != 1.0:
            scale = torch.ones(hidden.shape[1], dtype=hidden.dtype)
            scale[slot] = gamma
            hidden = hidden * scale[None, :, None]
        return hidden


def loss_of(promptnet, unet, text, data):
    dtype = unet.dtype
    alpha = cafe_unet.alphas_cumprod()[data["timesteps"]].to(dtype)[:, None, None, None]
    data = {key: value.to(dtype) if value.is_floating_point() else value for key, value in data.items()}
    noisy = alpha.sqrt() * data["target"] + (1 - alpha).sqrt() * data["noise"]
    subject = promptnet(data["reference"], noisy, data["timesteps"], data["vision"])
    states = text.states("a photo of holder", subject, padded=False)
    return F.mse_loss(unet(noisy, data["timesteps"], states).sample, data["noise"])


def is_tuned(name):
    return name.endswith((".to_q.weight", ".to_k.weight", ".to_v.weight"))


class Fusion:
    """Steps A and B. `references` are (latents, vision) of the subject and of further pictures."""

    def __init__(self, models, references, prompt, noun_prompt):
        self.promptnet, self.unet, self.text = models
        self.references, self.prompt, self.noun_prompt = references, prompt, noun_prompt
        self.scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                                       set_alpha_to_one=False, clip_sample=False, prediction_type="epsilon")
        self.scheduler.set_timesteps(N_STEPS)

    def epsilon(self, x, t, states):
        return self.unet(x, t, states).sample

    def subject(self, x, t, reference, gamma=1.0):
        latents, vision = reference
        n_rows = len(x)
        token = self.promptnet(latents.expand(n_rows, -1, -1, -1), x, t.repeat(n_rows), vision.expand(n_rows, -1, -1))
        return self.epsilon(x, t, self.text.states(self.prompt, token, gamma))

    def refine(self, x, t, z):
        alphas = self.scheduler.alphas_cumprod
        previous = t - self.scheduler.config.num_train_timesteps // N_STEPS
        a, p = alphas[t].double(), (alphas[previous] if previous >= 0 else self.scheduler.final_alpha_cumprod).double()
        variance = ETA**2 * (1 - p) / (1 - a) * (1 - a / p)
        none = self.epsilon(x, t, self.text.states("", n_rows=len(x)))
        weights = torch.tensor([S1, EXTRA][: len(self.references)])
        weights = weights / weights.sum()
        e = sum(weight * (none + W_F * (self.subject(x, t, reference, GAMMA) - none))
                for weight, reference in zip(weights, self.references))
        of_e = variance * (1 - a).sqrt() / (1 - p)
        of_z = (variance * (1 - a) * (2 - 2 * p - variance)).sqrt() / (1 - p)
        return x - e * of_e.float() + z * of_z.float()

    def step(self, x, t):
        none = self.epsilon(x, t, self.text.states("", n_rows=len(x)))
        noun = self.epsilon(x, t, self.text.states(self.noun_prompt, n_rows=len(x)))
        e = none + S2 * (noun - none)
        for weight, reference in zip([S1, EXTRA], self.references):
            e = e + weight * (self.subject(x, t, reference) - none)
        return self.scheduler.step(e, t, x).prev_sample

    def sample(self, x, z, last_t=1000):
        """`z` holds the noise of each refinement of each step."""
        for index, t in enumerate(self.scheduler.timesteps):
            if t > last_t:
                continue
            for refinement in range(N_REFINE):
                x = self.refine(x, t, z[index * N_REFINE + refinement])
            x = self.step(x, t)
        return x


def batch(source, size=3):
    return dict(
        reference=torch.randn(size, 4, 8, 8, generator=source), target=torch.randn(size, 4, 8, 8, generator=source),
        noise=torch.randn(size, 4, 8, 8, generator=source), vision=torch.randn(size, 17, 12, generator=source),
        timesteps=torch.randint(0, 1000, (size,), generator=source),
    )


def main():
    torch.manual_seed(0)
    root = common.folder("profusion")
    tokenizer, n_words = family.tokenizer(root / "tokenizer")
    encoder = common.randomize(
        CLIPTextModel(CLIPTextConfig(vocab_size=n_words, hidden_size=16, intermediate_size=32, num_hidden_layers=3,
                                     num_attention_heads=2, max_position_embeddings=16, hidden_act="gelu",
                                     projection_dim=16, bos_token_id=n_words - 2, eos_token_id=n_words - 1,
                                     pad_token_id=0)), seed=20)
    vision_tower = common.randomize(
        CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_size=12, intermediate_size=24, num_hidden_layers=2,
                                                       num_attention_heads=2, image_size=16, patch_size=4,
                                                       projection_dim=8, hidden_act="gelu")), seed=21)
    unet = common.randomize(UNet2DConditionModel(**CONFIG), seed=22)
    promptnet = common.randomize(PromptNet(), seed=23)
    vae = common.randomize(
        AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                      up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, layers_per_block=1,
                      latent_channels=4, scaling_factor=0.18215), seed=24)
    encoder.save_pretrained(root / "text_encoder")
    vision_tower.save_pretrained(root / "image_encoder")
    processor = family.processor(16)
    processor.save_pretrained(root / "image_encoder")
    unet.save_pretrained(root / "unet")
    vae.save_pretrained(root / "vae")
    promptnet.save(root / "promptnet")
    text = Text(encoder, tokenizer)
    models = promptnet, unet, text
    source = common.generator(25)
    data = batch(source)
    cases = {f"in.{key}": value for key, value in data.items()}
    cases["out.subject"] = promptnet(data["reference"], data["target"], data["timesteps"], data["vision"])
    cases["out.states"] = text.states("a photo of holder", cases["out.subject"], padded=False)
    cases["out.states.padded"] = text.states("a holder on the beach", cases["out.subject"], GAMMA)

    pictures = [family.picture(root / "x.png", 20, 28, 1), family.picture(root / "y.png", 33, 24, 2)]
    references = []
    for name, image in zip("xy", pictures):
        pixels = VaeImageProcessor().preprocess(image, height=16, width=16, resize_mode="crop")
        latents = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        vision = vision_tower.vision_model(processor(image, return_tensors="pt").pixel_values).last_hidden_state
        references.append((latents, vision))
        cases |= {f"{name}.latents": latents, f"{name}.vision": vision}
    fusion = Fusion(models, references, "a holder on the beach", "a fox on the beach")
    fusion.scheduler.save_pretrained(root / "scheduler")
    x, z = torch.randn(2, 4, 8, 8, generator=source), torch.randn(N_STEPS * N_REFINE, 2, 4, 8, 8, generator=source)
    t = fusion.scheduler.timesteps[1]
    cases |= {"fusion.x": x, "fusion.z": z, "fusion.refined": fusion.refine(x, t, z[1]), "fusion.stepped": fusion.step(x, t)}
    cases["fusion.latents"] = fusion.sample(x, z)
    cases["fusion.pixels"] = vae.decode(cases["fusion.latents"] / vae.config.scaling_factor).sample
    first = next(t for t in fusion.scheduler.timesteps if t <= 600)
    noised = fusion.scheduler.add_noise(references[0][0].expand(2, -1, -1, -1), x, first[None])
    cases["fusion.edited"] = fusion.sample(noised, z, last_t=600)
    fusion.references = references[:1]
    cases["fusion.alone"] = fusion.sample(x, z)
    common.save_cases("profusion", cases)

    # Gradients in double precision; then six steps of AdamW, as tuning makes them.
    gradients = {}
    with torch.enable_grad():
        exact = [common.randomize(PromptNet(), seed=23).double(),
                 common.randomize(UNet2DConditionModel(**CONFIG), seed=22).double()]
        text.encoder = encoder.double()
        loss = loss_of(*exact, text, data)
        loss.backward()
        gradients["loss"] = loss.float()
        for prefix, model in zip(("promptnet", "unet"), exact):
            for name, parameter in model.named_parameters():
                if prefix == "promptnet" or is_tuned(name):
                    gradients[f"{prefix}.{name}"] = parameter.grad.float()
        text.encoder = encoder.float()
        tuned = list(promptnet.parameters()) + [each for name, each in unet.named_parameters() if is_tuned(name)]
        optimizer = torch.optim.AdamW(tuned, lr=1e-3, weight_decay=1e-2)
        losses = []
        for _ in range(6):
            loss = loss_of(promptnet, unet, text, data)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    gradients["losses"] = torch.tensor(losses)
    common.save_cases("profusion_gradients", gradients)
    print({key: (tuple(value.shape), value.abs().max().item()) for key, value in cases.items() if value.is_floating_point()})
    print(losses, len(gradients), text.ids("a photo of holder", False))


if __name__ == "__main__":
    main()
