"""The interface of an emitted package, and what it says of bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from emitted import PROVENANCE, files, imported, package

from keramos.emit.package import emit_package
from keramos.emit.sample import Sample
from keramos.expr import call, operand
from keramos.graph import Graph, Origin, Value, apply, literal
from keramos.primitives import Contract, Conv, Gather, Map, Reduce, Spec

GENERATOR = np.random.default_rng(3)


def weight(*shape: int, name: str) -> Value:
    numbers = GENERATOR.standard_normal(shape).astype(np.float32)
    return literal(numbers, name=name)


def classifier() -> Graph:
    """Return convolution, global mean and a dense layer."""
    x = Value(Spec((6, 6, 2)), name="image")
    same = Conv((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))
    kernel = weight(3, 3, 2, 4, name="conv/kernel")
    (y,) = apply(same, x, kernel, origins=(Origin("conv", "Conv2D"),))
    (y,) = apply(Map(call("max", operand(0), 0.0)), y, origins=(_origin("relu"),))
    (y,) = apply(Reduce("mean", (0, 1)), y, origins=(_origin("mean"),))
    dense = weight(4, 3, name="dense/kernel")
    (y,) = apply(Contract((0,), (0,)), y, dense, origins=(_origin("dense"),))
    return Graph((x,), (y,), ("scores",))


def recommender() -> Graph:
    """Return a model with an input of integers, and two outputs."""
    words = Value(Spec((None,), "int32"), name="words")
    price = Value(Spec((4,)), name="price")
    (y,) = apply(Gather(0), weight(10, 4, name="table"), words)
    (y,) = apply(Reduce("sum", (0,)), y)
    (total,) = apply(Map(operand(0) + operand(1)), y, price)
    return Graph((words, price), (total, y), ("total", "sum"))


def _origin(layer: str) -> Origin:
    return Origin(layer, layer.capitalize())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def images(folder: Path) -> ModuleType:
    return package(classifier(), folder)


@pytest.fixture(scope="module")
def words(folder: Path) -> ModuleType:
    return package(recommender(), folder)


def test_inputs_and_outputs_are_described(words: ModuleType) -> None:
    described = [(x.name, x.shape, x.dtype) for x in words.INPUTS + words.OUTPUTS]

    assert described == [
        ("words", (None,), "int32"),
        ("price", (4,), "float32"),
        ("total", (4,), "float32"),
        ("sum", (4,), "float32"),
    ]


def test_one_output_is_an_array(images: ModuleType) -> None:
    y = images.predict(np.zeros((2, 6, 6, 2), np.float32))

    assert (type(y), y.dtype, y.shape) == (np.ndarray, np.float32, (2, 3))


def test_several_outputs_are_a_dict_in_order(words: ModuleType) -> None:
    y = words.predict(np.zeros((2, 5)), np.zeros((2, 4)))

    assert [*y] == ["total", "sum"]


def test_inputs_go_by_name_as_well(words: ModuleType) -> None:
    w, p = np.arange(10).reshape(2, 5), np.ones((2, 4))

    by_name = words.predict({"price": p, "words": w})

    np.testing.assert_array_equal(by_name["total"], words.predict(w, p)["total"])


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int8, np.uint64, np.bool_])
def test_numbers_of_any_kind_are_cast(images: ModuleType, kind: type[Any]) -> None:
    x = GENERATOR.integers(0, 2, (2, 6, 6, 2))

    y = images.predict(x.astype(kind))

    np.testing.assert_array_equal(y, images.predict(x.astype(np.float32)))


def test_lists_and_arrays_of_any_layout_are_taken(images: ModuleType) -> None:
    x = GENERATOR.standard_normal((6, 6, 2, 3)).astype(np.float32).transpose(3, 0, 1, 2)

    y = images.predict(x.tolist())

    np.testing.assert_array_equal(y, images.predict(x))


def test_nan_passes_through(images: ModuleType) -> None:
    x = np.zeros((2, 6, 6, 2), np.float32)
    x[1, 0, 0, 0] = np.nan

    y = images.predict(x)

    assert [*np.isnan(y).all(axis=1)] == [False, True]


def test_samples_of_a_batch_are_independent(images: ModuleType) -> None:
    x = GENERATOR.standard_normal((200, 6, 6, 2)).astype(np.float32)

    alone = np.concatenate([images.predict(x[i : i + 1]) for i in range(200)])

    np.testing.assert_allclose(images.predict(x), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ([], ValueError, "NAME takes 2 inputs ('words', 'price'), not 0"),
        ([1, 2, 3], ValueError, "NAME takes 2 inputs ('words', 'price'), not 3"),
        (
            [{"words": np.zeros((1, 5))}],
            ValueError,
            "input 'price' is missing (NAME takes 'words', 'price')",
        ),
        (
            [{"words": 0, "price": 0, "prize": 0}],
            ValueError,
            "NAME has no input 'prize' (it has 'words', 'price')",
        ),
        (
            [np.zeros((1, 5)), np.zeros(4)],
            ValueError,
            "input 'price' must have shape (n, 4), n the batch size, not (4,)",
        ),
        (
            [np.zeros((1, 5)), np.zeros((1, 5))],
            ValueError,
            "input 'price' must have shape (n, 4), n the batch size, not (1, 5)",
        ),
        (
            [np.zeros((1, 5, 1)), np.zeros((1, 4))],
            ValueError,
            "input 'words' must have shape (n, any), n the batch size, not (1, 5, 1)",
        ),
        (
            [np.zeros((1, 5)), np.zeros((2, 4))],
            ValueError,
            "the inputs differ in batch size: 'words' 1, 'price' 2",
        ),
        (
            [np.zeros((1, 5)), np.zeros((1, 4), complex)],
            TypeError,
            "input 'price' must be real numbers, not complex128",
        ),
        (
            [np.array([["a"]]), np.zeros((1, 4))],
            TypeError,
            "input 'words' must be real numbers, not <U1",
        ),
        (
            [np.zeros((1, 5)), np.array([[None] * 4])],
            TypeError,
            "input 'price' must be real numbers, not object",
        ),
    ],
)
def test_bad_input_gets_one_clear_sentence(
    words: ModuleType, given: list[Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        words.predict(*given)

    assert str(caught.value) == message.replace("NAME", words.__name__)


def test_ragged_lists_are_no_arrays(images: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"input 'image' isn't an array: .*"):
        images.predict([[1.0], [1.0, 2.0]])


def test_a_package_without_gl_says_so(images: ModuleType) -> None:
    with pytest.raises(RuntimeError) as caught:
        images.Model(device="gl")

    assert str(caught.value) == f"{images.__name__} was compiled without its gl target"


def test_auto_falls_back_to_the_cpu(images: ModuleType) -> None:
    with images.Model(device="auto") as model:
        assert model.device == "cpu"


def test_an_unknown_device_is_refused(images: ModuleType) -> None:
    with pytest.raises(ValueError, match="device is 'tpu', not 'cpu', 'gl' or 'auto'"):
        images.Model(device="tpu")


NO_CONTEXT = b'''"""An executor for a machine without a driver."""


class Executor:
    """Never made."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("no OpenGL 3.3 context")
'''


@pytest.fixture(scope="module")
def driverless(folder: Path) -> ModuleType:
    """Return a package with a gl target on a machine without a driver."""
    content = emit_package(
        classifier(),
        name="driverless",
        options={},
        provenance=PROVENANCE,
        gl={"_gl.py": NO_CONTEXT},
    )
    (folder / "driverless").mkdir()
    for path, text in content.items():
        (folder / "driverless" / path).write_bytes(text)
    return imported(folder / "driverless")


def test_no_driver_is_an_error_for_gl(driverless: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"no OpenGL 3\.3 context"):
        driverless.Model(device="gl")


def test_no_driver_means_the_cpu_for_auto(driverless: ModuleType) -> None:
    with driverless.Model(device="auto") as model:
        report = model.verify()

    assert report.device == "cpu"


def test_verify_names_the_first_stage_that_differs(
    folder: Path, images: ModuleType
) -> None:
    broken = folder / "broken"
    shutil.copytree(folder / images.__name__, broken)
    path = broken / "cpu.py"
    text = path.read_text()
    path.write_text(
        text.replace("np.divide(y, 36.0, out=y)", "np.divide(y, 35, out=y)")
    )

    with pytest.raises(RuntimeError) as caught:
        imported(broken).verify()

    assert str(caught.value).startswith(
        "stage 'mean' (3 of 4) is the first that differs on cpu: by 2.9e-02 of its "
    )


def test_outputs_that_somebody_else_computed_are_held_to(folder: Path) -> None:
    graph = classifier()
    x = np.ones((1, 6, 6, 2), np.float32)
    wrong = Sample((x,), (graph.evaluate(x)[0] + 1,))

    module = package(graph, folder, given=wrong)

    with pytest.raises(RuntimeError, match="output 'scores' differs on cpu by"):
        module.verify()


def test_damaged_weights_are_refused(folder: Path, images: ModuleType) -> None:
    damaged = folder / "damaged"
    shutil.copytree(folder / images.__name__, damaged)
    path = damaged / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ValueError, match="the numbers of dense_kernel are cut off"):
        imported(damaged).predict(np.zeros((1, 6, 6, 2)))


def test_the_manifest_says_what_the_package_is() -> None:
    content = files(classifier(), name="model")

    manifest = json.loads(content.pop("manifest.json"))

    assert manifest == {
        "name": "model",
        "keramos": "0.0.0",
        "source": {
            "file": "model.keras",
            "sha256": "0" * 64,
            "keras_version": "3.0.0",
        },
        "options": {"targets": ["cpu"], "weights": "float32"},
        "files": {
            path: hashlib.sha256(text).hexdigest() for path, text in content.items()
        },
    }


# Nothing but NumPy, and nothing of ours but the package.
ALONE = """
import sys
for name in ("keramos", "moderngl", "hypothesis", "black", "jinja2", "h5py"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
import {name}
print({name}.predict(np.zeros((2, 6, 6, 2))).shape, {name}.verify().stages)
"""


def test_a_package_needs_numpy_alone(folder: Path, images: ModuleType) -> None:
    code = ALONE.format(name=images.__name__)

    result = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout == "(2, 3) 4\n"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_predicts_from_npy(folder: Path, images: ModuleType) -> None:
    x = GENERATOR.standard_normal((2, 6, 6, 2)).astype(np.float32)
    np.save(folder / "x.npy", x)

    run = command(folder, images.__name__, "predict", "x.npy", "-o", "y.npy")

    assert (run.returncode, run.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(folder / "y.npy"), images.predict(x))


def test_the_command_line_predicts_from_npz(folder: Path, words: ModuleType) -> None:
    given = {"words": np.ones((2, 3)), "price": np.ones((2, 4))}
    np.savez(folder / "x.npz", words=given["words"], price=given["price"])

    run = command(folder, words.__name__, "predict", "x.npz", "-o", "y.npz")

    assert (run.returncode, run.stderr) == (0, "")
    expected = words.predict(given)
    found = np.load(folder / "y.npz")
    assert {name: y.tolist() for name, y in found.items()} == {
        name: y.tolist() for name, y in expected.items()
    }


def test_the_command_line_verifies(folder: Path, images: ModuleType) -> None:
    run = command(folder, images.__name__, "verify")

    assert run.stdout.startswith("4 stages agree on cpu, the largest difference is ")


def test_the_command_line_says_in_one_line_what_is_wrong(
    folder: Path, images: ModuleType
) -> None:
    np.save(folder / "flat.npy", np.zeros(3))

    run = command(folder, images.__name__, "predict", "flat.npy", "-o", "y.npy")

    assert (run.returncode, run.stderr) == (
        1,
        "input 'image' must have shape (n, 6, 6, 2), n the batch size, not (3,)\n",
    )


def test_the_emitted_test_passes(folder: Path, images: ModuleType) -> None:
    run = command(folder, "pytest", "-q", "-p", "no:cacheprovider", images.__name__)

    assert "2 passed, 1 skipped" in run.stdout
