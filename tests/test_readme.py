"""What README.md says is so: its programs run, its lists are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from importlib.resources import as_file
from pathlib import Path

import model_files as files
import pytest
from layer_cases import LIMITS
from layer_files import is_drawn

from keramos import compile_model, examples
from keramos.layers.operation import OPERATIONS
from keramos.layers.refused import Refused
from keramos.layers.registry import LAYERS
from keramos.layers.unsupported_operations import REASONS
from keramos.runtime_min.interpreter import LAYERS as INTERPRETED

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
START = "<!-- layers: written by `make golden`, kept true by tests/test_readme.py -->\n"
END = "<!-- end of layers -->"
# Not layers: the models themselves, and what graphs of tf.keras are made of.
UNLISTED = ("model", "tensorflow_functions", "tensorflow_nodes")
REFUSED = "refused"


def families() -> dict[str, list[str]]:
    """Return the classes of each family of layers, one file each."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, layer in LAYERS.items():
        family = layer.__module__.rpartition(".")[2]
        if family not in (*UNLISTED, REFUSED):
            found[family].append(name)
    return {family: sorted(found[family]) for family in sorted(found)}


def listing() -> str:
    """Return the README's table of layers."""
    lines = ["| layers | classes | but not | CPU | GL |", "|---|---|---|---|---|"]
    for family, names in families().items():
        title = family.replace("_", " ")
        limits = ", ".join(limit.words for limit in LIMITS.get(title, ()))
        # What can be drawn, tests/gl/test_gl_layers.py holds to its graph on the GPU.
        gl = "yes" if all(map(is_drawn, names)) else "not all"
        lines.append(f"| {title} | {', '.join(names)} | {limits} | yes | {gl} |")
    refused = ", ".join(sorted(n for n, each in LAYERS.items() if each is Refused))
    known = len(OPERATIONS)
    reasons = [
        f"- {reason}: {', '.join(sorted(names))}" for reason, names in REASONS.items()
    ]
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"Refused by name, with the reason: {refused}.",
            "",
            f"{known} bare operations (`x + y`, `keras.ops.*`) are read as well, and",
            "so are TensorFlow's in files of tf.keras. The others are refused:",
            "",
            "<details><summary>operations that are refused</summary>",
            "",
            *reasons,
            "",
            "</details>",
            "",
            "",
        ]
    )


def programs() -> list[str]:
    """Return the README's Python."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_table_of_layers_is_the_registry(*, update_golden: bool) -> None:
    text = README.read_text()
    before, after = text.index(START) + len(START), text.index(END)
    if update_golden:
        README.write_text(text[:before] + listing() + text[after:])
        text = README.read_text()
        after = text.index(END)

    assert text[before:after] == listing()


def test_every_layer_has_two_independent_statements() -> None:
    alone = {name for name in LAYERS if name not in INTERPRETED}

    assert alone == {"Functional", "Model", "Sequential"}


def test_the_first_program_predicts() -> None:
    done = run(programs()[0], cwd=ROOT / "generated")

    assert done.startswith(("cpu (Tensor(", "gl (Tensor("))


def test_the_second_program_compiles_and_reports(tmp_path: Path) -> None:
    files.saved(tmp_path / "digits.keras")
    other = files.with_class(tmp_path / "other.keras", 1, "MyConv")
    other.rename(tmp_path / "other.h5")

    out = run(programs()[1], cwd=tmp_path)

    assert (tmp_path / "generated" / "digits" / "__init__.py").is_file()
    assert out.startswith("other.h5: layer 'conv1' (MyConv): ")


def test_the_third_program_looks_into_the_model(tmp_path: Path) -> None:
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, tmp_path, name="digits", taps=("conv2d",), cam="auto")
    before = "import digits, numpy as np; x = np.zeros((5, 28, 28, 1), np.float32)\n"

    out = run(f"{before}{programs()[2]}print(features.shape, maps.shape)", cwd=tmp_path)

    assert out == "(5, 26, 26, 16) (5, 24, 24)\n"


def test_the_fourth_program_defines_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.with_lambda(Path("model.keras"), name="my_lambda")
    Path("layers.py").write_text(programs()[3])

    run(
        "from keramos.__main__ import main;"
        "main(['compile', 'model.keras', '--custom', 'layers.py'])",
        cwd=tmp_path,
    )

    assert "tanh" in Path("generated/model/cpu.py").read_text()


def run(program: str, *, cwd: Path) -> str:
    """Return what a program prints."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
