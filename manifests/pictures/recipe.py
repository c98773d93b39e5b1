#!/usr/bin/env python3
"""Rebuilds these pictures, or extracts all 3,786 of the set they were chosen from. Standard library only; needs npm.

    python3 recipe.py                 writes the 64 bundled pictures and metadata.csv beside this file
    python3 recipe.py --check         compares them with what stands there, and writes nothing
    python3 recipe.py --all FOLDER    the whole set, with a metadata.csv of the same columns

The package is pinned by version and digest, so the same bytes come out every time. `--tarball FILE` takes a package that
was fetched before; without it, `npm pack` fetches one.
"""

import argparse
import csv
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

PACKAGE, VERSION, NOTO = "emoji-datasource-google", "16.0.0", "2.048"
SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
FOLDER = "package/img/google/64/"
COLUMNS = ["file_name", "class", "caption", "subject_id", "licence", "source"]

# The bundled pictures: class -> short name of the emoji -> caption, written by looking at the picture.
BUNDLED = {
    "animal": {
        "service_dog": "a brown shepherd dog standing in a black harness with a blue handle",
        "black_cat": "a black cat with pink ears walking to the left, its tail raised",
        "elephant": "a grey elephant with its trunk curled upwards",
        "zebra_face": "the head of a zebra with black and white stripes",
        "penguin": "a penguin with a white belly and an orange patch on its neck",
        "parrot": "a green parrot with a red face and a yellow beak",
        "octopus": "a pink octopus with curled arms",
        "turtle": "a green turtle with a dark shell, smiling",
    },
    "food": {
        "pizza": "a slice of pizza with pepperoni",
        "hamburger": "a hamburger with cheese and lettuce in a sesame bun",
        "doughnut": "a doughnut with chocolate icing and coloured sprinkles",
        "croissant": "a golden brown croissant",
        "strawberry": "a red strawberry with green leaves",
        "pineapple": "a yellow pineapple with a green crown",
        "broccoli": "a green floret of broccoli",
        "watermelon": "a slice of watermelon with black seeds",
    },
    "vehicle": {
        "fire_engine": "a red fire engine with a ladder on its roof",
        "taxi": "a yellow taxi with a chequered stripe",
        "tractor": "a green tractor with orange wheels",
        "steam_locomotive": "a steam locomotive with smoke above its chimney and red wheels",
        "bike": "a blue bicycle",
        "motor_scooter": "a yellow motor scooter with a dark seat",
        "helicopter": "a yellow helicopter",
        "boat": "a sailing boat with orange striped sails",
    },
    "clothing": {
        "tophat": "a black top hat with a red band",
        "kimono": "a pink kimono with white flowers and a blue belt",
        "dress": "a blue sleeveless dress",
        "athletic_shoe": "a blue running shoe with a white sole",
        "boot": "a tall brown boot with a heel",
        "scarf": "a red scarf with fringes",
        "gloves": "a pair of light blue knitted gloves",
        "jeans": "a pair of blue jeans",
    },
    "instrument": {
        "saxophone": "a golden saxophone",
        "guitar": "a red and white electric guitar",
        "trumpet": "a golden trumpet",
        "violin": "a red brown violin with its bow",
        "drum_with_drumsticks": "a red and white drum with two drumsticks",
        "banjo": "a banjo with a brown neck and a white head",
        "accordion": "a red accordion with white bellows",
        "harp": "a golden brown harp",
    },
    "building": {
        "house_with_garden": "a white house with an orange roof in a green garden",
        "hut": "a round clay hut with a thatched roof",
        "classical_building": "a grey classical building with four columns and a gable",
        "european_castle": "a grey castle with red roofs and red flags",
        "japanese_castle": "a Japanese castle with dark roofs on a stone base",
        "church": "a white church with a cross on its steeple",
        "mosque": "a golden mosque with a dome and two minarets",
        "factory": "a red factory with two smoking chimneys beside a grey tower",
    },
    "plant": {
        "cactus": "a green cactus with yellow thorns",
        "palm_tree": "a palm tree with a brown trunk",
        "evergreen_tree": "a green fir tree",
        "tulip": "a pink tulip with green leaves",
        "sunflower": "a sunflower with a brown centre",
        "rose": "a red rose on a green stem",
        "potted_plant": "a fern in a terracotta pot",
        "maple_leaf": "a red and orange maple leaf",
    },
    "toy": {
        "teddy_bear": "a brown teddy bear with a yellow bow tie",
        "yo-yo": "a red yo-yo with a white string",
        "kite": "an orange and purple kite with bows on its tail",
        "nesting_dolls": "a nesting doll with a green headscarf, in the open halves of a larger one",
        "jigsaw": "a green piece of a jigsaw puzzle",
        "game_die": "a white die with black dots and a red one",
        "video_game": "a dark grey game controller with coloured buttons",
        "pinata": "a piñata: a colourful star with paper fringes on its points",
    },
}

# Classes of the rest: Unicode's subgroups, under shorter names. A subgroup that is not listed keeps its own.
CLASSES = {
    "animal-": "animal",
    "cat-face": "animal",
    "monkey-face": "animal",
    "food-": "food",
    "transport-sign": "sign",
    "transport-": "vehicle",
    "musical-instrument": "instrument",
    "place-building": "building",
    "place-religious": "building",
    "place-": "place",
    "plant-": "plant",
    "game": "toy",
    "face-": "face",
    "emotion": "face",
    "hand": "hand",
    "person": "person",
    "family": "person",
    "country-flag": "flag",
    "subdivision-flag": "flag",
    "time": "clock",
    "sky & weather": "weather",
    "light & video": "appliance",
    "arts & crafts": "craft",
}
# Noto Emoji takes these from elsewhere: see LICENSE.
FREE_FLAGS = {"country-flag", "subdivision-flag"}
# The table has no names of its own for these.
TONES = {"1F3FB": "light", "1F3FC": "medium light", "1F3FD": "medium", "1F3FE": "medium dark", "1F3FF": "dark"}


def fetch(folder):
    command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"]
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        sys.exit("npm is not installed: install Node.js, or pass a fetched package with --tarball")
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(command)}` failed with exit code {error.returncode}")
    return pathlib.Path(folder) / f"{PACKAGE}-{VERSION}.tgz"


def unpack(tarball):
    """The table of emoji, and the pictures by name."""
    packed = tarball.read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    if digest != SHA256:
        sys.exit(f"{tarball} is not {PACKAGE} {VERSION}: its SHA-256 is {digest}, and {SHA256} was expected")
    table, pictures = None, {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        for member in tar:
            if member.name == "package/emoji.json":
                table = json.load(tar.extractfile(member))
            elif member.name.startswith(FOLDER) and member.isfile():
                pictures[member.name.removeprefix(FOLDER)] = tar.extractfile(member).read()
    return table, pictures


def class_of(emoji):
    subgroup = emoji["subcategory"]
    return next((name for prefix, name in CLASSES.items() if subgroup.startswith(prefix)), subgroup)


def row(emoji, picture, tones=()):
    """What metadata.csv says of one picture. Skin tones of an emoji are one subject: they must not cross splits."""
    name, chosen = emoji["short_name"], class_of(emoji)
    caption = BUNDLED.get(chosen, {}).get(name) or emoji["name"].lower()
    licence = "public domain" if emoji["subcategory"] in FREE_FLAGS else "Apache-2.0"
    if tones:
        caption += f", {' and '.join(tones)} skin tone{'s' if len(tones) > 1 else ''}"
    return {
        "file_name": f"{chosen}/{'-'.join([name, *tones]).replace(' ', '_')}.png",
        "class": chosen,
        "caption": caption,
        "subject_id": name,
        "licence": licence,
        "source": f"Noto Emoji {NOTO}, {PACKAGE} {VERSION}: {picture}",
    }


def rows(table):
    """Each picture with its row, in the order of the file names."""
    found = []
    for emoji in table:
        if emoji["has_img_google"]:
            found.append((emoji["image"], row(emoji, emoji["image"])))
        for key, variant in emoji.get("skin_variations", {}).items():
            if variant["has_img_google"]:
                tones = [TONES[code] for code in key.split("-")]
                found.append((variant["image"], row(emoji, variant["image"], tones)))
    return sorted(found, key=lambda one: one[1]["file_name"])


def is_bundled(entry):
    return entry["file_name"] == f"{entry['class']}/{entry['subject_id']}.png" and entry["subject_id"] in BUNDLED.get(
        entry["class"], {}
    )


def files(chosen, pictures):
    """Bytes by path, metadata.csv included."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry for _, entry in chosen)
    made = {entry["file_name"]: pictures[picture] for picture, entry in chosen}
    if len(made) != len(chosen):
        sys.exit("two pictures would have the same name")
    return made | {"metadata.csv": text.getvalue().encode()}


def check(folder, made):
    there = {str(path.relative_to(folder)) for path in [*folder.glob("*/*.png"), *folder.glob("metadata.csv")]}
    wrong = [path for path in sorted(there | set(made)) if path not in there or path not in made]
    wrong += [path for path in sorted(there & set(made)) if (folder / path).read_bytes() != made[path]]
    if wrong:
        sys.exit("missing, left over, or altered:\n" + "\n".join(wrong))
    print(f"{len(made)} files are what the recipe makes")


def write(folder, made):
    for path, content in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    print(f"{len(made) - 1} pictures and metadata.csv are in {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=pathlib.Path, metavar="FOLDER", help="extract the whole set there")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--tarball", type=pathlib.Path, help="the package, fetched before")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, pictures = unpack(given.tarball or fetch(folder))
    chosen = rows(table)
    if not given.all:
        chosen = [(picture, entry) for picture, entry in chosen if is_bundled(entry)]
        wanted = sum(map(len, BUNDLED.values()))
        if len(chosen) != wanted:
            sys.exit(f"{wanted} pictures are bundled, and the package has {len(chosen)} of them")
    folder = given.all or pathlib.Path(__file__).resolve().parent
    (check if given.check else write)(folder, files(chosen, pictures))


if __name__ == "__main__":
    main()
