"""Make the detectors beside this file, and golden.json: what transformers and onnxruntime find with them. Run it when a detector is to be another:

    python stages/src/detect/tests/golden.py

with the versions of models/mini/recipe/requirements.txt.

The detectors are small enough to be seen through: each query looks at a quarter of a picture of 8 px, and takes it for something red, something
green or nothing. Inputs, outputs and configs are those of optimum's exports.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import ConditionalDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.detr.modeling_detr import DetrObjectDetectionOutput

HERE = Path(__file__).resolve().parent
SIDE = 8
LABELS = {"0": "red thing", "1": "green thing"}
# Centre, width and height of each quarter; the last box reaches over the border, as boxes do.
BOXES = [[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.4], [0.25, 0.75, 0.3, 0.5], [0.75, 0.75, 0.6, 0.5]]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# How red and how green a colour is; "nothing" has the logit 10 where there is a class for it.
SIGHT = 20 * np.array([[1, -0.5], [-0.5, 1], [-0.5, -0.5]])
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
PICTURES = {
    "one": [WHITE, RED, WHITE, WHITE],
    "none": [WHITE] * 4,
    "two": [GREEN, WHITE, WHITE, GREEN],
    "mixed": [RED, GREEN, WHITE, RED],
    "pale": [(255, 180, 180), (255, 100, 100), WHITE, WHITE],
}


def graph(kind: str, mask: list | None) -> onnx.ModelProto:
    """The detector, with an input `pixel_mask` of the shape `mask`, if any."""
    weights, bias = SIGHT * STD[:, None], MEAN @ SIGHT
    if kind == "detr":
        weights, bias = np.c_[weights, np.zeros(3)], np.r_[bias, 10]
    else:
        bias = bias - 10
    constants = {
        "weights": weights, "bias": bias, "zeros": np.zeros((3, 4)), "quarters": np.array([BOXES]),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([0, 3, 4], np.int64), "by_quarter"))
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch_size", 3, SIDE, SIDE])]
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Reshape", ["pooled", "by_quarter"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["colours"], perm=[0, 2, 1]),
    ]
    if mask:
        inputs.append(helper.make_tensor_value_info("pixel_mask", TensorProto.INT64, mask))
        # What is masked is not seen: one 0 is enough.
        nodes += [
            helper.make_node("Cast", ["pixel_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["mask"], ["seen"], axes=[1, 2], keepdims=1),
            helper.make_node("Mul", ["colours", "seen"], ["visible"]),
        ]
    visible = "visible" if mask else "colours"
    nodes += [
        helper.make_node("MatMul", [visible, "weights"], ["projected"]),
        helper.make_node("Add", ["projected", "bias"], ["logits"]),
        helper.make_node("MatMul", [visible, "zeros"], ["nowhere"]),
        helper.make_node("Add", ["nowhere", "quarters"], ["pred_boxes"]),
    ]
    n_logits = weights.shape[1]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 4, n_logits]),
        helper.make_tensor_value_info("pred_boxes", TensorProto.FLOAT, ["batch_size", 4, 4]),
    ]
    model = helper.make_model(helper.make_graph(nodes, kind, inputs, outputs, initializers),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def write(name: str, file: str, kind: str, mask: list | None) -> tuple[Path, object]:
    """The folder `name` with a detector; its graph and its processor."""
    folder = HERE / name
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(kind, mask), path)
    config = {"id2label": LABELS, "model_type": kind}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    processor = (DetrImageProcessorPil if kind == "detr" else ConditionalDetrImageProcessorPil)(
        size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(folder)
    return path, processor


def picture(quarters: list) -> Image.Image:
    """64 px of four colours."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    for at, colour in enumerate(quarters):
        top, left = 32 * (at // 2), 32 * (at % 2)
        pixels[top:top + 32, left:left + 32] = colour
    return Image.fromarray(pixels)


def found(processor: object, logits: np.ndarray, boxes: np.ndarray, threshold: float) -> list[dict]:
    """What `post_process_object_detection` finds in one picture, in the order of the queries, the best class of each."""
    outputs = DetrObjectDetectionOutput(logits=torch.from_numpy(logits)[None], pred_boxes=torch.from_numpy(boxes)[None])
    result = processor.post_process_object_detection(outputs, threshold=threshold)[0]
    corners = np.c_[boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    by_query: dict[int, dict] = {}
    for score, label, box in zip(*(result[key].tolist() for key in ("scores", "labels", "boxes")), strict=True):
        query = int(np.abs(corners - box).sum(1).argmin())
        if query not in by_query or by_query[query]["score"] < score:
            by_query[query] = {"label": label, "score": score, "corners": box}
    return [by_query[query] for query in sorted(by_query)]


def main() -> None:
    """Write all of it."""
    pictures = []
    for name, file, kind, mask in [
        ("detr", "model.onnx", "detr", ["batch_size", "height", "width"]),
        ("fixed_mask", "onnx/model.onnx", "detr", ["batch_size", 64, 64]),
        ("conditional_detr", "model.onnx", "conditional_detr", None),
    ]:
        path, processor = write(name, file, kind, mask)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for which, quarters in PICTURES.items():
            given = {"pixel_values": processor(picture(quarters), return_tensors="np").pixel_values.astype(np.float32)}
            if mask:
                given["pixel_mask"] = np.ones([1] + [side if isinstance(side, int) else SIDE for side in mask[1:]], np.int64)
            logits, boxes = session.run(["logits", "pred_boxes"], given)
            pictures.append({"detector": name, "picture": which, "quarters": quarters,
                             "objects": found(processor, logits[0], boxes[0], 0.5)})
    drawn = np.random.default_rng(0)
    outputs = []
    for scores, processor in [("softmax", DetrImageProcessorPil()), ("sigmoid", ConditionalDetrImageProcessorPil())]:
        logits = np.round(drawn.standard_normal((20, 5)) * 3, 3).astype(np.float32)
        boxes = np.round(drawn.uniform(0.05, 0.95, (20, 4)), 3).astype(np.float32)
        objects = [{"min_score": score, "objects": found(processor, logits, boxes, score)} for score in (0.1, 0.5, 0.9)]
        given = {key: [[round(value, 3) for value in row] for row in array.tolist()]
                 for key, array in [("logits", logits), ("boxes", boxes)]}
        outputs.append({"scores": scores, **given, "found": objects})
    lines = {key: ",\n  ".join(json.dumps(case) for case in cases)
             for key, cases in [("outputs", outputs), ("pictures", pictures)]}
    text = ",\n ".join(f'"{key}": [\n  {cases}\n ]' for key, cases in lines.items())
    (HERE / "golden.json").write_text(f"{{\n {text}\n}}\n")


if __name__ == "__main__":
    main()
