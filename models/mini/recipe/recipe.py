"""Rebuild the mini family: `python models/mini/recipe/recipe.py [--smoke | --bundle | --restore] [STAGE...]`.

A stage is one file in `stages/` with `INPUTS` (stages it reads), `VERSION` (bumped by hand when its output
changes), `settings(smoke)` and `build(context)`. So a later stage is added by adding its file and its name to
`ORDER`, and the driver knows nothing of what it makes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from runner import StageSpec, bundle_stage, cache_root, restore_stage, run_stage  # noqa: E402

ORDER = ["fetch", "glyphs", "features", "split", "neighbours", "sheets", "tokenizer", "scenes", "subjects", "pairs", "pool",
         "vae", "dino_condition", "clip_condition", "latents", "conditions", "cafe_start", "text_to_image",
         "dino_filter", "clip_filter", "dino_judge", "clip_judge", "onnx_filters", "cafe_unet", "promptnet", "mllm",
         "measure_encoders", "measure_cafe", "measure_promptnet", "measure_test"]


def load(name: str) -> StageSpec:
    """Read one stage's file into the values that the runner needs."""
    module = importlib.import_module(f"stages.{name}")
    bundled, exported = (getattr(module, name, None) for name in ("BUNDLED", "EXPORTED"))
    return StageSpec(name, module.VERSION, tuple(module.INPUTS), module.settings, module.build, bundled, exported)


def main(arguments: list[str] | None = None) -> int:
    """Run the named stages, or all of them, in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small version of each stage, kept apart")
    parser.add_argument("--bundle", action="store_true", help="copy the named trainings' outputs to what is bundled")
    parser.add_argument("--restore", action="store_true", help="take the named trainings' outputs from what is bundled")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(ORDER)}; default: all")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.stages) - set(ORDER))
    if unknown:
        parser.error(f"unknown stage {', '.join(unknown)}; known: {', '.join(ORDER)}")
    if options.smoke + options.bundle + options.restore > 1:
        parser.error("--smoke, --bundle and --restore exclude each other")
    if (options.bundle or options.restore) and not options.stages:
        parser.error("--bundle and --restore want the names of stages")
    root = cache_root() / ("smoke" if options.smoke else "full")
    for name in ORDER:
        if not options.stages or name in options.stages:
            spec = load(name)
            if options.bundle:
                state = bundle_stage(spec, root)
            elif options.restore:
                state = restore_stage(spec, root)
            else:
                state = run_stage(spec, root, options.smoke)
            print(f"{name}: {state}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
