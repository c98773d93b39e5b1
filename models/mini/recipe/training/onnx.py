"""Encoders as ONNX: one graph a tower, any number of rows, weights in halves that the graph widens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPModel, ViTModel

OPSET = 18
# What ONNX and the weights may differ by, of the largest number of an embedding.
TOLERANCE = 1e-5
# Below this many numbers a Cast costs more than it saves.
_SMALL = 64


class ClipImage(torch.nn.Module):
    """pixel_values (B, 3, S, S) to CLIP's embedding (B, P), not normalised."""

    def __init__(self, model: CLIPModel) -> None:
        """Take the image tower and its projection."""
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output


class ClipText(torch.nn.Module):
    """input_ids (B, T), padded to the longest text, to CLIP's embedding (B, P), not normalised."""

    def __init__(self, model: CLIPModel) -> None:
        """Take the text tower and its projection."""
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection
        config = model.config.text_config
        self.end = config.eos_token_id
        length = config.max_position_embeddings
        # Column t counts what stands before t.
        self.register_buffer("before", torch.ones(length, length).triu(1), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The state of the first end-of-text token; written without indexing, which runtimes disagree on."""
        states = self.tower(input_ids=input_ids).last_hidden_state
        ends = (input_ids == self.end).float()
        first = ends * (torch.matmul(ends, self.before) < 0.5).float()
        return self.projection((states * first.unsqueeze(-1)).sum(1))


class Dino(torch.nn.Module):
    """pixel_values (B, 3, S, S) to the class token (B, C), not normalised."""

    def __init__(self, model: ViTModel) -> None:
        """Take the whole model."""
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.model(pixel_values=pixel_values).last_hidden_state[:, 0]


def halved(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the numbers that are bundled: rounded to f16, computed with in f32."""
    model.set_attn_implementation("eager")
    return model.half().float().eval()


def _narrowed(model: onnx.ModelProto) -> None:
    """Store in f16 what f16 holds exactly, with a Cast to f32 behind it."""
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size >= _SMALL:
            half = values.astype(np.float16)
            if np.array_equal(half.astype(np.float32), values):
                narrow = numpy_helper.from_array(half, f"{tensor.name}.f16")
                casts.append(helper.make_node("Cast", [narrow.name], [tensor.name], f"{tensor.name}.cast",
                                              to=TensorProto.FLOAT))
                tensor = narrow
        kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def _stripped(model: onnx.ModelProto) -> None:
    """Without what exporters note down of the machine: the same weights give the same bytes anywhere."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]


def export(module: torch.nn.Module, example: torch.Tensor, name: str, path: Path) -> None:
    """Write `module` of one input, called `name`, of which `example` has two rows, as ONNX."""
    with torch.no_grad():
        torch.onnx.export(module.eval(), (example,), path, input_names=[name], output_names=["features"],
                          dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), opset_version=OPSET, dynamo=True,
                          external_data=False, verbose=False)
    model = onnx.load(path)
    _narrowed(model)
    _stripped(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@torch.no_grad()
def check(module: torch.nn.Module, rows: torch.Tensor, path: Path) -> float:
    """Fail where onnxruntime and PyTorch disagree on `rows`, at once or one by one; return by how much they may."""
    wanted = module.eval()(rows).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    at_once = session.run(None, {name: rows.numpy()})[0]
    singly = np.concatenate([session.run(None, {name: row[None].numpy()})[0] for row in rows])
    error = float(max(np.abs(at_once - wanted).max(), np.abs(singly - wanted).max()) / np.abs(wanted).max())
    if not error <= TOLERANCE:
        raise SystemExit(f"{path.name} differs from its weights by {error:.1e} of the largest number; {TOLERANCE} is allowed")
    return error
