"""What llama.cpp makes of a GGUF file: ids of texts, scores, and greedy replies. Of SmolLM2-135M-Instruct by default.

    pip install llama-cpp-python==0.3.36   # In an environment of its own: it is built from source.
    python engine/goldens/make/llama_oracle.py FILE.gguf

Scores and replies are those of the file's weights in f16, which llama.cpp makes of it: products of packed integers round what enters
them to eight bits, and are another model's.
"""

import ctypes
import json
import pathlib
import sys
import tempfile

import llama_cpp
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "llama-cpp"

TEXTS = [
    "Can you generate an image for this dog on the beach?",
    "", " ", "  ", "   a  b   c    ", "\n", "\n\n\n", " \n \n", "a\nb\r\nc\td\t\te", "trailing ", " leading",
    "it's we're they've I'm she'll he'd IT'S Don'T 's 't", "rock'n'roll 'quoted' \"double\" `tick`",
    "0 1 12 123 1234 3.14 1,000,000 2026-11-23 0x1F 1e-5 ½ ² ٣ Ⅷ 一二三", "a1b2c3 4d5e6f R2D2 3D x²+y²",
    "café cafe\u0301 naïve Ünïcödé ß ẞ İstanbul ΣΊΣΥΦΟΣ", "日本語の写真。中文字符！한국어 텍스트", "кошка собака עברית العربية हिन्दी ไทย",
    "😀👍🏽 👨‍👩‍👧 🇩🇪 ☃︎ 𝔘𝔫𝔦", "no\u00a0break\u2003em\u3000ideographic\u2028line\u200bzero\ufeffbom", "\u0000\u0007\u001b[31m\u007f",
    "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|>a<|endoftext|><|im_end|><|im_start|>x <|im_end|> y", "<|im_end> <im_start|> <|unknown|> <repo_name>z <file_sep>",
    "def f(x):\n    return {'a': [x**2 for _ in range(10)]}  # comment\n\n\tif x != 0 && y >= 1: pass", "http://x.y/?q=1&r=2#z user@host.com C:\\dir\\f",
    "{\"user\": \"Can you…?\", \"assistant\": \"Here you are — done!\"}", "snake_case kebab-case camelCase SCREAMING_CASE a/b\\c $5 100% #tag",
    "The quick brown fox jumps over the lazy dog. " * 5, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "!?!?...---***___===~~~", "١٢٣ ४५६ ௧௨௩",
    "x" + " " * 17 + "y" + "\n" * 5 + "z" + "\t" * 3, "Ａｂｃ ﬁ ligature ① Ǆ", "मैं ठीक हूँ। क्षत्रिय", "e\u0301\u0327\u0308o\u0302 ḱ",
]

PROMPTS = [
    "Can you generate an image for this dog on the beach?",
    "Write a short poem about a red panda in the snow.",
    "What are the three primary colours, and why?",
    "Continue: Once upon a time, in a city of glass and rain,",
    "A user uploads a photo of a teapot and asks for it in the style of Van Gogh. Answer in one sentence.",
]
REPLY, TOP = 64, 16


def save(name: str, value: object) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_text(json.dumps(value, ensure_ascii=True) + "\n")


def requantized(source: str, ftype: int, path: str) -> str:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize, parameters.nthread = ftype, True, 2
    failed = llama_cpp.llama_model_quantize(source.encode(), path.encode(), ctypes.byref(parameters))
    assert failed == 0, failed
    return path


def reply(model: llama_cpp.Llama, prompt: list[int]) -> dict:
    """The likeliest tokens one after the other, with the scores of the best, and how far the second is behind."""
    model.reset()
    model.eval(prompt)
    found = {"prompt": prompt, "ids": [], "gaps": []}
    for step in range(REPLY):
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, -1), (model.n_vocab(),)).copy()
        order = np.argsort(-logits, kind="stable")[:TOP]
        if step == 0:
            found["top"] = [[int(index), float(logits[index])] for index in order]
        found["ids"].append(int(order[0]))
        found["gaps"].append(float(logits[order[0]] - logits[order[1]]))
        model.eval([int(order[0])])
    return found


def main() -> None:
    source = sys.argv[1]
    # Keys and values are kept in f16 by default, which moves scores by 1e-2.
    f32 = llama_cpp.GGML_TYPE_F32
    options = dict(n_ctx=512, n_threads=2, n_threads_batch=2, type_k=f32, type_v=f32, verbose=False)
    model = llama_cpp.Llama(source, **options)
    ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in TEXTS]
    save("ids.json", [{"text": text, "ids": found} for text, found in zip(TEXTS, ids)])
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    prompts = [model.tokenize(chat.format(prompt).encode(), add_bos=False, special=True) for prompt in PROMPTS]
    del model
    with tempfile.TemporaryDirectory() as folder:
        path = requantized(source, llama_cpp.LLAMA_FTYPE_MOSTLY_F16, f"{folder}/f16.gguf")
        model = llama_cpp.Llama(path, **options)
        save("replies.json", [reply(model, prompt) for prompt in prompts])
        del model


if __name__ == "__main__":
    main()
