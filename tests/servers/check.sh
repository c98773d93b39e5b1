#!/usr/bin/env bash
# Has a real chat server write dialogues: see README.md.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 BASE_URL MODEL [CONCURRENCY]" >&2; exit 2; }
url="$1" model="$2" concurrency="${3:-4}"
root="$(cd "$(dirname "$0")/../.." && pwd)"
program="${CARGO_TARGET_DIR:-$root/target}/release/cafe-data"
project="$(mktemp -d)"
echo "project: $project"

mkdir "$project/pictures"
cp "$root"/manifests/pictures/animal/*.png "$project/pictures/"
names=("$project"/pictures/*.png)
places=("on a beach" "in deep snow" "in a red hat" "under water" "at a birthday party" "on the moon")
echo "reference,target,instruction,caption,class" > "$project/pictures/metadata.csv"
for at in "${!places[@]}"; do
    name="$(basename "${names[$at]}")"
    target="$(basename "${names[$(((at + 1) % ${#names[@]}))]}")"
    class="$(basename "$name" .png | tr '_-' '  ')"
    place="${places[$at]}"
    echo "$name,$target,Generate an image of this $class $place.,a $class $place,$class" >> "$project/pictures/metadata.csv"
done
cat > "$project/cafe.toml" <<TOML
version = 1
seed = 1

[[stage]]
kind = "import"
name = "import"
source = { type = "folder", path = "pictures" }
shard_rows = 3

[[stage]]
kind = "dialogue"
name = "dialogue"
needs = ["import"]
filtered = false
per_candidate = 2
concurrency = $concurrency
backend = { type = "openai", base_url = "$url", model = "$model" }

[[stage]]
kind = "publish"
name = "publish"
needs = ["dialogue"]
filtered = false
scores = false
TOML

cd "$project"
run() {
    local code=0
    "$program" run --progress plain || code=$?
    [ "$code" = 0 ] || [ "$code" = 4 ] || { echo "run ended with $code" >&2; exit "$code"; }
}
time run
digest() { find data/shards data/releases -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum; }
stored() { cat data/replies/*.log | wc -c; }
before="$(digest) $(stored)"
run
[ "$before" = "$(digest) $(stored)" ] || { echo "a second run changed something" >&2; exit 1; }
"$program" audit --verify
"$program" query "SELECT speech_act, n_tries, y, y_tilde FROM dialogues"
"$program" query "SELECT error, COUNT(*) AS n FROM dialogue_tries GROUP BY error ORDER BY n DESC"
"$program" query "SELECT row_id, message FROM quarantine" --format csv
