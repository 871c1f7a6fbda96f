"""What is refused: status 2, a line per problem, nothing written or overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import model_files as files
import pytest

from keramos.__main__ import main

FORMATS = "Keras writes .keras, .h5 and .json files"
CUSTOM = "pass --custom FILE.py that defines it"
OTHER = "the weights belong to another configuration"
SAVE = "save the whole model with model.save('NAME.keras')"

BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": (
        "m.h5",
        lambda _: None,
        "m.h5: there is no such file or directory",
    ),
    "empty": (
        "m.h5",
        lambda path: files.with_bytes(path, b""),
        f"m.h5: the file is empty ({FORMATS})",
    ),
    "text": (
        "m.h5",
        lambda path: files.with_bytes(path, b"hello"),
        f"m.h5: isn't a Keras model: neither HDF5 nor zip nor JSON ({FORMATS})",
    ),
    "pickle": (
        "m.h5",
        lambda path: files.with_bytes(path, b"\x80\x04K\x01."),
        f"m.h5: is a Python pickle, which is never executed ({SAVE})",
    ),
    "cut zip": (
        "m.keras",
        files.cut,
        "m.keras: isn't a complete zip archive: File is not a zip file",
    ),
    "zip without config": (
        "m.keras",
        files.without_config,
        f"m.keras: is a zip archive without a config.json ({SAVE})",
    ),
    "missing weights": (
        "m.h5",
        lambda path: files.without_weights(path, "dense1"),
        "m.h5: holds no 'dense1' (looked for in the weights)",
    ),
    "weights of another shape": (
        "m.h5",
        lambda path: files.with_shape(path, "dense1", (7, 3)),
        (
            "m.h5: layer 'dense1' (Dense): its kernel has the shape (7, 3) in the"
            f" file, but its options ask for (72, 3) ({OTHER})"
        ),
    ),
    "options that ask for other weights": (
        "m.keras",
        lambda path: files.with_option(path, 1, "filters", 5),
        (
            "m.keras: layer 'conv1' (Conv2D): its kernel has the shape (3, 3, 1, 2) in"
            f" the file, but its options ask for (3, 3, 1, 5) ({OTHER})"
        ),
    ),
    "unknown layer": (
        "m.keras",
        lambda path: files.with_class(path, 1, "MyConv"),
        (
            "m.keras: layer 'conv1' (MyConv): the class 'MyConv' isn't one that"
            f" Keramos knows ({CUSTOM})"
        ),
    ),
    "lambda": (
        "m.keras",
        files.with_lambda,
        (
            "m.keras: layer 'double' (Lambda): holds Python bytecode, which is never "
            f"executed ({CUSTOM})"
        ),
    ),
    "unsupported option": (
        "m.keras",
        lambda path: files.with_option(path, 1, "padding", "causal"),
        (
            "m.keras: layer 'conv1' (Conv2D): padding is 'causal', which Conv2D doesn't"
            " have (use 'valid' or 'same')"
        ),
    ),
    "unknown activation with a hostile name": (
        "m.keras",
        lambda path: files.with_option(path, 3, "activation", "\x1b[2J\n"),
        (
            "m.keras: layer 'dense1' (Dense): activation is '\\x1b[2J\\n', which Keras "
            "doesn't have (use a built-in activation, or a layer of your own)"
        ),
    ),
    "free dimensions on the GPU": (
        "m.keras",
        files.with_free_length,
        (
            "m.keras: the gl target needs fixed shapes, but input 'steps' is float32[?,"
            " 3] (pass --input-shape INPUT=D1,D2,... for each, or --target cpu)"
        ),
    ),
}

BAD_OPTIONS = {
    "name that isn't one": (
        ["--name", "a b"],
        "--name: 'a b' can't be the name of a package (for example 'a_b')",
    ),
    "keyword as a name": (
        ["--name", "class"],
        "--name: 'class' can't be the name of a package (for example 'class_layer')",
    ),
    "name that hides a module": (
        ["--name", "numpy"],
        (
            "--name: 'numpy' would hide the module of that name "
            "(for example 'numpy_model')"
        ),
    ),
    "unknown target": (
        ["--target", "cpu", "--target", "tpu"],
        "--target: there is no target 'tpu' (the targets are 'cpu', 'gl', 'web')",
    ),
    "texture size": (
        ["--max-texture-size", "3"],
        "--max-texture-size: 3 isn't a texture size (use 16 to 16384)",
    ),
    "texture sizes that aren't numbers": (
        ["--max-texture-size", "4096,large"],
        (
            "--max-texture-size: '4096,large' isn't N or N,N,... "
            "(for example --max-texture-size 4096,16384)"
        ),
    ),
    "weights of other bits": (
        ["--weights", "int4"],
        (
            "Invalid value for '--weights': 'int4' is not one of 'float32', 'float16', "
            "'uint8' (see keramos --help)"
        ),
    ),
    "batch of none": (["--batch", "0"], "--batch: 0 samples are none (use 1 or more)"),
    "shape that isn't one": (
        ["--input-shape", "image=a,b"],
        (
            "--input-shape: 'image=a,b' isn't INPUT=D1,D2,... "
            "(for example --input-shape image=224,224,3)"
        ),
    ),
    "shape of an unknown input": (
        ["--input-shape", "picture=8,8,1"],
        (
            "m.keras: --input-shape names 'picture', which isn't an input "
            "(the inputs are 'image')"
        ),
    ),
    "unknown option": (["--xyzzy"], "No such option: --xyzzy (see keramos --help)"),
}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Return the lines that the command line writes when it refuses."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    return err.splitlines()


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, make, line = BAD_FILES[case]
    make(tmp_path / name)

    lines = refusal(capsys, "compile", tmp_path / name, "-o", tmp_path / "out")

    assert lines == [line]
    assert not (tmp_path / "out").exists()


def test_a_truncated_hdf5_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.cut(tmp_path / "m.h5")

    (line,) = refusal(capsys, "compile", path, "-o", tmp_path / "out")

    # What follows is the HDF5 library's, and differs from version to version.
    assert line.startswith("m.h5: isn't a complete HDF5 file: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_refused_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, line = BAD_OPTIONS[case]
    path = files.saved(tmp_path / "m.keras")

    lines = refusal(capsys, "compile", path, "-o", tmp_path / "out", *options)

    assert lines == [line]
    assert not (tmp_path / "out").exists()


def test_all_problems_come_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(layers: list[files.Json]) -> None:
        layers[1]["class_name"] = "MyConv"
        layers[3]["config"]["activation"] = "magic"

    path = files.edited(tmp_path / "m.keras", edit)
    (tmp_path / "m").write_text("not a folder")

    lines = refusal(capsys, "compile", path, "-o", tmp_path, "--batch", "0")

    assert lines == [
        "--batch: 0 samples are none (use 1 or more)",
        f"'{tmp_path / 'm'}': isn't a folder (choose another one)",
        (
            "m.keras: layer 'conv1' (MyConv): the class 'MyConv' isn't one that"
            f" Keramos knows ({CUSTOM})"
        ),
        (
            "m.keras: layer 'dense1' (Dense): activation is 'magic', which Keras"
            " doesn't have (use a built-in activation, or a layer of your own)"
        ),
    ]


def test_a_folder_of_somebody_else_is_left_alone(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    files.saved(tmp_path / "m.keras")
    notes = tmp_path / "generated" / "m" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")

    lines = refusal(capsys, "compile", "m.keras")

    assert lines == [
        "'generated/m': holds files that no run of keramos wrote (choose another one)"
    ]
    assert [*notes.parent.iterdir()] == [notes]


def test_a_package_that_can_not_be_written_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    files.saved(tmp_path / "m.keras")
    (tmp_path / "out").write_text("a file")

    lines = refusal(capsys, "compile", "m.keras", "-o", "out")

    assert lines == ["'out/m': can't be written: File exists"]


def test_file_names_can_not_break_a_line_or_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = refusal(capsys, "compile", tmp_path / "a\n\x1b[31mb.h5")

    assert lines == ["a\\n\\x1b[31mb.h5: there is no such file or directory"]
