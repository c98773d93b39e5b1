"""Goldens of CLIP's tokenizer: a vocabulary made as OpenAI made theirs, but small, and texts that are easy to get wrong.

With the argument FOLDER, a published tokenizer, writes `cases.safetensors` and `texts.json` there instead.
"""

import json
import pathlib
import sys
from collections import Counter

import torch
from common import folder
from safetensors.torch import save_file
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"

CORPUS = """
a photo of a cat, a photo of a dog, the dog's photo on the beach. a picture of two dogs playing in the snow
can you generate an image for this dog on the beach? i'm here, we've been there, they'll come and she'd see you're right
a painting of a red car in front of the house at night, oil on canvas, in the style of a famous painter
an old man with a hat; a young woman wearing glasses and a blue dress, walking through the city with friends
"""

TEXTS = [
    "a photo of a cat",
    "",
    " ",
    "  A  PHOTO\tof\na   CAT \r\n",
    "the dog's hat, they'll see; I'M here, we've 'd 's",
    "it’s a ‘quoted’ “text” — with dashes–and…",
    "café cafe\u0301 naïve Ünïcödé ß ẞ İstanbul ΣΊΣΥΦΟΣ",
    "a cat 😀👍🏽 👨‍👩‍👧 🇩🇪!",
    "control\u0000 \u0007bell\u001b[31m \u007f\u0085 x\u001cy \u200bz \ufeffw \ufffd",
    "no\u00a0break\u2003em\u3000ideographic\u2028line\u180emongolian",
    "&lt;b&gt;cat &amp; dog&lt;/b&gt; &quot;x&quot; &#39;s",
    "12 345 cats 3.14 ½ ² ٣ Ⅷ 1st",
    "wow! nice!! a!b ! ?!",
    "<|startoftext|> a <|endoftext|> dog<|endoftext|>!",
    "<|ENDOFTEXT|> <|endof text|> <end>",
    "日本語の写真 кошка 강아지 कुत्ता แมว קטן",
    "snake_case kebab-case camelCase a/b\\c http://x.y/?q=1&r=2 #tag @you $5 100%",
    "a" * 300,
    "dog " * 200,
    "dog " * 75 + "cat " * 3,
    "dog " * 74 + "photo of",
    "\u0301\u0327 combining first, ﬁ ligature ① Ａｂｃ",
]


def bytes_to_letters() -> dict[int, str]:
    """A printable letter for every byte, those that are printable first: the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def merges_of(corpus: str, count: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: the most frequent pair becomes one, `count` times."""
    words = Counter(corpus.replace(",", " ,").replace("'", " '").split())
    parts = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, times in words.items():
            for pair in zip(parts[word], parts[word][1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, letters in parts.items():
            merged = []
            for letter in letters:
                if merged and (merged[-1], letter) == best:
                    merged[-1] += letter
                else:
                    merged.append(letter)
            parts[word] = merged
    return merges


def save(path: pathlib.Path) -> None:
    (path / "texts.json").write_text(json.dumps(TEXTS, indent=1) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(path)
    padded = tokenizer(TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    save_file({"ids": padded.to(torch.uint32).contiguous()}, path / "cases.safetensors")


def small() -> None:
    letters = list(bytes_to_letters().values())
    merges = merges_of(CORPUS, 400)
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges] + [START, END]
    vocabulary = json.dumps({token: index for index, token in enumerate(tokens)}, ensure_ascii=False)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]

    def published(name: str) -> pathlib.Path:
        path = folder(name)
        (path / "vocab.json").write_text(vocabulary)
        (path / "merges.txt").write_text("\n".join(lines) + "\n")
        return path

    def token(content: str) -> dict:
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        return {"__type": "AddedToken", "content": content} | flags

    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "errors": "replace"}
    config |= {"bos_token": token(START), "eos_token": token(END), "unk_token": token(END), "pad_token": END}
    # As OpenAI's CLIP is published.
    path = published("tokenizer")
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    save(path)
    # As Stable Diffusion 2 is published: padding is "!", and it is this file that says so.
    path = published("tokenizer-sd2")
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    for item in config.values():
        if isinstance(item, dict):
            item.pop("__type")
    special = {key: config[key] for key in ("bos_token", "eos_token", "unk_token")} | {"pad_token": "!"}
    (path / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")
    save(path)
    # As a new version of transformers writes the same: one file.
    tokenizer, path = CLIPTokenizer.from_pretrained(path), folder("tokenizer-json")
    tokenizer.save_pretrained(path)
    save(path)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        save(pathlib.Path(sys.argv[1]))
    else:
        small()
