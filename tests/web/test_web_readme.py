"""The README's program for the browser runs, also in Node."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import as_file
from pathlib import Path

from web.browser import program

from keramos import compile_model, examples

README = Path(__file__).parents[2] / "README.md"


def test_the_program_of_the_readme_predicts_and_verifies(tmp_path: Path) -> None:
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, tmp_path, name="digits")
    (code,) = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
    pixels = "const pixels = new Float32Array(28 * 28);\n"
    (tmp_path / "main.mjs").write_text(pixels + code)

    done = subprocess.run(
        [program("node"), "main.mjs"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert re.search(r"^cpu \d$", done.stdout, re.MULTILINE)
