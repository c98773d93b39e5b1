"""Goldens of the encoders: DINOv2, DINO, CLIP, and the text tower of Stable Diffusion 2."""

import safetensors.torch
import torch
from common import folder, generator, randomize, save_cases
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)


def pixels(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed))


def dinov2(name: str, **config) -> None:
    model = randomize(Dinov2Model(Dinov2Config(num_attention_heads=4, **config)))
    model.save_pretrained(folder(name))
    learned = pixels(3, 3, config["image_size"], config["image_size"])
    # Fewer rows and more columns than were learned, and pixels that fill no patch.
    other = pixels(2, 3, 3 * config["patch_size"] + 1, 7 * config["patch_size"] + 2, seed=2)
    larger = pixels(1, 3, 8 * config["patch_size"], 8 * config["patch_size"], seed=3)
    cases = {}
    for key, value in {"learned": learned, "other": other, "larger": larger}.items():
        cases[key] = value
        cases[f"{key}.last_hidden_state"] = model(value).last_hidden_state
    save_cases(name, cases)


def dino() -> None:
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=56, image_size=16, patch_size=4
    )
    model = randomize(ViTModel(config, add_pooling_layer=False))
    model.save_pretrained(folder("dino"))
    cases = {}
    for key, value in {"learned": pixels(3, 3, 16, 16), "other": pixels(2, 3, 24, 12, seed=2)}.items():
        cases[key] = value
        cases[f"{key}.cls"] = model(value, interpolate_pos_encoding=True).last_hidden_state[:, 0]
    save_cases("dino", cases)


def clip(name: str, hidden_act: str, eos_token_id: int) -> None:
    both = {"hidden_act": hidden_act, "num_hidden_layers": 2}
    text = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 72, "num_attention_heads": 4}
    text |= {"max_position_embeddings": 12, "eos_token_id": eos_token_id, "bos_token_id": 0}
    vision = {"hidden_size": 40, "intermediate_size": 88, "num_attention_heads": 5, "image_size": 18, "patch_size": 4}
    model = randomize(CLIPModel(CLIPConfig(projection_dim=20, text_config=text | both, vision_config=vision | both)))
    model.save_pretrained(folder(name))
    # Several of the end-of-text token where padding is the same token: the first counts.
    ids = torch.randint(3, 50, (4, 12), generator=generator(4))
    ids[:, 0] = 0
    end = 59 if eos_token_id == 2 else eos_token_id
    for row, length in enumerate([1, 5, 10, 11]):
        ids[row, length:] = end
    images = pixels(3, 3, 18, 18)
    vision_output = model.vision_model(images)
    image, texts = model(input_ids=ids, pixel_values=images), model.text_model(ids)
    variable = images.clone().requires_grad_()
    with torch.enable_grad():
        model.visual_projection(model.vision_model(variable).pooler_output).sum().backward()
    save_cases(
        name,
        {
            "pixels": images,
            "image": model.visual_projection(vision_output.pooler_output),
            "image.normalized": image.image_embeds,
            "image.gradient": variable.grad,
            "image.last_hidden_state": vision_output.last_hidden_state,
            "ids": ids.to(torch.uint32),
            "short.ids": ids[1:2, :7].to(torch.uint32),
            "text": model.text_projection(texts.pooler_output),
            "short.text": model.text_projection(model.text_model(ids[1:2, :7]).pooler_output),
            "text.normalized": image.text_embeds,
        },
    )


def text_sd2() -> None:
    config = CLIPTextConfig(
        vocab_size=60, hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2,
        hidden_act="gelu", projection_dim=24, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )
    model = randomize(CLIPTextModel(config))
    path = folder("text-sd2")
    model.save_pretrained(path)
    # Published weights have a prefix, which this version of transformers leaves out.
    weights = safetensors.torch.load_file(path / "model.safetensors")
    published = {f"text_model.{key}": value for key, value in weights.items()}
    safetensors.torch.save_file(published, path / "model.safetensors", metadata={"format": "pt"})

    ids = torch.randint(0, 60, (2, 77), generator=generator(5))
    output = model(ids, output_hidden_states=True)
    embeddings = model.embeddings(ids).clone()
    # One token's embedding is replaced, as ProFusion does: no position is added to it.
    embeddings[:, 4] = torch.randn(2, 32, generator=generator(6))
    embeddings.requires_grad_()
    upstream = torch.randn(2, 77, 32, generator=generator(7))
    hook = model.embeddings.register_forward_hook(lambda *_: embeddings)
    with torch.enable_grad():
        injected = model.final_layer_norm(model(ids, output_hidden_states=True).hidden_states[-2])
        (injected * upstream).sum().backward()
    hook.remove()
    save_cases(
        "text-sd2",
        {
            "ids": ids.to(torch.uint32),
            "last_hidden_state": output.last_hidden_state,
            "penultimate": model.final_layer_norm(output.hidden_states[-2]),
            "embeddings": model.embeddings(ids),
            "injected": embeddings,
            "injected.penultimate": injected,
            "upstream": upstream,
            "injected.gradient": embeddings.grad,
        },
    )


if __name__ == "__main__":
    dinov2("dinov2", hidden_size=32, num_hidden_layers=3, image_size=20, patch_size=4, qkv_bias=False)
    # The width of SwiGLU, 106, is rounded up to 112.
    dinov2(
        "dinov2-swiglu", hidden_size=40, num_hidden_layers=2, image_size=25, patch_size=5, use_swiglu_ffn=True
    )
    dino()
    clip("clip", "quick_gelu", 2)
    clip("clip-gelu", "gelu", 51)
    text_sd2()
