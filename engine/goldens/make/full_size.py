"""Models of published sizes with random weights, for `examples/parity.rs`: too large to keep.

    python engine/goldens/make/full_size.py MODEL FOLDER

writes FOLDER/MODEL: the model as `save_pretrained` writes it, `cases.safetensors`, and `torch.json` with the seconds that
PyTorch took on two threads.
"""

import json
import pathlib
import sys
import time

import torch
from common import generator, randomize
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTModel,
)

torch.set_num_threads(2)


def pixels(batch: int, side: int) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=generator(1))


def tokens(batch: int) -> torch.Tensor:
    ids = torch.randint(0, 49406, (batch, 77), generator=generator(2))
    ids[:, 20:] = 49407
    return ids


def dinov2_giant():
    config = Dinov2Config(
        hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, image_size=518, patch_size=14, use_swiglu_ffn=True
    )
    model = randomize(Dinov2Model(config))
    return model, {"pixels": pixels(1, 224)}, {"image": lambda case: model(case["pixels"]).last_hidden_state}


def dino_s16():
    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    model = randomize(ViTModel(config, add_pooling_layer=False))
    return model, {"pixels": pixels(8, 224)}, {"image": lambda case: model(case["pixels"]).last_hidden_state[:, 0]}


def clip(config: CLIPConfig, batch: int, side: int):
    model = randomize(CLIPModel(config))
    vision = lambda case: model.visual_projection(model.vision_model(case["pixels"]).pooler_output)
    text = lambda case: model.text_projection(model.text_model(case["ids"]).pooler_output)
    return model, {"pixels": pixels(batch, side), "ids": tokens(batch)}, {"image": vision, "text": text}


def clip_b32():
    return clip(CLIPConfig(projection_dim=512), 8, 224)


def clip_l14_336():
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
    vision |= {"image_size": 336, "patch_size": 14}
    return clip(CLIPConfig(projection_dim=768, text_config=text, vision_config=vision), 1, 336)


def text_sd2():
    config = CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23, hidden_act="gelu"
    )
    model = randomize(CLIPTextModel(config))
    return model, {"ids": tokens(2)}, {"text": lambda case: model(case["ids"]).last_hidden_state}


def llama(hidden: int, inner: int, heads: int, kv_heads: int, layers: int):
    """Llama-2's widths and heads, few of its layers and a short vocabulary: a layer of 70B alone has 855 million weights."""
    config = LlamaConfig(
        vocab_size=1000, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=4096, rms_norm_eps=1e-5,
    )
    model = randomize(LlamaForCausalLM(config))
    ids = torch.randint(0, 1000, (1, 48), generator=generator(3))
    return model, {"ids": ids}, {"logits": lambda case: model(case["ids"]).logits}


MODELS = {
    "clip-b32": clip_b32,
    "clip-l14-336": clip_l14_336,
    "dino-s16": dino_s16,
    "dinov2-giant": dinov2_giant,
    "llama2-7b": lambda: llama(4096, 11008, 32, 32, 2),
    "llama2-13b": lambda: llama(5120, 13824, 40, 40, 2),
    "llama2-70b": lambda: llama(8192, 28672, 64, 8, 1),
    "text-sd2": text_sd2,
}

if __name__ == "__main__":
    name, path = sys.argv[1], pathlib.Path(sys.argv[2]) / sys.argv[1]
    model, cases, outputs = MODELS[name]()
    # In shards: a file of gigabytes would be held in memory twice.
    model.save_pretrained(path, max_shard_size="1GB")
    seconds = {}
    for key, forward in outputs.items():
        took = []
        while len(took) < 5 and sum(took) < 30:
            start = time.perf_counter()
            cases[f"{key}.expected"] = forward(cases)
            took.append(time.perf_counter() - start)
        seconds[key] = min(took)
    cases = {key: (value.to(torch.uint32) if key == "ids" else value).contiguous() for key, value in cases.items()}
    save_file(cases, path / "cases.safetensors")
    (path / "torch.json").write_text(json.dumps(seconds) + "\n")
    print(name, seconds)
