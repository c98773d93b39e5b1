"""llama.cpp on a GGUF file, two threads: reading a prompt of 95 tokens and writing 64; what the engine is measured against.

    pip install llama-cpp-python==0.3.36   # In an environment of its own: it is built from source.
    python engine/benches/peers/language.py FILE.gguf [TIMES]
    cargo run --release -p cafe-engine --example language -- FILE.gguf FOLDER [TIMES]
"""

import sys
import time

import llama_cpp
from llama_cpp import Llama

PROMPT, REPLY = 95, 64


DEFAULTS = llama_cpp.llama_cpp.llama_model_default_params


def without_amx():
    """Its kernels for AMX end in a segmentation fault on virtual machines that do not grant it."""
    parameters = DEFAULTS()
    parameters.use_extra_bufts = False
    return parameters


def fastest(times, work):
    work()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found)


def main():
    llama_cpp.llama_cpp.llama_model_default_params = without_amx
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    model = Llama(sys.argv[1], n_ctx=512, n_threads=2, n_threads_batch=2, n_batch=512, logits_all=False, verbose=False)
    ids = [1000 + index * 37 % 4000 for index in range(PROMPT)]

    def read():
        model.reset()
        model.eval(ids)

    seconds = fastest(times, read)
    print(f"llama.cpp prefill: {seconds:.3f} s, {PROMPT / seconds:.1f} tokens/s", flush=True)

    def write():
        # What it read of the prompt is kept.
        model.n_tokens = PROMPT
        token = ids[0]
        for _ in range(REPLY):
            model.eval([token])
            token = model.sample(temp=0.0)

    read()
    seconds = fastest(max(2, times // 2), write)
    print(f"llama.cpp decode: {seconds:.3f} s, {REPLY / seconds:.1f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
