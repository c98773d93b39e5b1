"""Goldens of Llama: heads of keys that several heads of queries share, with a head of its own and with a tied one, in one file
and in shards, in f32 and f16, with Llama 3's frequencies."""

import torch
from common import folder, generator, randomize, save_cases
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = dict(vocab_size=60, hidden_size=32, intermediate_size=56, num_hidden_layers=3, max_position_embeddings=40)


def make(name: str, dtype: torch.dtype = torch.float32, shard: str = "5GB", **config) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES | config, attn_implementation="eager"))
    randomize(model)
    for parameter in model.parameters():
        parameter.copy_(parameter.to(dtype))
    ids = torch.randint(0, 60, (3, 17), generator=generator(1))
    output = model(ids, output_hidden_states=True)
    cases = {"ids": ids.to(torch.uint32), "hidden": output.hidden_states[-1], "logits": output.logits}
    # Padding before and after; what stands at padding means nothing.
    mask = torch.ones(3, 17, dtype=torch.int64)
    mask[0, :5], mask[1, 12:] = 0, 0
    masked = model.model(ids, attention_mask=mask).last_hidden_state
    cases |= {"mask": mask.to(torch.float32), "masked.hidden": masked * mask[..., None]}
    # Embeddings that no token has, as those of a picture, and the gradient of them through state and scores.
    embeddings = torch.randn(2, 11, 32, generator=generator(2))
    upstream = torch.randn(2, 11, 32, generator=generator(3))
    to_logits = torch.randn(2, 11, 60, generator=generator(4))
    variable = embeddings.clone().requires_grad_()
    with torch.enable_grad():
        hidden = model.model(inputs_embeds=variable).last_hidden_state
        ((hidden * upstream).sum() + (model.lm_head(hidden) * to_logits).sum()).backward()
    cases |= {"embeddings": embeddings, "embeddings.hidden": hidden, "upstream": upstream, "to_logits": to_logits}
    cases["gradient"] = variable.grad
    variable = embeddings.clone().requires_grad_()
    some = torch.ones(2, 11)
    some[0, :3], some[1, 8:] = 0, 0
    with torch.enable_grad():
        hidden = model.model(inputs_embeds=variable, attention_mask=some).last_hidden_state
        (hidden * upstream * some[..., None]).sum().backward()
    cases |= {"some": some, "masked.gradient": variable.grad}
    # Greedy decoding, and the gap between the best and the second: no tie decides.
    prompt = ids[:1, :6]
    reply = model.generate(prompt, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
    cases |= {"greedy": reply[:, 6:].to(torch.uint32)}
    save_cases(name, cases)
    # Last: it rounds the frequencies, which are no weights.
    model.to(dtype).save_pretrained(folder(name), max_shard_size=shard)


make("llama", num_attention_heads=4, num_key_value_heads=2)
make("llama-tied", num_attention_heads=8, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True,
     rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, rms_norm_eps=1e-5, shard="20KB")
make("llama-f16", torch.float16, num_attention_heads=4, num_key_value_heads=4)
make("llama-3", torch.bfloat16, num_attention_heads=4, num_key_value_heads=1, rope_parameters={
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16})
