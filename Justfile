# Tasks of the project: `just NAME`. Everything builds with --release, so that polars is compiled once and for all.

# Lists the tasks.
default:
    @just --list --unsorted

# Compiles everything without making programs: the quickest answer to "does it build?" after the first time.
check:
    cargo check --release --workspace --all-targets

# All tests but those that take longer than half a minute: see soak.
test *ARGS:
    cargo test --release {{ARGS}}

# Two processes on one catalog, killed at random for a minute, and whatever else takes long.
soak:
    cargo test --release --test integration -- --ignored soak --nocapture

# Benchmarks. For the other side of the comparisons see benches/peers/README.md.
bench *ARGS:
    cargo bench {{ARGS}}

# The quickstart, whole, on the bundled pictures. A second run goes on where the first one was stopped.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Clippy shares the profile with the tests, but keeps metadata of its own: minutes, the first time.
# Format and lints; any warning fails.
lint:
    cargo fmt --check --all
    cargo clippy --release --workspace --all-targets -- -D warnings

# Formats all Rust code.
fmt:
    cargo fmt --all

# Licences, duplicate and unwanted crates, advisories: deny.toml. Fetches the advisories anew.
deny:
    @command -v cargo-deny >/dev/null || { echo "cargo-deny is not installed: cargo install --locked cargo-deny" >&2; exit 1; }
    cargo deny check

# What runs before a merge: .ci/run.
ci:
    .ci/run

# There is no recipe that applies migrations: the program does, when it opens a catalog. Rules: migrations/README.md.
# Adds the next migration, for example `just migrate add_labels`: a numbered file for each dialect, to be filled in.
migrate WHAT:
    #!/usr/bin/env bash
    set -euo pipefail
    cd "{{justfile_directory()}}/migrations"
    what="{{WHAT}}"
    [[ "$what" =~ ^[a-z][a-z0-9_]*$ ]] || { echo "\`$what\`: write lower-case words joined by _, such as add_labels" >&2; exit 2; }
    # The highest ordinal of all dialects: the same one means the same change everywhere.
    last=$(ls -1 ./*/ | sed -n 's/^\([0-9]\{4\}\)_.*\.sql$/\1/p' | sort | tail -n 1)
    next=$(printf '%04d' $((10#${last:-0} + 1)))
    for dialect in */; do
        file="${dialect}${next}_${what}.sql"
        printf -- '-- %s\n-- What changes, why, what is lost if anything, and how long it took on 1,000,000 shards.\n' "${what//_/ }" > "$file"
        echo "migrations/$file"
    done

# Regenerates the manifest's JSON schema for editors. A test says when it is out of date.
schema:
    cargo build --release
    "${CARGO_TARGET_DIR:-target}/release/cafe-data" schema > manifests/.cafe.schema.json
    mv manifests/.cafe.schema.json manifests/cafe.schema.json

# Accepts all snapshots as the code makes them now. Read the diff before you commit it.
snapshots:
    INSTA_UPDATE=always cargo test --release

# Compares the bundled pictures with what their recipe makes (needs npm and a network).
pictures:
    python3 manifests/pictures/recipe.py --check

# Makes the goldens of the engine again. PYTHON has the versions of engine/goldens/requirements.txt.
goldens PYTHON="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    for script in engine/goldens/make/*.py; do
        case "$script" in
            */common.py | */full_size.py) continue ;;
        esac
        "{{PYTHON}}" "$script"
    done

# Goldens, then models of published sizes with random weights, one after the other; FOLDER needs 10 GB.
parity FOLDER PYTHON="python3": (goldens PYTHON)
    #!/usr/bin/env bash
    set -euo pipefail
    models="clip-b32 clip-l14-336 dino-s16 dinov2-giant text-sd2"
    for model in $models; do
        "{{PYTHON}}" engine/goldens/make/full_size.py "$model" "{{FOLDER}}"
        cargo run --release -p cafe-engine --example parity -- "{{FOLDER}}" "$model"
    done
    "{{PYTHON}}" engine/benches/peers/unet.py "{{FOLDER}}/unet"
    cargo run --release -p cafe-engine --example unet -- "{{FOLDER}}/unet"
