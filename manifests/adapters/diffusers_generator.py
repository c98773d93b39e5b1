#!/usr/bin/env python3
"""A `serve` program: makes candidates with a diffusers pipeline that is loaded once.

    [[stage]]
    kind = "command"
    name = "synthesize"
    needs = ["instruct"]
    mode = "serve"
    argv = ["python3", "diffusers_generator.py", "--model", "stabilityai/stable-diffusion-2-1-base", "--samples", "2"]
    reads = "pairs"
    columns = ["caption"]
    writes = "candidates"
    fan_out = "many"
    batch_rows = 8
    start_secs = 1800
    deadline_secs = 900
    env = ["HF_HOME", "HF_TOKEN", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]

With `--ip-adapter REPO --ip-adapter-weight FILE` the pair's reference picture conditions the pipeline; the stage then
needs `join = { references = ["image"] }`, which adds the column `references.image`.

Needs: pip install diffusers transformers accelerate torch pyarrow pillow
"""

import argparse
import hashlib
import io
import json
import os
import sys
import time

PROTOCOL = 1


def arguments():
    parser = argparse.ArgumentParser(description="Candidates from a diffusers pipeline, for cafe-data.")
    parser.add_argument("--model", required=True, help="hub id or folder of a text-to-image pipeline")
    parser.add_argument("--revision", help="pin it: the same name may mean other weights tomorrow")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    parser.add_argument("--samples", type=int, default=1, help="candidates per pair")
    parser.add_argument("--ip-adapter", help="hub id or folder of an IP-Adapter")
    parser.add_argument("--ip-adapter-weight", default="ip-adapter_sd15.bin")
    parser.add_argument("--ip-adapter-scale", type=float, default=0.6)
    return parser.parse_args()


def claim_stdout():
    """Keeps the real stdout for the protocol, and sends everything that libraries print to stderr."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(message):
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    return say


def load(args):
    import torch
    from diffusers import AutoPipelineForText2Image

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    pipeline = AutoPipelineForText2Image.from_pretrained(args.model, revision=args.revision, torch_dtype=dtype)
    if args.ip_adapter:
        pipeline.load_ip_adapter(args.ip_adapter, subfolder="models", weight_name=args.ip_adapter_weight)
        pipeline.set_ip_adapter_scale(args.ip_adapter_scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def seed_of(run_seed, pair_id, sample):
    """One seed per candidate, from its own name: the same picture whatever else is in the batch."""
    digest = hashlib.blake2b(f"{run_seed}/{pair_id}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes 63 bits


def generate(pipeline, args, row, seed, beat):
    import torch
    from PIL import Image

    options = {}
    if args.ip_adapter:
        options["ip_adapter_image"] = Image.open(io.BytesIO(row["references.image"]["bytes"])).convert("RGB")

    def on_step(_pipeline, _step, _timestep, state):
        beat()
        return state

    # On the CPU, so that the noise does not depend on the device.
    generator = torch.Generator("cpu").manual_seed(seed)
    picture = pipeline(
        prompt=row["caption"],
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        width=args.size,
        height=args.size,
        generator=generator,
        callback_on_step_end=on_step,
        **options,
    ).images[0]
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    return encoded.getvalue()


def schema():
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [
        ("pair_id", pa.string()),
        ("generator", pa.string()),
        ("weights_digest", pa.string()),
        ("sample_index", pa.uint32()),
        ("seed", pa.uint64()),
        ("image", image),
        ("_error", pa.string()),
    ]
    return pa.schema(columns)


def answer(pipeline, args, request, beat):
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A hub id and revision name the weights well enough here; a digest of the files would be better.
    weights = hashlib.sha256(f"{args.model}@{args.revision or ''}".encode()).hexdigest()
    made = []
    for row in pq.read_table(request["input"]).to_pylist():
        for sample in range(args.samples):
            seed = seed_of(request["seed"], row["pair_id"], sample)
            candidate = {
                "pair_id": row["pair_id"],
                "generator": "diffusers",
                "weights_digest": weights,
                "sample_index": sample,
                "seed": seed,
            }
            try:
                candidate["image"] = {"bytes": generate(pipeline, args, row, seed, beat), "path": None}
            except (ValueError, OSError, TypeError) as error:  # This row's fault; memory and devices are not.
                candidate["_error"] = f"{type(error).__name__}: {error}"
            made.append(candidate)
    pq.write_table(pa.Table.from_pylist(made, schema=schema()), request["output"])


def classify(error):
    text = f"{type(error).__name__}: {error}"
    if "OutOfMemory" in text or "out of memory" in text or isinstance(error, MemoryError):
        return {"class": "out_of_memory", "message": text}
    if isinstance(error, (ConnectionError, TimeoutError)):
        return {"class": "transient", "message": text}
    return {"class": "poison", "message": text}


def main():
    args = arguments()
    say = claim_stdout()
    last = time.monotonic()

    def beat():
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say({"heartbeat": True})

    pipeline = load(args)
    say({"ready": True, "protocol": PROTOCOL})
    # The end of stdin means that cafe-data has gone, however it went: so do we.
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        try:
            answer(pipeline, args, request, beat)
        except Exception as error:
            if "out of memory" in str(error):
                import torch

                torch.cuda.empty_cache()
            say({"id": request["id"], "error": classify(error)})
            if "CUDA error" in str(error):
                sys.exit(1)  # The device's state is lost; a fresh process has a fresh one.
            continue
        say({"id": request["id"], "ok": True, "device_ms": round((time.monotonic() - began) * 1000)})


if __name__ == "__main__":
    main()
