"""Models that keep states between calls: Keras, the graph, and every target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from model_files import with_option
from numpy.typing import NDArray
from packages import compiled
from strategies_states import Dialogue, dialogues
from tolerance import arrays

from keramos import CompileError, Interpreter, compile_model
from keramos.graph import Storage
from keramos.importer import describe, import_model
from keramos.passes import optimise
from keramos.primitives import Scan
from keramos.runtime_min.vendored.tensors import read_tensors
from keramos.source import read
from keramos.verification import verify_package

Array = NDArray[Any]
PROGRAM = Path(__file__).parent / "javascript" / "call_package.mjs"
# Of outputs within a few units, after some dozen steps.
TOLERANCE = 1e-5


def answers(
    dialogue: Dialogue, predict: Callable[[Array], Any], reset: Callable[[], None]
) -> list[list[Array]]:
    """Return the outputs of each call."""
    found = []
    for x in dialogue.calls:
        if x is None:
            reset()
        else:
            found.append(arrays(predict(x)))
    return found


def assert_same(actual: list[list[Array]], expected: list[list[Array]]) -> None:
    """Raise AssertionError where an output of a call differs."""
    for mine, theirs in zip(actual, expected, strict=True):
        for y, z in zip(mine, theirs, strict=True):
            assert y.shape == z.shape
            assert np.abs(y - z).max(initial=0) < TOLERANCE


def memory(n: int = 2, **options: Any) -> Any:  # noqa: ANN401 - Keras is untyped
    """Return a small model that remembers."""
    layer = layers.GRU(3, stateful=True, name="memory", **options)
    model = keras.Sequential([keras.Input(batch_shape=(n, 3, 2), name="x"), layer])
    rng = np.random.default_rng(0)
    for weight in layer.cell.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def saved(model: Any, folder: Path) -> Path:  # noqa: ANN401
    """Write a model."""
    path = folder / "memory.keras"
    model.save(path)
    return path


def assert_goes_on_like_keras(dialogue: Dialogue, path: Path) -> None:
    """Hold the graph and the interpreter to Keras, call after call."""
    graph = optimise(import_model(read(path)))
    interpreter = Interpreter(path)
    states: list[Array] = []

    def reset() -> None:
        states[:] = [
            np.zeros((graph.batch or 0, *(d or 0 for d in x.shape)), np.float32)
            for x in graph.state_inputs
        ]

    def predict(x: Array) -> dict[str, Array]:
        results = graph.evaluate(x, *states)
        count = len(graph.public_outputs)
        states[:] = results[count:]
        return {str(k): y for k, y in enumerate(results[:count])}

    reset()
    expected = dialogue.expected()
    assert_same(answers(dialogue, predict, reset), expected)
    found = answers(dialogue, interpreter.predict, interpreter.reset_states)
    assert_same(found, expected)


@settings(max_examples=settings().max_examples * 2)
@given(dialogue=dialogues())
def test_the_graph_and_the_interpreter_go_on_like_keras(dialogue: Dialogue) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_goes_on_like_keras(dialogue, dialogue.save(Path(folder)))


@pytest.mark.parametrize("unroll", [True, False])
def test_masked_steps_of_cells_of_several_sizes_go_on_like_keras(
    tmp_path: Path, *, unroll: bool
) -> None:
    cells = [layers.GRUCell(4), layers.GRUCell(2)]
    x = keras.Input(batch_shape=(2, 3, 2))
    layer = layers.RNN(cells, unroll=unroll, stateful=True, return_sequences=True)
    steps = np.ones((2, 3, 2), np.float32)
    steps[0, 0] = steps[1, 2] = 0
    dialogue = Dialogue(keras.Model(x, layer(layers.Masking()(x))), (steps, steps))

    assert_goes_on_like_keras(dialogue, dialogue.save(tmp_path))


@settings(max_examples=max(settings().max_examples // 4, 1))
@given(dialogue=dialogues(), suffix=st.sampled_from(("keras", "h5")))
def test_packages_go_on_like_keras(dialogue: Dialogue, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = dialogue.save(Path(folder), suffix)
        module = compiled(path, Path(folder), targets=("cpu",))
        reset = getattr(module, "reset_states", lambda: None)

        actual = answers(dialogue, module.predict, reset)

        assert_same(actual, dialogue.expected())
        assert module.verify().stages > 0


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("size", [16, 4096])
@settings(max_examples=max(settings().max_examples // 8, 1))
@given(dialogue=dialogues())
def test_packages_go_on_like_keras_on_the_gpu(size: int, dialogue: Dialogue) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = dialogue.save(Path(folder))
        module = compiled(
            path, Path(folder), targets=("cpu", "gl"), max_texture_size=size
        )
        with module.Model("gl") as model:
            reset = getattr(model, "reset_states", lambda: None)

            actual = answers(dialogue, model.predict, reset)

            assert_same(actual, dialogue.expected())
            model.verify()  # raises where the sample gives something else


@settings(max_examples=max(settings().max_examples // 4, 1))
@given(dialogue=dialogues())
def test_packages_go_on_like_keras_in_javascript(dialogue: Dialogue) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = dialogue.save(folder)
        compile_model(path, folder, name="m", targets=("cpu", "web"))

        actual = javascript(folder / "m", dialogue.calls)

        expected = dialogue.expected()
        flat = [[y.ravel() for y in call] for call in expected]
        assert_same(actual, flat)


def javascript(
    package: Path, calls: Sequence[Array | None]
) -> list[list[NDArray[np.float64]]]:
    """Return what the package answers in Node, all calls made without a pause."""
    text = json.dumps([None if x is None else x.tolist() for x in calls])
    done = subprocess.run(
        ["/usr/bin/env", "node", str(PROGRAM), str(package)],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return [[np.array(y) for y in call] for call in json.loads(done.stdout)]


def test_verification_leaves_the_states_alone(tmp_path: Path) -> None:
    module = compiled(saved(memory(), tmp_path), tmp_path, targets=("cpu",))
    x = np.ones((2, 3, 2), np.float32)
    one, two = module.Model(), module.Model()
    one.predict(x)
    two.predict(x)

    one.verify()

    assert np.array_equal(one.predict(x), two.predict(x))


def test_each_model_object_has_states_of_its_own(tmp_path: Path) -> None:
    module = compiled(saved(memory(), tmp_path), tmp_path, targets=("cpu",))
    x = np.ones((2, 3, 2), np.float32)
    first = module.predict(x)

    again = module.Model().predict(x)

    assert np.array_equal(first, again)
    assert not np.array_equal(first, module.predict(x))


def test_another_number_of_samples_is_refused_and_changes_nothing(
    tmp_path: Path,
) -> None:
    module = compiled(saved(memory(), tmp_path), tmp_path, targets=("cpu",))
    x = np.ones((2, 3, 2), np.float32)
    model, other = module.Model(), module.Model()

    with pytest.raises(ValueError, match="2 samples, so that each call takes as many"):
        model.predict(x[:1])

    assert np.array_equal(model.predict(x), other.predict(x))


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("device", ["cpu", "gl"])
def test_layer_outputs_read_the_states_and_leave_them(
    device: str, tmp_path: Path
) -> None:
    model = memory(return_sequences=True)
    model.add(layers.Dense(2, name="last"))
    path = saved(model, tmp_path)
    module = compiled(path, tmp_path, targets=("cpu", "gl"), taps=["memory"])
    x = np.ones((2, 3, 2), np.float32)
    reference = Interpreter(path)
    reference.predict(x)
    with module.Model(device) as running:
        running.predict(x)

        found = running.layer_outputs(x)["memory"]

        expected = reference.layer_outputs(x)["memory"]
        assert np.abs(found - expected).max() < TOLERANCE
        assert np.array_equal(found, running.layer_outputs(x)["memory"])
        assert running.verify().stages > 0


@pytest.mark.usefixtures("egl")
def test_the_draws_of_a_stateful_model_are_for_its_samples(tmp_path: Path) -> None:
    path = saved(memory(3), tmp_path)

    package = compile_model(path, tmp_path, targets=("cpu", "gl"))

    plan = json.loads((package.path / "shaders" / "plan.json").read_text())
    assert plan["batch"] == 3
    with pytest.raises(CompileError) as refusal:
        compile_model(path, tmp_path / "b", targets=("cpu", "gl"), batch=2)
    assert [str(each) for each in refusal.value.problems] == [
        (
            "memory.keras: is stateful and made for 3 samples, not for --batch 2 "
            "(leave --batch out)"
        )
    ]


def test_the_sample_of_a_stateful_package_is_a_second_call(tmp_path: Path) -> None:
    path = saved(memory(), tmp_path)
    package = compile_model(path, tmp_path, targets=("cpu",))
    sample = read_tensors(package.path / "sample.safetensors").arrays
    interpreter = Interpreter(path)

    first = interpreter.predict(sample["input.x"])
    second = interpreter.predict(sample["input.x"])

    assert np.abs(first - sample["state.0"]).max() < TOLERANCE
    assert np.abs(second - sample["output.memory"]).max() < TOLERANCE


@pytest.mark.usefixtures("egl")
def test_keramos_verify_compares_call_after_call(tmp_path: Path) -> None:
    path = saved(memory(), tmp_path)
    package = compile_model(path, tmp_path, targets=("cpu", "gl"))

    found = verify_package(package.path, path, weights_file=None, report=print)

    assert [(each.target, each.problem) for each in found] == [
        ("cpu", None),
        ("cpu", None),
        ("gl", None),
        ("gl", None),
    ]
    assert all(each.error < TOLERANCE for each in found)


@pytest.mark.usefixtures("egl")
def test_states_go_on_with_weights_in_fewer_bits(tmp_path: Path) -> None:
    path = saved(memory(), tmp_path)
    package = compile_model(
        path, tmp_path, targets=("cpu", "gl"), weights="float16", name="small"
    )

    found = verify_package(package.path, path, weights_file=None, report=print)

    assert [each.problem for each in found] == [None] * 4
    assert all(each.error < 1e-2 for each in found)


@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_the_emitted_test_of_a_stateful_package_passes(
    weights: Storage, tmp_path: Path
) -> None:
    path = saved(memory(), tmp_path)
    compile_model(path, tmp_path, targets=("cpu",), weights=weights, name="small")
    source = {**os.environ, "KERAMOS_SOURCE": str(path)}

    command = [sys.executable, "-m", "pytest", "-q", "small/test_small.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=source, check=True, capture_output=True, text=True
    )

    assert "3 passed" in done.stdout


@pytest.mark.parametrize(
    ("line", "forgetful"),
    [
        ("return [*given, *self._states]", "return [*given, *_zeros()]"),
        ("outputs, self._states = self._run", "outputs, _ = self._run"),
    ],
)
def test_a_package_that_forgets_its_states_is_found_out(
    line: str, forgetful: str, tmp_path: Path
) -> None:
    path = saved(memory(), tmp_path)
    package = compile_model(path, tmp_path, targets=("cpu",))
    text = (package.path / "__init__.py").read_text()
    changed = text.replace(line, forgetful)
    assert changed != text
    (package.path / "__init__.py").write_text(changed)

    found = verify_package(package.path, path, weights_file=None, report=print)

    assert [each.problem is None for each in found] == [True, False]


def test_the_calls_of_a_shared_stateful_layer_must_have_an_order() -> None:
    x = keras.Input(batch_shape=(2, 3, 2), name="x")
    layer = layers.LSTM(3, stateful=True, name="memory")
    model = keras.Model(x, [layer(x), layer(layers.Dense(2)(x))])

    assert problems(model) == [
        (
            "memory.keras: layer 'memory' (LSTM): is stateful and called more than "
            "once side by side, so that its states depend on which call comes first "
            "(give each call a layer of its own)"
        )
    ]


def test_steps_that_depend_on_each_other_are_not_distributed() -> None:
    x = keras.Input(batch_shape=(2, 4, 3, 2), name="x")
    layer = layers.TimeDistributed(layers.LSTM(3, stateful=True), name="steps")
    model = keras.Model(x, layer(x))

    assert problems(model) == [
        (
            "memory.keras: layer 'steps' (TimeDistributed): its layer is stateful, so "
            "that each step depends on the one before (put a recurrent layer around it "
            "instead)"
        )
    ]


def test_a_stateful_model_states_its_number_of_samples(tmp_path: Path) -> None:
    path = tmp_path / "memory.keras"
    with_option(path, 0, "batch_shape", [None, 3, 2], memory())
    file = read(path)

    with pytest.raises(CompileError) as refusal:
        import_model(file)

    found = [str(each) for each in refusal.value.problems]
    assert found == [
        (
            "memory.keras: is stateful, but its inputs leave the number of samples "
            "open (save it with the same batch_shape[0] for all inputs)"
        )
    ]
    assert [str(each) for each in describe(file).problems] == found


def test_the_inputs_of_a_stateful_model_have_one_number_of_samples() -> None:
    x = keras.Input(batch_shape=(2, 3, 2), name="x")
    z = keras.Input(batch_shape=(1, 2), name="z")
    y = layers.GRU(2, stateful=True, name="memory")(x)

    assert problems(keras.Model([x, z], [y, layers.ReLU()(z)])) == [
        (
            "memory.keras: is stateful, but its inputs have 1 and 2 samples (save it "
            "with the same batch_shape[0] for all inputs)"
        )
    ]


def test_a_call_that_no_output_needs_changes_no_state(tmp_path: Path) -> None:
    x = keras.Input(batch_shape=(2, 3, 2), name="x")
    layer = layers.GRU(2, stateful=True, return_sequences=True, name="memory")
    needed = layer(x)
    path = saved(keras.Model(x, [needed, layer(needed)], name="m"), tmp_path)
    twice = str(import_model(read(path)))

    with_first_output(path)

    once = import_model(read(path))
    assert str(once) != twice
    assert sum(isinstance(node.primitive, Scan) for node in once.nodes) == 1


def with_first_output(path: Path) -> None:
    """Leave a model only the first of its outputs."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["output_layers"] = config["config"]["output_layers"][:1]
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def problems(model: Any) -> list[str]:  # noqa: ANN401
    """Return why a model isn't imported."""
    with tempfile.TemporaryDirectory() as folder:
        path = saved(model, Path(folder))
        with pytest.raises(CompileError) as refusal:
            import_model(read(path))
    return [str(each) for each in refusal.value.problems]
