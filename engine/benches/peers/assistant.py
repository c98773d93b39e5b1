"""A step of Eq. 2 in PyTorch, timed as `engine/examples/assistant.rs` times it in the engine: the same Llama, sizes and threads.

    python engine/benches/peers/assistant.py FOLDER_OF_A_LLAMA [RUNS]
"""

import sys
import time

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

BATCH, N_IMAGE, N_PROMPT, N_REPLY, CLIP_DIM, DINO_DIM = 8, 17, 40, 24, 128, 192

torch.set_num_threads(2)
torch.manual_seed(1)
llama = LlamaForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).requires_grad_(False).eval()
runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
width = llama.config.hidden_size
v, h = torch.nn.Linear(DINO_DIM, width), torch.nn.Linear(width, CLIP_DIM)
token = torch.nn.Parameter(torch.randn(width) * 0.1)
ids = torch.randint(0, llama.config.vocab_size, (BATCH, N_PROMPT + N_REPLY))
dino, clip = torch.randn(BATCH, N_IMAGE, DINO_DIM), torch.randn(BATCH, CLIP_DIM)


def step():
    words = llama.model.embed_tokens(ids)
    parts = [words[:, :4], v(dino), words[:, 4:], token.expand(BATCH, 1, width)]
    hidden = llama.model(inputs_embeds=torch.cat(parts, 1)).last_hidden_state
    first = N_PROMPT + N_IMAGE
    logits = llama.lm_head(hidden[:, first - 1 : first + N_REPLY - 1])
    language = functional.cross_entropy(logits.flatten(0, 1), ids[:, N_PROMPT:].flatten())
    (language + 0.2 * functional.mse_loss(h(hidden[:, -1]), clip)).backward()


seconds = []
for _ in range(runs):
    begun = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - begun)
seconds.sort()
print(f"pytorch eq2: min {seconds[0]:.3f} s, median {seconds[runs // 2]:.3f} s")
