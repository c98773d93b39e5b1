"""Stage `tokenizer`: a byte-level BPE in CLIP's layout, whose merges are those of the world's words.

Any text can be tokenised: words that the world does not know fall into pieces. `holder` stands for ProFusion's S*.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from runner import Context
from training.pictures import Glyphs
from world.scene import Variety
from world.words import caption, instruction

VERSION = 1
INPUTS = ["glyphs", "split"]
LENGTH = 32
_EXTRA = ["holder", "a photo of a holder", "a picture of a holder", "what it shows"]


def settings(smoke: bool) -> dict[str, Any]:
    """How many texts are read, and the longest text in tokens."""
    return {"texts": 200 if smoke else 20000, "length": LENGTH, "seed": 5}


def byte_letters() -> list[str]:
    """The letter of each byte, printable ones first, as byte-level BPE has them (GPT-2): others follow from 256 on."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), ord("\u00ff") + 1)]
    return [chr(byte) for byte in shown] + [chr(256 + index) for index in range(256 - len(shown))]


def build(context: Context) -> None:
    """Write `tokenizer/`: `vocab.json`, `merges.txt` and `tokenizer_config.json`."""
    texts = list(_EXTRA) * 3
    for split in ("base", "val"):
        glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], split)
        rng = np.random.default_rng(context.settings["seed"])
        for _ in range(context.settings["texts"] // 2):
            scene = glyphs.scene(rng, Variety())
            texts += [caption(scene, rng, split).lower(), instruction(scene, rng, split).lower()]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^a-z]+"), "removed")
    alphabet = [chr(c) for c in range(33, 127)]
    learner.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=4000, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = byte_letters()
    names = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges),
             "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    folder = context.out / "tokenizer"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "!", "do_lower_case": True,
    }, indent=2))
