"""What is in a folder, against what should be: run it, or compile its source again."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.compiler import Options, Progress, Sources, package_files, rounded_outputs
from keramos.emit.package import MANIFEST
from keramos.errors import CompileError, Problem, quoted
from keramos.runtime_min.interpreter import Interpreter
from keramos.runtime_min.vendored.tensors import read_tensors
from keramos.runtime_min.vendored.verification import TOLERANCE

Array = NDArray[Any]

# The targets that Python runs; browsers and Node run the other one.
DEVICES = ("cpu", "gl")
# Samples that are made from the package's own one by shuffling it.
SHUFFLED = 3
# Folders that hold nobody's models.
PASSED_OVER = frozenset({"__pycache__", "build", "node_modules"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """An output (or the whole recorded sample) on one target.

    *error* is the largest difference, relative to the largest expected value. Where the
    package stores numbers in fewer bits, *rounding* is how much of that these bits
    account for on these inputs, and *recorded* what they did on the compiler's sample.
    """

    target: str
    output: str
    error: float
    problem: Problem | None = None
    rounding: float | None = None
    recorded: float | None = None


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a package says about itself."""

    name: str
    source: str
    sha256: str
    weights_file: str | None
    custom: str | None
    options: Options
    files: tuple[str, ...]
    precision: tuple[tuple[str, str, float], ...]

    def costs(self, target: str) -> dict[str, float]:
        """Return what was recorded of the cost of rounding, output by output.

        On gl, storing results in fewer bits comes on top of rounding weights.
        """
        total: dict[str, float] = {}
        for option, output, relative in self.precision:
            if target == "gl" or option.startswith("weights"):
                total[output] = total.get(output, 0.0) + relative
        return total


def imported(path: Path) -> ModuleType:
    """Return the package in the folder *path*, freshly imported under its name."""
    path = path.resolve()
    for name in [*sys.modules]:
        if name == path.name or name.startswith(f"{path.name}."):
            del sys.modules[name]
    spec = importlib.util.spec_from_file_location(path.name, path / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.name] = module
    spec.loader.exec_module(module)
    return module


def verify_package(
    path: Path,
    model: Path | None,
    *,
    weights_file: Path | None,
    report: Progress,
) -> tuple[Comparison, ...]:
    """Compare the package in *path* with its own record, and with *model* where given.

    Runs the package's code on each of its targets that Python runs. What a package that
    stores numbers in fewer bits may differ by is measured on the same inputs, by
    evaluating the model with numbers rounded like that.
    """
    manifest = _manifest(path)
    package = imported(path)
    calls = _calls(path, package)
    expected: Mapping[str, Array] = {}
    if model is not None:
        report(f"interpreting {model.name}")
        expected = _expected(model, calls, weights_file=weights_file)
    comparisons: list[Comparison] = []
    for target in (t for t in DEVICES if t in manifest.options.targets):
        report(f"running {manifest.name} on {target}")
        where = f"{manifest.name}: target {target}"
        try:
            with package.Model(device=target) as running:
                own = running.verify()
                found = _joined(
                    _by_name(package, running.predict(inputs)) for inputs in calls
                )
        except RuntimeError as error:
            problem = Problem(where, str(error))
            comparisons.append(Comparison(target, "", float("nan"), problem))
            continue
        comparisons.append(Comparison(target, "recorded sample", own.error))
        rounding: Mapping[str, float] = {}
        costs = manifest.costs(target)
        if model is not None and costs:
            report(f"rounding {model.name}")
            sources = Sources(model, weights_file)
            halves = target == "gl" and manifest.options.storage == "float16"
            rounded = _joined(
                rounded_outputs(sources, manifest.options, calls, halves=halves)
            )
            rounding = {name: _error(y, rounded[name]) for name, y in expected.items()}
        comparisons += (
            replace(each, recorded=costs.get(each.output))
            for each in _compared(target, where, expected, found, rounding)
        )
    return tuple(comparisons)


def _calls(path: Path, package: ModuleType) -> list[dict[str, Array]]:
    """Return what to call the model with: the recorded sample, and itself shuffled.

    That is one batch, or one call after the other where the model has states.
    """
    recorded = read_tensors(path / "sample.safetensors").arrays
    random = np.random.default_rng(0)
    pieces = {}
    for name in (x.name for x in package.INPUTS):
        x = recorded[f"input.{name}"]
        shuffled = [random.permutation(x.ravel()).reshape(x.shape)] * SHUFFLED
        pieces[name] = [x, *shuffled]
    if hasattr(package, "reset_states"):
        return [
            {name: arrays[call] for name, arrays in pieces.items()}
            for call in range(1 + SHUFFLED)
        ]
    return [{name: np.concatenate(arrays) for name, arrays in pieces.items()}]


def _expected(
    model: Path, calls: Sequence[Mapping[str, Array]], *, weights_file: Path | None
) -> dict[str, Array]:
    """Return the interpreter's outputs of all calls by name."""
    interpreter = Interpreter(model, weights_file=weights_file)
    try:
        results = [interpreter.predict(inputs) for inputs in calls]
    except (TypeError, ValueError) as error:
        where = model.name
        raise CompileError.at(where, f"isn't the package's model: {error}") from None
    if isinstance(results[0], dict):
        return _joined(results)
    return _joined({interpreter.outputs[0].name: y} for y in results)


def _joined(calls: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the outputs of several calls, one behind the other."""
    first, *rest = calls
    return {
        name: np.concatenate([y, *(x[name] for x in rest)]) for name, y in first.items()
    }


def _by_name(
    package: ModuleType, outputs: Array | dict[str, Array]
) -> dict[str, Array]:
    """Return a package's outputs by name."""
    return outputs if isinstance(outputs, dict) else {package.OUTPUTS[0].name: outputs}


def _compared(
    target: str,
    where: str,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    rounding: Mapping[str, float],
) -> Iterator[Comparison]:
    """Yield the comparison of each expected output."""
    for name, y in expected.items():
        if name not in found or found[name].shape != y.shape:
            problem = Problem(where, f"output {quoted(name)} isn't there in that shape")
            yield Comparison(target, name, float("nan"), problem)
            continue
        error, share = _error(y, found[name]), rounding.get(name)
        allowed = f"{TOLERANCE:.0e} is allowed"
        if share is not None:
            allowed = f"{TOLERANCE:.0e} and {share:.1e} for its rounding are allowed"
        problem = Problem(
            where,
            f"output {quoted(name)} differs from the interpreter's by {error:.1e} of "
            f"its largest value, where {allowed}",
        )
        agrees = error <= TOLERANCE + (share or 0)
        yield Comparison(target, name, error, None if agrees else problem, share)


def _error(expected: Array, found: Array) -> float:
    """Return the largest difference, relative to the largest finite expected value."""
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    if same.all():
        return 0.0
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    with np.errstate(all="ignore"):
        return float(np.abs(expected - found)[~same].max() / scale)


def check_directory(
    directory: Path, *, models: Path, report: Progress
) -> tuple[list[str], list[Problem]]:
    """Return the names of packages that are current, and what others differ in.

    *directory* is a package, or holds packages. Their source models are looked for
    below *models*, by name and content.
    """
    folders = [directory] if (directory / MANIFEST).is_file() else _packages(directory)
    names: list[str] = []
    problems: list[Problem] = []
    for folder in folders:
        report(f"compiling {folder.name}")
        try:
            found = list(_outdated(folder, models))
        except CompileError as error:
            found = list(error.problems)
        problems += found
        if not found:
            names.append(folder.name)
    return names, problems


def _packages(directory: Path) -> list[Path]:
    """Return the packages in *directory*; raise CompileError where there are none."""
    found = sorted(path.parent for path in directory.glob(f"*/{MANIFEST}"))
    if not found:
        raise CompileError.at(
            quoted(str(directory)),
            "holds no package that keramos wrote",
            "keramos compile writes to 'generated'",
        )
    return found


def _outdated(folder: Path, models: Path) -> Iterator[Problem]:
    """Yield each difference between the package and what its source gives."""
    manifest = _manifest(folder)
    weights, custom = (
        None if name is None else _source(folder, name, models)
        for name in (manifest.weights_file, manifest.custom)
    )
    sources = Sources(_source(folder, manifest.source, models), weights, custom)
    files = package_files(sources, name=manifest.name, options=manifest.options)
    where, again = quoted(str(folder)), "run keramos compile again"
    for path, content in files.items():
        try:
            present = (folder / path).read_bytes()
        except OSError:
            yield Problem(where, f"{path} is missing", again)
            continue
        if present != content:
            yield Problem(where, f"{path} isn't what {manifest.source} gives", again)
    for path in sorted(set(manifest.files) - set(files)):
        if (folder / path).exists():
            yield Problem(where, f"{path} isn't written any more", again)


def _source(folder: Path, name: str, models: Path) -> Path:
    """Return the file called *name* below *models*; the first in order of paths."""
    for place, folders, files in os.walk(models):
        folders[:] = sorted(
            each for each in folders if each not in PASSED_OVER and each[0] != "."
        )
        if name in files:
            return Path(place) / name
    raise CompileError.at(
        quoted(str(folder)),
        f"its source {quoted(name)} isn't below {quoted(str(models))}",
        "say where with --models DIR",
    )


def _manifest(path: Path) -> _Manifest:
    """Return a package's manifest; raise CompileError where *path* is none of ours."""
    try:
        stored = json.loads((path / MANIFEST).read_bytes())
        options = stored["options"]
        defaults = Options()
        return _Manifest(
            name=str(stored["name"]),
            source=str(stored["source"]["file"]),
            sha256=str(stored["source"]["sha256"]),
            weights_file=options["weights_file"],
            custom=options["custom"],
            options=Options(
                targets=tuple(options["targets"]),
                max_texture_size=tuple(
                    options.get("max_texture_size", defaults.max_texture_size)
                ),
                profile=options.get("profile", defaults.profile),
                batch=options.get("batch", defaults.batch),
                input_shapes={
                    name: tuple(shape)
                    for name, shape in options["input_shapes"].items()
                },
                taps=tuple(options.get("taps", defaults.taps)),
                cam=options.get("cam", defaults.cam),
                weights=options.get("weights", defaults.weights),
                storage=options.get("storage", defaults.storage),
            ),
            files=tuple(stored["files"]),
            precision=tuple(
                (str(each["option"]), str(each["output"]), _number(each["relative"]))
                for each in stored.get("precision", ())
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CompileError.at(
            quoted(str(path)),
            "isn't a package that keramos wrote",
            "keramos compile writes them",
        ) from None


def _number(stored: float | None) -> float:
    """Return a number of the manifest; JSON has no infinity."""
    return math.inf if stored is None else float(stored)
