"""Goldens of the assistant (Eq. 2): a tiny Llama with its tokenizer and chat template, V, H and the learnable token; the loss, the
gradient of each, a short training, and replies with the condition they are drawn by, straight from the formulas.

Also the folder `family/mllm`, so that the family of `family.py` can speak: run that one first.
"""

import json

import blake3
import torch
from common import folder, generator, randomize, save_cases
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

WIDTH, DINO_DIM, CLIP_DIM, N_IMAGE, LAMBDA = 32, 20, 12, 5, 0.2
START, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "o n", "e r", "Ġ a", "i m", "a g", "im ag", "imag e", "d o", "do g", "Ġ b", "Ġb e"]
SYSTEM = "You see one picture."
DIALOGUES = [
    ([("user", "Can you generate an image for this dog on the beach?")], "Here is the dog on the beach."),
    ([("user", "paint it blue"), ("assistant", "A blue one."), ("user", "and in the snow?\n")], "It stands in snow, as asked: ❄"),
    ([("system", "Be brief."), ("user", "Something for a  birthday ")], "A party hat!"),
]


def tokenizer(path):
    words = list(bytes_to_unicode().values()) + ["".join(merge.split()) for merge in MERGES]
    inner = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, [tuple(m.split()) for m in MERGES]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in ("<|endoftext|>", START, END)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=START, eos_token=END, pad_token=END)
    made.chat_template = CHATML
    made.save_pretrained(path)
    return made, len(words) + 3


class Assistant(torch.nn.Module):
    def __init__(self, llama, tokens, token_after):
        super().__init__()
        self.llama, self.tokens, self.token_after = llama, tokens, token_after
        self.image_projection = torch.nn.Linear(DINO_DIM, WIDTH)
        self.condition_projection = torch.nn.Linear(WIDTH, CLIP_DIM)
        self.token = torch.nn.Parameter(torch.zeros(WIDTH))

    def adapter(self):
        return {name: value for name, value in self.named_parameters() if not name.startswith("llama.")}

    def prompt(self, turns):
        """Ids before and after the picture, as LLaVA's `tokenizer_image_token` takes them apart."""
        messages = [{"role": role, "content": content} for role, content in turns]
        if messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": SYSTEM})
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = "<image>\n" + first["content"]
        text = self.tokens.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return [self.tokens(part, add_special_tokens=False).input_ids for part in text.split("<image>")]

    def embed(self, ids):
        return self.llama.model.embed_tokens(torch.tensor(ids))

    def row(self, turns, reply, image):
        """Embeddings, labels (-100 where nothing is learnt), and where the token stands."""
        before, after = self.prompt(turns)
        said = self.tokens(reply + END, add_special_tokens=False).input_ids
        parts, labels = [self.embed(before), image, self.embed(after)], [-100] * (len(before) + len(image) + len(after))
        if self.token_after == "prompt":
            at = len(labels)
            parts, labels = parts + [self.token[None], self.embed(said)], labels + [-100] + said
        else:
            at = len(labels) + len(said)
            parts, labels = parts + [self.embed(said), self.token[None]], labels + said + [-100]
        return torch.cat(parts), torch.tensor(labels), at

    def loss(self, dialogues, dino, clip, distance):
        images = self.image_projection(dino)
        rows = [self.row(turns, reply, image) for (turns, reply), image in zip(dialogues, images)]
        longest = max(len(labels) for _, labels, _ in rows)
        embeddings = torch.stack([functional.pad(x, (0, 0, 0, longest - len(x))) for x, _, _ in rows])
        labels = torch.stack([functional.pad(x, (0, longest - len(x)), value=-100) for _, x, _ in rows])
        mask = torch.stack([torch.arange(longest) < len(x) for _, x, _ in rows]).long()
        out = self.llama(inputs_embeds=embeddings, attention_mask=mask, labels=labels, output_hidden_states=True)
        states = torch.stack([out.hidden_states[-1][row, at] for row, (_, _, at) in enumerate(rows)])
        found = self.condition_projection(states)
        if distance == "mse":
            condition = functional.mse_loss(found, clip)
        else:
            condition = -functional.cosine_similarity(found, clip, dim=-1).mean()
        return out.loss + LAMBDA * condition, out.loss, condition

    def reply(self, turns, dino, limit):
        """Greedy; returns the reply's ids, whether it ended by itself, and H(s)."""
        before, after = self.prompt(turns)
        x = torch.cat([self.embed(before), self.image_projection(dino), self.embed(after)])
        if self.token_after == "prompt":
            x = torch.cat([x, self.token[None]])
            state = self.states(x)[-1]
        ids, end = [], self.tokens.convert_tokens_to_ids(END)
        while len(ids) < limit:
            scores = self.llama.lm_head(self.states(x)[-1])
            best = scores.topk(2)
            assert best.values[0] - best.values[1] > 1e-3, "a tie would decide"
            if best.indices[0] == end:
                break
            ids.append(best.indices[0].item())
            x = torch.cat([x, self.embed(ids[-1:])])
        is_ended = len(ids) < limit
        if self.token_after == "response":
            state = self.states(torch.cat([x, self.embed([end]), self.token[None]]))[-1]
        return ids, is_ended, self.condition_projection(state)

    def states(self, x):
        return self.llama.model(inputs_embeds=x[None]).last_hidden_state[0]


def base(path):
    tokens, n_words = tokenizer(path)
    end = tokens.convert_tokens_to_ids(END)
    llama = randomize(LlamaForCausalLM(LlamaConfig(
        vocab_size=n_words, hidden_size=WIDTH, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=end, bos_token_id=None, pad_token_id=None,
        attn_implementation="eager")), seed=41)
    # So that some replies end, and some do not.
    llama.lm_head.weight[end].mul_(1.6)
    llama.save_pretrained(path)
    return llama.requires_grad_(False), tokens


def main():
    mllm = folder("family/mllm")
    llama, tokens = base(mllm / "base")
    dino = torch.randn(3, N_IMAGE, DINO_DIM, generator=generator(31))
    clip = torch.randn(3, CLIP_DIM, generator=generator(32))
    cases, facts = {"dino": dino, "clip": clip}, {"system": SYSTEM, "dialogues": DIALOGUES, "replies": {}, "prompts": []}
    for token_after in ("prompt", "response"):
        model = Assistant(llama, tokens, token_after)
        randomize(torch.nn.ModuleDict({"v": model.image_projection, "h": model.condition_projection}), seed=33)
        model.token.copy_(torch.randn(WIDTH, generator=generator(34)) * 0.5)
        adapter = {name: value.detach().clone() for name, value in model.adapter().items()}
        cases |= {f"adapter.{name}": value for name, value in adapter.items()}
        facts["prompts"] = [dict(zip(("before", "after"), model.prompt(turns))) for turns, _ in DIALOGUES]
        for distance in ("mse", "cosine"):
            model.zero_grad()
            with torch.enable_grad():
                total, language, condition = model.loss(DIALOGUES, dino, clip, distance)
                total.backward()
            case = f"{token_after}.{distance}"
            cases |= {f"{case}.total": total, f"{case}.language": language, f"{case}.condition": condition}
            cases |= {f"{case}.gradient.{name}": value.grad for name, value in model.adapter().items()}

        replies = []
        for index, (turns, _) in enumerate(DIALOGUES):
            ids, is_ended, condition = model.reply(turns, dino[index], 24)
            replies.append({"ids": ids, "is_ended": is_ended, "text": tokens.decode(ids, skip_special_tokens=True)})
            cases[f"{token_after}.reply.{index}.condition"] = condition
        facts["replies"][token_after] = replies
        print(token_after, [(len(reply["ids"]), reply["is_ended"]) for reply in replies])

        optimizer = torch.optim.AdamW(model.adapter().values(), lr=2e-3, weight_decay=0.0)
        losses = []
        for step in range(8):
            optimizer.zero_grad()
            rows = [step % 3, (step + 1) % 3]
            with torch.enable_grad():
                total, _, _ = model.loss([DIALOGUES[row] for row in rows], dino[rows], clip[rows], "mse")
                total.backward()
            torch.nn.utils.clip_grad_norm_(model.adapter().values(), 1.0)
            optimizer.step()
            losses.append(total.detach())
        cases[f"{token_after}.losses"] = torch.stack(losses)
    save_cases("assistant", cases)
    (folder("assistant") / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")

    save_file({key: value.contiguous() for key, value in adapter.items()}, mllm / "model.safetensors")
    config = dict(
        model_type="cafe_mllm", base_digest=blake3.blake3((mllm / "base/model.safetensors").read_bytes()).hexdigest(),
        hidden_size=WIDTH, vision_hidden_size=DINO_DIM, projection_dim=CLIP_DIM, token_after="response", distance="mse",
        system=SYSTEM)
    (mllm / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print({key: tuple(value.shape) for key, value in cases.items()})


if __name__ == "__main__":
    main()
