"""What the exported graphs of convolutional students are made of: counted by type, in fp32 and int8, on each engine."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import openvino
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.engines.accuracy_aware import quantize_within
from pipeline.engines.exporter import NotAvailableError, exporter
from pipeline.engines.prepare import prepared
from pipeline.engines.samples import sample_inputs
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.engines.tflite import flatbuffer, layers
from pipeline.errors import StageError
from pipeline.layout import SUFFIX, Engine, Variant
from pipeline.runtime.session import Precision, open_session
from pipeline.students.layers.images import ImageConfig
from pipeline.students.mobilenet_v3 import Block, MobileNetV3, MobileNetV3Config
from pipeline.students.shufflenet_v2 import ShuffleNetV2, ShuffleNetV2Config, Stage

SIDE, CLASSES = 16, 10
RELATIVE_ERROR = {"fp32": 1e-5, "int8": 0.15}


class Case(NamedTuple):
    """A student and what must be in its graph: convolutions, depthwise among them, activations, pools, products."""

    model: nn.Module
    convolutions: int
    depthwise: int
    hard_swishes: int
    squeezes: int
    additions: int
    linears: int


def _settle(model: nn.Module) -> nn.Module:
    """Seeded batch norms with statistics of the images, so that folding them changes the weights."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = None
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
        # A bias of zeros is dropped.
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(_images(64, seed=1)))
    return model.eval()


def _images(count: int, seed: int = 0) -> NDArray[np.float32]:
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 3, 4, 4))
    return np.kron(coarse, np.ones((4, 4))).astype(np.float32)


def _student(name: str) -> Case:
    torch.manual_seed(0)
    images = ImageConfig(CLASSES, 3, SIDE, SIDE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    facts = vars(images)
    if name == "mobilenet_v3":
        blocks = (
            Block(3, 2, 24, 16, 8, "hardswish", expand=True, residual=False),
            Block(5, 1, 32, 16, 0, "relu", expand=True, residual=True),
        )
        config = MobileNetV3Config(**facts, stem=16, stem_stride=1, blocks=blocks, last=48, hidden=32)
        # Hard-swish: stem, two in the first block, the last convolution, the classifier.
        return Case(_settle(MobileNetV3(config)), 10, 2, 5, 1, 1, 2)
    stages = (Stage(24, (12, 12)), Stage(32, (16, 16)), Stage(48, (24,)))
    other = ShuffleNetV2Config(**facts, stem=16, stem_stride=1, stem_pool=True, stages=stages, last=32)
    # Five in each unit that halves the image, three in the others.
    return Case(_settle(ShuffleNetV2(other)), 23, 8, 0, 0, 0, 1)


def _spec() -> ModelSpec:
    image = TensorSpec("image", "float32", ("batch", 3, SIDE, SIDE))
    return ModelSpec((image,), TensorSpec("logits", "float32", ("batch", CLASSES)), ({"batch": 1}, {"batch": 4}))


class Exported(NamedTuple):
    case: Case
    engine: Engine
    folder: Path

    def file(self, variant: str) -> Path:
        return self.folder / f"{variant}{SUFFIX[self.engine]}"


@pytest.fixture(scope="module", params=["mobilenet_v3", "shufflenet_v2"])
def case(request: pytest.FixtureRequest) -> Case:
    return _student(request.param)


@pytest.fixture(scope="module", params=list(Engine))
def exported(
    case: Case, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    made = Exported(case, request.param, tmp_path_factory.mktemp("exported"))
    target = exporter(made.engine)
    target.export(case.model, _spec(), made.file("fp32"), toolchain={"opset": 20})
    target.quantize(
        made.file("fp32"), _spec(), {"image": _images(64, seed=1)}, made.file("int8"), precision=Variant.INT8
    )
    yield made


def _types(engine: Engine, file: Path) -> list[Counter[str]]:
    """Nodes by type, for each signature."""
    if engine is Engine.ONNXRUNTIME:
        return [Counter(node.op_type for node in onnx.load(file).graph.node)]
    if engine is Engine.OPENVINO:
        return [Counter(op.get_type_name() for op in openvino.Core().read_model(file).get_ops())]
    model = flatbuffer.read(file.read_bytes())
    return [Counter(layers.operator_name(model, op) for op in graph.operators) for graph in model.subgraphs]


def test_numbers_are_pytorchs_at_every_batch_in_fp32_and_near_them_in_int8(exported: Exported) -> None:
    for variant, allowed in RELATIVE_ERROR.items():
        session = open_session(exported.engine.value, exported.file(variant), 1)
        for batch in (1, 4, 5):
            images = _images(batch, seed=1)
            with torch.no_grad():
                expected = exported.case.model(torch.from_numpy(images)).numpy()
            given = session.run({"image": images})
            assert np.linalg.norm(given - expected) <= allowed * np.linalg.norm(expected)


def test_batch_norm_and_the_scale_of_normalization_are_in_the_weights(exported: Exported) -> None:
    case = exported.case
    for types in _types(exported.engine, exported.file("fp32")):
        if exported.engine is Engine.ONNXRUNTIME:
            assert types["Conv"] == case.convolutions
            assert (types["HardSwish"], types["HardSigmoid"]) == (case.hard_swishes, case.squeezes)
            assert types["Mul"] == case.squeezes
            assert types["Add"] == case.additions + 1  # the offset of the normalization
            assert not {"BatchNormalization", "Sub", "Div", "Transpose", "Gather", "ReduceMean"} & types.keys()
            assert types["GlobalAveragePool"] == case.squeezes + 1
        elif exported.engine is Engine.OPENVINO:
            assert types["Convolution"] == case.convolutions - case.depthwise
            assert types["GroupConvolution"] == case.depthwise
            assert (types["HSwish"], types["HSigmoid"]) == (case.hard_swishes, case.squeezes)
            assert types["Multiply"] == case.squeezes
            # A bias is an addition here.
            assert types["Add"] == case.convolutions + case.linears + case.additions + 1
            assert not {"BatchNormInference", "Subtract", "Divide", "Transpose", "Gather"} & types.keys()
        else:
            assert types["CONV_2D"] == case.convolutions - case.depthwise
            assert types["DEPTHWISE_CONV_2D"] == case.depthwise
            assert types["HARD_SWISH"] == case.hard_swishes
            assert types["MUL"] == 2 * case.squeezes  # a sixth of relu6 is the hard sigmoid
            assert types["ADD"] == case.additions + 1
            assert not {"SUB", "DIV", "GATHER", "GATHER_ND"} & types.keys()


def test_tensorflow_lite_turns_to_channels_last_once(exported: Exported) -> None:
    if exported.engine is not Engine.TFLITE:
        pytest.skip("of TensorFlow Lite")
    for variant in ("fp32", "int8"):
        assert [types["TRANSPOSE"] for types in _types(exported.engine, exported.file(variant))] == [1, 1]


def test_every_convolution_but_the_images_own_is_int8(exported: Exported) -> None:
    case, file = exported.case, exported.file("int8")
    if exported.engine is Engine.ONNXRUNTIME:
        graph = onnx.load(file).graph
        producers = {name: node.op_type for node in graph.node for name in node.output}
        int8 = [n for n in graph.node if n.op_type == "Conv" and producers.get(n.input[1]) == "DequantizeLinear"]
        assert len(int8) == case.convolutions - 1
        types = Counter(node.op_type for node in graph.node)
        # Only the stem's and none of the squeezes' activations are left in float.
        assert (types["HardSwish"], types["HardSigmoid"]) == (min(case.hard_swishes, 1), 0)
        scales = {t.name: list(t.dims) for t in graph.initializer if "weight_scale" in t.name}
        assert all(dims for dims in scales.values())  # one a channel
    elif exported.engine is Engine.OPENVINO:
        model = openvino.Core().read_model(file)
        int8 = [
            op
            for op in model.get_ops()
            if op.get_type_name() == "Constant" and op.get_element_type().to_string() in ("i8", "u8")
        ]
        # NNCF leaves the two convolutions of a squeeze-and-excitation in float: a pattern that it knows.
        assert len(int8) == case.convolutions + case.linears - 2 * case.squeezes
    else:
        written = flatbuffer.read(file.read_bytes())
        graph = written.subgraphs[0]
        kinds = {"CONV_2D", "DEPTHWISE_CONV_2D"}
        weights = [graph.tensors[op.inputs[1]] for op in graph.operators if layers.operator_name(written, op) in kinds]
        assert [tensor.type for tensor in weights] == [9] * case.convolutions  # schema.TensorType.INT8
        assert all(len(tensor.quantization.scale) > 1 for tensor in weights)


def test_tensorflow_lites_batches_share_ranges_and_float32_borders(exported: Exported) -> None:
    if exported.engine is not Engine.TFLITE:
        pytest.skip("of TensorFlow Lite")
    model = flatbuffer.read(exported.file("int8").read_bytes())
    ranges = []
    for graph in model.subgraphs:
        assert [graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)] == [0, 0]  # FLOAT32
        outputs = [graph.tensors[operator.outputs[0]].quantization for operator in graph.operators]
        ranges.append([(list(q.scale), list(q.zeroPoint)) for q in outputs if q is not None and q.scale is not None])
    assert ranges[0] == ranges[1]


def test_int8_is_smaller_and_written_twice_the_same(exported: Exported) -> None:
    again = exported.folder / "again"
    again.mkdir(exist_ok=True)
    target, name = exporter(exported.engine), exported.file("int8").name
    calibration = {"image": _images(64, seed=1)}
    target.quantize(exported.file("fp32"), _spec(), calibration, again / name, precision=Variant.INT8)
    for path in again.iterdir():
        assert path.read_bytes() == (exported.folder / path.name).read_bytes()


def test_layers_are_ranked_and_those_kept_in_float_lose_nothing_themselves(exported: Exported) -> None:
    target, calibration = exporter(exported.engine), {"image": _images(64, seed=1)}
    fp32, int8 = exported.file("fp32"), exported.file("int8")
    ranked = target.layer_errors(fp32, int8, _spec(), calibration)
    errors = [layer.error for layer in ranked]
    assert errors == sorted(errors, reverse=True)
    assert len(ranked) == exported.case.convolutions + exported.case.linears
    # One layer adds less than the whole network may lose.
    assert 0 < errors[0] < RELATIVE_ERROR["int8"]

    kept = exported.folder / f"kept{SUFFIX[exported.engine]}"
    names = [layer.name for layer in ranked]
    target.quantize(fp32, _spec(), calibration, kept, precision=Variant.INT8, keep_float=names)
    images = _images(4, seed=1)
    expected, given = (open_session(exported.engine.value, file, 1).run({"image": images}) for file in (fp32, kept))
    quantized = open_session(exported.engine.value, int8, 1).run({"image": images})
    # What stands between the layers is still int8.
    assert np.linalg.norm(given - expected) < 0.8 * np.linalg.norm(quantized - expected)


def test_layers_stay_in_float_until_the_tolerance_holds(exported: Exported) -> None:
    calibration, images = {"image": _images(64, seed=1)}, {"image": _images(8, seed=1)}
    expected = open_session(exported.engine.value, exported.file("fp32"), 1).run(images)

    def loss(file: Path) -> float:
        given = open_session(exported.engine.value, file, 1).run(images)
        return float(np.linalg.norm(given - expected) / np.linalg.norm(expected))

    plain = loss(exported.file("int8"))
    folder = exported.folder / "within"
    folder.mkdir()
    out, fp32 = folder / exported.file("int8").name, exported.file("fp32")
    target = exporter(exported.engine)
    report = quantize_within(
        target,
        fp32,
        _spec(),
        calibration,
        out,
        precision=Variant.INT8,
        loss=loss,
        tolerance=0.9 * plain,
        max_float_layers=64,
    )
    assert report.holds
    assert report.kept_float
    assert report.attempts > 1
    assert loss(out) == pytest.approx(report.loss)
    ranked = target.layer_errors(fp32, exported.file("int8"), _spec(), calibration)
    assert list(report.kept_float) == ranked[: len(report.kept_float)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in exported.folder.glob("int8.*"))


def test_a_layer_that_is_not_there_is_named(exported: Exported) -> None:
    with pytest.raises(StageError, match=rf"{exported.engine} quantize fp32.*: no layer features\.99; it has "):
        exporter(exported.engine).quantize(
            exported.file("fp32"),
            _spec(),
            {"image": _images(4)},
            exported.folder / "x",
            precision=Variant.INT8,
            keep_float=["features.99"],
        )


def test_a_network_with_convolutions_has_no_int4(exported: Exported) -> None:
    target, out = exporter(exported.engine), exported.folder / f"int4{SUFFIX[exported.engine]}"
    with pytest.raises(NotAvailableError, match=rf"^{exported.engine} has no int4 for fp32.*: it has convolutions"):
        target.quantize(exported.file("fp32"), _spec(), {"image": _images(4)}, out, precision=Variant.INT4)
    assert not out.exists()


def test_a_variant_says_what_it_is_computed_in(exported: Exported) -> None:
    target = exporter(exported.engine)
    exact = target.precision_of(exported.file("fp32"), Variant.FP32, _spec(), "f32")
    assert exact == Precision("fp32", "fp32", "f32", "none")
    reduced = target.precision_of(exported.file("int8"), Variant.INT8, _spec(), "f32")
    assert reduced == Precision("int8", "int8 static", "f32", "none")
    # Only OpenVINO has kernels of bf16.
    asked = target.precision_of(exported.file("fp32"), Variant.FP32, _spec(), "bf16")
    assert asked.inference == ("bf16" if exported.engine is Engine.OPENVINO else "f32")


def test_prepared_students_compute_the_same(case: Case) -> None:
    images = torch.from_numpy(_images(3))
    with torch.no_grad():
        form = prepared(case.model, sample_inputs(_spec(), {"batch": 2}))
        torch.testing.assert_close(form(images), case.model(images), rtol=1e-4, atol=1e-4)
