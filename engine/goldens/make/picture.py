"""Pictures through PIL and transformers' image processors, and through diffusers' VaeImageProcessor.

`python picture.py PHOTOS` makes the fixtures anew from PHOTOS, a folder with DreamBench's `dog`, `vase` and `cat2`:
crops of a few dozen pixels' width from three photos, in every kind of file that reaches the engine.
"""

import io
import pathlib
import sys

import numpy
import PIL.Image
import PIL.ImageOps
import torch
from diffusers.image_processor import VaeImageProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import common

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SMALL = {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}}

PROCESSORS = {
    "clip": CLIPImageProcessorPil(**SMALL),
    # As in facebook/dinov2-giant, but smaller.
    "dinov2": BitImageProcessorPil(**SMALL, **IMAGENET),
    # As in facebook/dino-vits16, but smaller: a square, bilinear, 0.5.
    "vit": ViTImageProcessorPil(size={"height": 24, "width": 24}),
    # What else the file can say.
    "lanczos": CLIPImageProcessorPil(
        size={"height": 26, "width": 18}, resample=1, do_center_crop=False, rescale_factor=1 / 127.5
    ),
    "enlarged": CLIPImageProcessorPil(size={"shortest_edge": 90}, crop_size={"height": 31, "width": 40}),
    "padded": CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 27, "width": 22}),
    "raw": CLIPImageProcessorPil(
        do_resize=False, crop_size={"height": 27, "width": 18}, do_rescale=False, do_normalize=False
    ),
    "unnormalised": CLIPImageProcessorPil(size={"shortest_edge": 20}, do_center_crop=False, do_normalize=False),
}


def crop(photos: pathlib.Path, name: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> PIL.Image.Image:
    return PIL.Image.open(photos / name).convert("RGB").crop(box).resize(size, PIL.Image.Resampling.LANCZOS)


def jpeg(image: PIL.Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", **{"quality": 88, **options})
    return file.getvalue()


def png(image: PIL.Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", optimize=True, **options)
    return file.getvalue()


def without_adobe(data: bytes) -> bytes:
    """Drops the segment by which Adobe says how the colours are meant."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def as_ycck(data: bytes) -> bytes:
    """Says that the four channels are YCCK: their colours are then strange, but the same to every decoder."""
    at = data.index(b"\xff\xee") + 15
    return data[:at] + b"\x02" + data[at + 1 :]


def files(photos: pathlib.Path) -> dict[str, bytes]:
    dog = crop(photos, "dog/00.jpg", (80, 0, 680, 780), (150, 195))
    vase = crop(photos, "vase/00.jpg", (0, 200, 1080, 900), (189, 122))
    cat = crop(photos, "cat2/00.jpg", (300, 300, 1500, 1200), (60, 45))
    small = vase.resize((63, 40))
    exif = PIL.Image.Exif()

    def turned(orientation: int) -> bytes:
        exif[0x112] = orientation
        return jpeg(small, exif=exif, quality=75)

    depth = numpy.asarray(small.convert("L")).astype(numpy.uint16) * 257
    depth += numpy.arange(depth.size, dtype=numpy.uint16).reshape(depth.shape) % 200  # low bytes that matter
    alpha = PIL.Image.linear_gradient("L").resize(cat.size)
    transparent = cat.copy()
    transparent.putalpha(alpha)
    palette = cat.quantize(48)
    return {
        "tall.jpg": jpeg(dog, subsampling="4:2:0"),
        "wide.jpg": jpeg(vase, subsampling="4:4:4"),
        "half.jpg": jpeg(vase, subsampling="4:2:2", quality=75),
        "progressive.jpg": jpeg(dog, progressive=True, quality=75),
        **{f"turned_{orientation}.jpg": turned(orientation) for orientation in range(1, 9)},
        "grey.jpg": jpeg(small.convert("L")),
        "grey.png": png(small.convert("L")),
        "grey_16.png": png(PIL.Image.fromarray(depth)),
        "grey_alpha.png": png(transparent.convert("LA")),
        "rgb.png": png(cat),
        "alpha.png": png(transparent),
        "palette.png": png(palette),
        "palette_alpha.png": png(palette, transparency=5),
        "cmyk.jpg": jpeg(small.convert("CMYK")),
        "cmyk_plain.jpg": without_adobe(jpeg(small.convert("CMYK"))),
        "ycck.jpg": as_ycck(jpeg(small.convert("CMYK"))),
    }


def decoded(data: bytes) -> PIL.Image.Image:
    """Upright, on white, RGB."""
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    if image.mode.startswith("I;16"):
        # Pillow clips 16 bits at 255: nearly all is white. The picture that is meant is this.
        values = numpy.asarray(image).astype(numpy.float64)
        return PIL.Image.fromarray((values / 257).round().astype(numpy.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def main() -> None:
    folder = common.folder("picture")
    made = files(pathlib.Path(sys.argv[1]))
    cases = {}
    for name, data in made.items():
        (folder / name).write_bytes(data)
        image = decoded(data)
        cases[name] = PROCESSORS["clip"](image, return_tensors="pt").pixel_values[0]
    for name, processor in PROCESSORS.items():
        processor.save_pretrained(folder / name)
        cases[f"rgb.png.{name}"] = processor(decoded(made["rgb.png"]), return_tensors="pt").pixel_values[0]

    pixels = VaeImageProcessor(resample="lanczos", vae_scale_factor=1)
    for height, width in [(24, 24), (17, 32), (31, 16)]:
        image = decoded(made["rgb.png"])
        cases[f"pixels.{height}x{width}"] = pixels.preprocess(image, height, width, resize_mode="crop")
    decodings = 1.2 * torch.randn(2, 3, 5, 7, generator=common.generator())
    # Levels and halves between them, where rounding matters.
    decodings[0, 0] = ((torch.arange(35) * 3.5).reshape(5, 7) / 255) * 2 - 1
    cases["decodings"] = decodings
    images = [numpy.asarray(image) for image in pixels.postprocess(decodings)]
    cases["images"] = torch.from_numpy(numpy.stack(images).astype(numpy.float32))
    common.save_cases("picture", cases)


if __name__ == "__main__":
    main()
