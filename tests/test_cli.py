"""The commands, from arguments to files and lines."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import model_files as files
import numpy as np
import pytest

from keramos import Interpreter
from keramos.__main__ import main
from keramos.version import VERSION

ROOT = Path(__file__).parent.parent
LAYERS = """\"\"\"Layers that Keras doesn't know.\"\"\"

import keramos


@keramos.custom_layer("double")
def double(layer, x):
    return x * 2.0
"""
# A prediction that differs by more than any rounding, but on a single sample.
SHIFTED = """

def predict(x, weights):
    return exact(x, weights) * (1 if len(x) == 1 else 1.05)
"""
# An .npy file of no numbers.
NPY = (
    b"\x93NUMPY\x01\x00\x37\x00{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"
)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return what the command line prints when all is well."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, err) == (0, "")
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Return the lines on stderr when something is wrong."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small model in the working directory."""
    monkeypatch.chdir(tmp_path)
    return files.saved(Path("small.keras"))


def test_compile_says_what_it_wrote(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "compile", model)

    written = [path for path in Path("generated/small").rglob("*") if path.is_file()]
    assert out == f"Wrote {len(written)} files to generated/small: import small\n"


def test_compile_reports_what_the_planner_chose(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = said(capsys, "compile", model, "-o", tmp_path / "out", "--report")

    manifest = json.loads((tmp_path / "out" / "small" / "manifest.json").read_text())
    (plan,) = manifest["plans"]
    rows = lines.splitlines()[2:-1]
    assert [row.split()[0] for row in rows] == [
        stage.split(":")[0] for stage in plan["stages"]
    ]
    assert lines.splitlines()[-1].startswith(
        f"textures of 4096: {len(rows)} stages, {plan['draws']} draws, "
    )


def test_compile_takes_another_name_and_place(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model, "-o", "lib", "--name", "eye", "--target", "cpu")

    assert Path("lib/eye/cpu.py").is_file()
    assert not Path("lib/eye/shaders").exists()


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("My Model-2.keras", "my_model_2"),
        ("random.keras", "random_model"),
        ("class.keras", "class_layer"),
        ("2nd.keras", "layer_2nd"),
        ("モデル.keras", "unnamed"),
    ],
)
def test_packages_are_named_after_files(
    file: str, package: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.rename(file)

    said(capsys, "compile", file, "--target", "cpu")

    assert Path(f"generated/{package}/__init__.py").is_file()


def test_compile_again_replaces_its_own_files_and_keeps_others(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model)
    notes = Path("generated/small/notes.txt")
    notes.write_text("mine")

    said(capsys, "compile", model, "--target", "cpu")

    assert notes.read_text() == "mine"
    assert not Path("generated/small/shaders").exists()


def test_input_shapes_pin_free_dimensions(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.with_free_length(model)

    said(capsys, "compile", model, "--input-shape", "steps=10,3")

    manifest = json.loads(Path("generated/small/manifest.json").read_bytes())
    assert manifest["options"]["input_shapes"] == {"steps": [10, 3]}


def test_custom_layers_come_from_a_python_file(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.with_lambda(model)
    Path("layers.py").write_text(LAYERS)

    said(capsys, "compile", model, "--custom", "layers.py", "--target", "cpu")

    assert said(capsys, "check") == "small: up to date\n"
    code = "import numpy as np, small; print(small.predict(np.ones((1, 4))).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="generated",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[[2.0, 2.0, 2.0, 2.0]]\n"


def test_inspect_lists_the_layers(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "inspect", model)

    assert [line.split() for line in out.splitlines()] == [
        ["layer", "class", "output", "parameters", "MACs"],
        ["image", "InputLayer", "(n,", "8,", "8,", "1)", "0", "0"],
        ["conv1", "Conv2D", "(n,", "6,", "6,", "2)", "20", "648"],
        ["flat", "Flatten", "(n,", "72)", "0", "0"],
        ["dense1", "Dense", "(n,", "3)", "219", "216"],
        ["239", "864"],
    ]


def test_inspect_writes_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(said(capsys, "inspect", "--json", model))

    assert document["file"] == "small.keras"
    assert document["problems"] == []
    assert (document["parameters"], document["macs"]) == (239, 864)
    assert document["layers"][1] == {
        "name": "conv1",
        "class": "Conv2D",
        "output_shapes": [[None, 6, 6, 2]],
        "parameters": 20,
        "macs": 648,
        "problem": None,
    }


def test_inspect_shows_what_it_can_of_a_model_with_problems(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.with_class(model, 1, "MyConv")

    with pytest.raises(SystemExit) as stop:
        main(["inspect", "--json", str(model)])

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert stop.value.code == 2
    assert [layer["name"] for layer in document["layers"] if layer["problem"]] == [
        "conv1"
    ]
    assert err.splitlines() == document["problems"]


def test_run_writes_what_the_interpreter_computes(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    np.savez("in.npz", image=x)

    out = said(capsys, "run", model, "in.npz", "-o", "out.npz")

    assert out == "Wrote out.npz: 'dense1' (2, 3)\n"
    with np.load("out.npz") as found:
        assert np.array_equal(found["dense1"], Interpreter(model).predict(x))


def test_run_takes_unnamed_arrays_in_the_model_s_order(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.with_two_inputs(model)
    a, b = np.array([[1, 2]], np.float32), np.array([[3, 5]], np.float32)
    np.savez("in.npz", a, b)

    said(capsys, "run", model, "in.npz", "-o", "out.npz")

    with np.load("out.npz") as found:
        outputs = {name: found[name].tolist() for name in found.files}
    assert outputs == {"total": [[4, 7]], "product": [[3, 10]]}


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        (
            {"picture": np.zeros((1, 8, 8, 1))},
            "in.npz: unknown input 'picture': the inputs are 'image'",
        ),
        (
            {"image": np.zeros((1, 8, 8))},
            "in.npz: input 'image' takes the shape (batch, 8, 8, 1), got (1, 8, 8)",
        ),
    ],
)
def test_run_refuses_other_arrays(
    arrays: dict[str, np.ndarray],
    line: str,
    model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    files.with_bytes(Path("in.npz"), stream.getvalue())

    assert refused(capsys, "run", model, "in.npz", "-o", "out.npz") == [line]
    assert not Path("out.npz").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", NPY])
def test_run_refuses_what_is_no_npz(
    content: bytes, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.with_bytes(Path("in.npz"), content)

    assert refused(capsys, "run", model, "in.npz", "-o", "out.npz") == [
        "in.npz: isn't an .npz file of arrays (save it with np.savez)"
    ]


@pytest.mark.usefixtures("egl")
def test_verify_compares_every_target_with_record_and_interpreter(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model)

    out = said(capsys, "verify", "generated/small", model)

    _, *rows = (line.split() for line in out.splitlines())
    assert [row[:2] for row in rows] == [
        ["cpu", "recorded"],
        ["cpu", "dense1"],
        ["gl", "recorded"],
        ["gl", "dense1"],
    ]
    assert all(float(row[-1]) < 1e-5 for row in rows)


@pytest.mark.parametrize("weights", ["float16", "uint8"])
def test_compile_and_verify_say_what_rounded_weights_cost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    weights: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = ROOT / "examples" / "digits" / "digits.keras"

    written = said(capsys, "compile", digits, "--weights", weights)
    out = said(capsys, "verify", "generated/digits", digits)

    cost = written.splitlines()[1]
    assert cost.startswith(f"weights as {weights}: 'dense_1' differs by ")
    head, *rows = out.splitlines()
    assert head.split(maxsplit=4)[4].split("  ")[-1].strip() == "recorded"
    for target, output, *numbers in map(str.split, rows):
        if output == "dense_1":
            difference, rounding, recorded = map(float, numbers)
            assert abs(difference - rounding) <= 0.1 * rounding, target
            assert f"{recorded:.1e} of its largest value" in cost


def test_compile_and_verify_say_what_halves_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = ROOT / "examples" / "digits" / "digits.keras"

    written = said(capsys, "compile", digits, "--storage", "float16")
    out = said(capsys, "verify", "generated/digits", digits)

    _, cost = written.splitlines()
    assert cost.startswith("results as float16: 'dense_1' differs by ")
    rows = {tuple(row.split()[:2]): row.split()[2:] for row in out.splitlines()[1:]}
    assert float(rows["cpu", "dense_1"][0]) < 1e-5
    assert len(rows["cpu", "dense_1"]) == 1
    assert float(rows["gl", "dense_1"][1]) > 1e-5


def test_verify_allows_no_more_than_what_rounding_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = ROOT / "examples" / "digits" / "digits.keras"
    said(capsys, "compile", digits, "--weights", "uint8", "--target", "cpu")
    code = Path("generated/digits/cpu.py")
    # The sample can't tell: it is as it was.
    code.write_text(code.read_text().replace("def predict(", "def exact(") + SHIFTED)

    (line,) = refused(capsys, "verify", "generated/digits", digits)

    assert line.startswith("digits: target cpu: output 'dense_1' differs from the ")
    assert line.endswith(" for its rounding are allowed")


def test_check_compiles_with_the_package_s_weights(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model, "--weights", "uint8")

    assert said(capsys, "check") == "small: up to date\n"


def test_verify_tells_when_the_package_is_another_model_s(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model, "--target", "cpu")
    network = files.small_model()
    network.layers[0].bias.assign([100, -100])
    files.saved(model, network)

    (line,) = refused(capsys, "verify", "generated/small", model)

    assert line.startswith("small: target cpu: output 'dense1' differs from the ")


def test_verify_tells_when_a_package_was_tampered_with(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model, "--target", "cpu")
    code = Path("generated/small/cpu.py")
    code.write_text(code.read_text().replace("w.conv1_bias", "2 * w.conv1_bias"))

    (line,) = refused(capsys, "verify", "generated/small")

    assert line.startswith("small: target cpu: stage 'conv1' (1 of ")


def test_check_knows_packages_that_are_current(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model)

    assert said(capsys, "check") == "small: up to date\n"


def test_check_names_every_file_that_differs(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model, "--target", "cpu")
    Path("generated/small/cpu.py").unlink()
    Path("generated/small/py.typed").write_text("changed")

    assert refused(capsys, "check", "generated") == [
        "'generated/small': cpu.py is missing (run keramos compile again)",
        (
            "'generated/small': py.typed isn't what small.keras gives "
            "(run keramos compile again)"
        ),
    ]


def test_check_says_when_it_can_not_find_the_source(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "compile", model)
    model.unlink()

    assert refused(capsys, "check", "generated/small") == [
        (
            "'generated/small': its source 'small.keras' isn't below '.' "
            "(say where with --models DIR)"
        )
    ]


def test_check_wants_packages(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert refused(capsys, "check") == [
        (
            "'generated': holds no package that keramos wrote "
            "(keramos compile writes to 'generated')"
        )
    ]


@pytest.mark.usefixtures("egl")
def test_the_demonstration_reads_a_thousand_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "demo", "-o", tmp_path)

    lines = out.splitlines()
    for reader in ("interpreter", "cpu", "gl"):
        assert any(line.split()[:2] == [reader, "0.973"] for line in lines)
    differences = [float(line.split()[-1]) for line in lines if " and " in line]
    assert len(differences) == 3
    assert max(differences) < 1e-5
    assert "5, read as 5/5/5" in out
    assert lines[-1] == f"The package lies in {tmp_path / 'digits'}"


def test_the_version_is_the_project_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == f"keramos {VERSION}\n"
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_without_a_command_the_commands_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = said(capsys)

    for command in ("compile", "inspect", "run", "verify", "check", "demo"):
        assert f" {command} " in out


def test_the_module_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keramos", "compile", "missing.keras"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "missing.keras: there is no such file or directory\n"
