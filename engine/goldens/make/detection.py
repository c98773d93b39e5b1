"""Pictures through the image processors of detectors: sizes over many shapes, and pixels of one picture.

`python detection.py` reads the pictures of the golden `picture`.
"""

import itertools

import numpy
import PIL.Image
import torch
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import ConditionalDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import (
    YolosImageProcessorPil,
    get_size_with_aspect_ratio_yolos,
)

import common

SMALL = {"size": {"shortest_edge": 24, "longest_edge": 31}}
PROCESSORS = {
    "detr": DetrImageProcessorPil(**SMALL),
    "conditional_detr": ConditionalDetrImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 90}),
    "yolos": YolosImageProcessorPil(size={"shortest_edge": 40, "longest_edge": 90}),
    "square": DetrImageProcessorPil(size={"height": 20, "width": 26}),
}
SIDES = [1, 7, 20, 23, 31, 32, 65, 96, 500, 799, 800, 1000, 1334, 4000]
BOUNDS = [(800, 1333), (24, 31), (33, 64)]


def main() -> None:
    folder = common.folder("detection")
    image = PIL.Image.open(common.GOLDENS / "picture" / "rgb.png").convert("RGB")
    turned = image.transpose(PIL.Image.Transpose.ROTATE_90)
    cases = {}
    for name, processor in PROCESSORS.items():
        processor.save_pretrained(folder / name)
        for which, picture in [("wide", image), ("tall", turned)]:
            cases[f"{name}.{which}"] = processor(picture, return_tensors="pt").pixel_values[0]
    # Rows of height, width, shortest, longest, and height and width by DETR's rule and by YOLOS'; some of them are 0.
    rows = []
    for (height, width), (shortest, longest) in itertools.product(itertools.product(SIDES, SIDES), BOUNDS):
        sizes = [*get_size_with_aspect_ratio((height, width), shortest, longest),
                 *get_size_with_aspect_ratio_yolos((height, width), shortest, longest)]
        rows.append([height, width, shortest, longest, *sizes])
    cases["sizes"] = torch.from_numpy(numpy.array(rows, numpy.int64))
    common.save_cases("detection", cases)


if __name__ == "__main__":
    main()
