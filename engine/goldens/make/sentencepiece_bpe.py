"""A vocabulary as Llama 2 has it: byte-pair encoding by SentencePiece, with bytes to fall back to. Trained on a short text; pieces, scores
and kinds are those a GGUF file holds. Ids of texts are those of SentencePiece itself; where special tokens are in the text, those of
llama.cpp (in an environment of its own: see llama_oracle.py), which reads them from a GGUF of the same vocabulary.

    python engine/goldens/make/sentencepiece_bpe.py [PYTHON_WITH_LLAMA_CPP]
"""

import codecs
import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import sentencepiece

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "sentencepiece"
with contextlib.redirect_stdout(io.StringIO()):
    import this
ZEN = codecs.decode(this.s, "rot13")
WORDS = "the dog on the beach, a cat in the snow, generate an image for this teapot: [INST] <<SYS>> 12 345 the then there other"
TEXTS = [
    "Can you generate an image for this dog on the beach?", "a", " ", "  ", "   a  b   c    ", "\n", "\n\n\n", " \n \n", "a\nb\tc",
    "trailing ", " leading", "it's we're", "0 1 12 123 3.14 1,000,000", "a1b2c3", "café naïve ß", "日本語。", "кошка", "😀👍🏽",
    "no\u00a0break\u2003em\u200bzero\ufeff", "\u0000\u0007\u001b[31m", "def f(x):\n    return {'a': [x**2]}", "the then there other",
    "Beautiful is better than ugly.", "ugly ugly  ugly", "▁a▁▁b", "in the face of ambiguity,\r\nrefuse", "aaaaaaaaaaaaaaaaaaaaaa", "!?!?...---",
    "snake_case kebab-case", "ΣΊΣΥΦΟΣ e\u0301", "x" + " " * 17 + "y", "<s", "</ s>", "<unk >",
]
SPECIAL = [
    "<s>[INST] <<SYS>>\nYou see.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Again [/INST]", "<s>", "a<s>b</s>c", "<s> a </s> ", "</s>\n<s>\n",
    "<unk>", "x <0x41> y",
]
ORACLE = """
import json, sys, llama_cpp
model = llama_cpp.Llama(sys.argv[1], vocab_only=True, verbose=False)
print(json.dumps([model.tokenize(text.encode(), add_bos=False, special=True) for text in json.load(sys.stdin)]))
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # As Llama 2's was trained.
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter((ZEN + WORDS).splitlines() * 20), model_prefix=str(folder / "x"), vocab_size=520,
            model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            split_digits=True, allow_whitespace_only_pieces=True, hard_vocab_limit=False, num_threads=1, minloglevel=2)
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "x.model"))
        n = model.get_piece_size()
        kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in range(n)]
        facts = {
            "tokens": [model.id_to_piece(i) for i in range(n)], "scores": [model.get_score(i) for i in range(n)], "kinds": kinds,
            "texts": [{"text": text, "ids": model.encode(text), "decoded": model.decode(model.encode(text))} for text in TEXTS],
        }
        writer = gguf.GGUFWriter(str(folder / "x.gguf"), "llama")
        for add, value in [(writer.add_context_length, 64), (writer.add_embedding_length, 32), (writer.add_block_count, 1),
                           (writer.add_feed_forward_length, 32), (writer.add_head_count, 4), (writer.add_layer_norm_rms_eps, 1e-5),
                           (writer.add_tokenizer_model, "llama"), (writer.add_token_list, facts["tokens"]),
                           (writer.add_token_scores, facts["scores"]), (writer.add_token_types, kinds),
                           (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_unk_token_id, 0)]:
            add(value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
        asked = TEXTS + SPECIAL
        found = json.loads(subprocess.run(
            [python, "-c", ORACLE, str(folder / "x.gguf")], input=json.dumps(asked), capture_output=True, text=True, check=True).stdout)
    for case, ids in zip(facts["texts"], found):
        if case["ids"] != ids:
            print("llama.cpp differs from SentencePiece:", repr(case["text"]), case["ids"], ids)
    facts["special"] = [{"text": text, "ids": ids} for text, ids in zip(SPECIAL, found[len(TEXTS):])]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "facts.json").write_text(json.dumps(facts, ensure_ascii=True) + "\n")
    print(n, "pieces", len(TEXTS), "texts")


if __name__ == "__main__":
    main()
