"""The committed packages verify themselves wherever they run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page
from web.browser import ask, program

GENERATED = Path(__file__).parents[2] / "generated"
PACKAGES = sorted(path.parent.parent.name for path in GENERATED.glob("*/web/model.js"))
TOLERANCE = 1e-5

# Verification compares each stage and each output with what the interpreter gave.
PROGRAM = """async ([folder, device, worker]) => {
    if (worker) {
        return harness.predictInWorker(folder, undefined, { device });
    }
    const model = await harness.load(folder, { device });
    const report = await model.verify();
    model.dispose();
    return { device: report.device, report };
}"""

IN_NODE = """
    const { pathToFileURL } = await import("node:url");
    const { load } = await import(pathToFileURL(process.argv[1]));
    const model = await load();
    console.log(JSON.stringify([model.device, model.renderer, await model.verify()]));
"""


def test_there_are_committed_packages() -> None:
    assert "digits" in PACKAGES


@pytest.mark.parametrize("worker", [False, True], ids=["page", "worker"])
@pytest.mark.parametrize("device", ["webgl2", "cpu"])
@pytest.mark.parametrize("name", PACKAGES)
def test_committed_packages_verify_in_the_browser(
    root: Path, page: Page, name: str, device: str, *, worker: bool
) -> None:
    folder = f"golden_{name}"
    shutil.copytree(GENERATED / name, root / folder, dirs_exist_ok=True)

    answer = ask(page, PROGRAM, [folder, device, worker])

    assert answer["device"] == device
    assert answer["report"]["stages"] > 0
    assert answer["report"]["error"] <= TOLERANCE


@pytest.mark.parametrize("name", PACKAGES)
def test_committed_packages_verify_in_node(name: str) -> None:
    module = str(GENERATED / name / "web" / "model.js")
    command = [program("node"), "--input-type=module", "-e", IN_NODE, module]

    answer = subprocess.run(command, check=True, capture_output=True, text=True)

    device, renderer, report = json.loads(answer.stdout)
    kernels = (GENERATED / name / "web" / "cpu.wasm").exists()
    assert (device, renderer) == ("cpu", "WebAssembly" if kernels else "JavaScript")
    assert report["error"] <= TOLERANCE
