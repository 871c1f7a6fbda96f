"""The command line, ``keramos`` or ``python -m keramos``: only here things are printed.

Exit status 0, or 2 with one line per problem on stderr and nothing written.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keramos import source
from keramos.compiler import (
    TARGETS,
    Options,
    Progress,
    ResultStorage,
    Sources,
    compile_file,
)
from keramos.demo import Demonstration, demonstrate, picture
from keramos.emit.report import PlanReport
from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Storage
from keramos.importer import Description, describe
from keramos.layers.custom import load_custom
from keramos.plan.layout import Profile
from keramos.runtime_min.interpreter import Interpreter
from keramos.verification import Comparison, check_directory, verify_package
from keramos.version import VERSION

Array = NDArray[Any]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Compile Keras models into standalone, verified Python packages.",
)
output = Console(highlight=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

# Digits that the demonstration shows, and how many of them side by side.
SHOWN, PER_LINE = 6, 3

TEXTURE_SIZE = ",".join(map(str, Options().max_texture_size))
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A saved model: .keras or .h5.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights-file",
        metavar="FILE",
        help="The weights, where MODEL is an architecture alone (.json).",
    ),
]
Custom = Annotated[
    Path | None,
    typer.Option(
        "--custom",
        metavar="FILE.py",
        help="Layers that Keras doesn't know. The file is run.",
    ),
]


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    """Compile Keras models into standalone, verified Python packages."""
    if version:
        output.print(f"keramos {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        output.print(context.get_help(), markup=False)


@app.command("compile")
def compile_command(  # noqa: PLR0913  one parameter per option
    model: Model,
    directory: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Where the package's folder goes."
        ),
    ] = Path("generated"),
    *,
    name: Annotated[
        str | None,
        typer.Option(help="The package's import name; by default after the file."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(TARGETS), help="Repeat for several; by default all."
        ),
    ] = None,
    max_texture_size: Annotated[
        str,
        typer.Option(
            metavar="N[,N]",
            help="No texture is wider or higher. Several: the largest that fits runs.",
        ),
    ] = TEXTURE_SIZE,
    profile: Annotated[
        Profile,
        typer.Option(help="What the shaders are for: a GPU or a software rasteriser."),
    ] = "gpu",
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Samples per draw list (target gl): 1, or those of a stateful model.",
            show_default=False,
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=D1,D2", help="Pin an input's free dimensions. Repeatable."
        ),
    ] = None,
    weights_file: Weights = None,
    weights: Annotated[
        Storage, typer.Option(help="How weights are stored; the cost is measured.")
    ] = "float32",
    storage: Annotated[
        ResultStorage,
        typer.Option(help="How gl and web store results; the cost is measured."),
    ] = "float32",
    custom: Custom = None,
    taps: Annotated[
        str,
        typer.Option(
            metavar="LAYER[,LAYER]|all",
            help="Layers whose outputs the package gives on request.",
        ),
    ] = "",
    cam: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER|auto",
            help="Make class activation maps from this layer's outputs.",
        ),
    ] = None,
    show_report: Annotated[
        bool,
        typer.Option("--report", help="Show what the planner chose for each stage."),
    ] = False,
) -> None:
    """Compile MODEL into the Python package DIR/NAME."""
    options = Options(
        targets=tuple(target or TARGETS),
        max_texture_size=_texture_sizes(max_texture_size),
        profile=profile,
        batch=batch,
        input_shapes=dict(map(_input_shape, input_shape or ())),
        taps=tuple(name.strip() for name in taps.split(",") if name.strip()),
        cam=cam,
        weights=weights,
        storage=storage,
    )
    with _progress() as report:
        package = compile_file(
            Sources(model, weights_file, custom),
            directory,
            name=name,
            options=options,
            report=report,
        )
    output.print(
        f"Wrote {len(package.files)} files to {package.path}: import {package.name}",
        markup=False,
    )
    for line in package.costs:
        output.print(_printable(line), markup=False)
    for plan in package.plans if show_report else ():
        output.print(_stage_table(plan))
        output.print(str(plan), markup=False)


@app.command()
def inspect(
    model: Model,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON instead of a table.")
    ] = False,
    weights_file: Weights = None,
    custom: Custom = None,
) -> None:
    """Show layers, shapes, parameters, MACs, and every problem, without compiling."""
    with _progress() as report:
        report(f"reading {model.name}")
        file = source.read(model, weights_file=weights_file)
        layers = {} if custom is None else load_custom(custom)
        description = describe(file, custom=layers)
    if as_json:
        output.print(_as_json(file, description), markup=False)
    else:
        output.print(_layer_table(description))
    _fail(description.problems)


@app.command()
def run(
    model: Model,
    inputs: Annotated[
        Path, typer.Argument(metavar="IN.npz", help="An array per input, by its name.")
    ],
    outputs: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.npz", help="What to write.")
    ],
    *,
    weights_file: Weights = None,
) -> None:
    """Run MODEL in the generic interpreter: slow, and the reference."""
    with _progress() as report:
        report("reading")
        interpreter = Interpreter(model, weights_file=weights_file)
        arrays = _read_arrays(inputs, [port.name for port in interpreter.inputs])
        report("running")
        try:
            result = interpreter.predict(arrays)
        except (TypeError, ValueError) as error:
            raise CompileError.at(inputs.name, str(error)) from None
    names = [port.name for port in interpreter.outputs]
    found = result if isinstance(result, dict) else {names[0]: result}
    try:
        outputs.write_bytes(_npz(found))
    except OSError as error:
        problem = f"can't be written: {error.strerror}"
        raise CompileError.at(quoted(str(outputs)), problem) from None
    shapes = ", ".join(f"{quoted(key)} {array.shape}" for key, array in found.items())
    output.print(f"Wrote {outputs}: {shapes}", markup=False)


@app.command()
def verify(
    package: Annotated[
        Path, typer.Argument(metavar="PACKAGE", help="A folder that Keramos wrote.")
    ],
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[MODEL]", help="Its source, to compare with anew."),
    ] = None,
    *,
    weights_file: Weights = None,
) -> None:
    """Compare PACKAGE with the interpreter on this machine, on each of its targets.

    The package's code is run. Without MODEL, its recorded sample is the reference.
    """
    with _progress() as report:
        comparisons = verify_package(
            package, model, weights_file=weights_file, report=report
        )
    output.print(_comparison_table(comparisons))
    _fail(comparison.problem for comparison in comparisons if comparison.problem)


@app.command()
def check(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder of packages, or one package."),
    ] = Path("generated"),
    *,
    models: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where the source models are looked for."),
    ] = Path(),
) -> None:
    """Tell whether the packages in DIR are what their sources would give now."""
    with _progress() as report:
        names, problems = check_directory(directory, models=models, report=report)
    _fail(problems)
    for name in names:
        output.print(f"{name}: up to date", markup=False)


@app.command()
def demo(
    directory: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Where the package's folder goes."
        ),
    ] = Path("generated"),
) -> None:
    """Compile a bundled model, and let it read handwritten digits on CPU and GPU."""
    with _progress() as report:
        demonstration = demonstrate(directory, report=report)
    _print_demonstration(demonstration)


def _layer_table(description: Description) -> Table:
    """Return what ``inspect`` shows."""
    table = Table("layer", "class", "output", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("MACs", justify="right")
    for row in description.rows:
        shapes = " ".join(map(_shape_text, row.output_shapes)) or "?"
        cells = (_printable(row.name), row.class_name, shapes)
        style = "red" if row.problem else ""
        table.add_row(
            *(Text(cell, style) for cell in cells),
            f"{row.parameters:,}",
            "?" if row.macs is None else f"{row.macs:,}",
        )
    parameters, macs = _totals(description)
    table.add_row("", "", "", f"{parameters:,}", "?" if macs is None else f"{macs:,}")
    return table


def _stage_table(plan: PlanReport) -> Table:
    """Return what ``compile --report`` shows of a plan."""
    table = Table("stage", "result", "kernel", box=None, pad_edge=False)
    for heading in ("fragment", "texels", "draws", "us"):
        table.add_column(heading, justify="right")
    for stage in plan.stages:
        table.add_row(
            Text(_printable(stage.name)),
            Text("x".join(map(str, stage.result))),
            Text(stage.kernel),
            Text("x".join(map(str, stage.fragment))),
            Text("x".join(map(str, stage.texels))),
            str(stage.draws),
            f"{stage.microseconds:.0f}",
        )
    return table


def _totals(description: Description) -> tuple[int, int | None]:
    """Return the model's parameters and MACs; None where dimensions are free."""
    macs = [row.macs for row in description.rows]
    known = [count for count in macs if count is not None]
    parameters = sum(row.parameters for row in description.rows)
    return parameters, sum(known) if len(known) == len(macs) else None


def _shape_text(shape: Sequence[int | None]) -> str:
    """Return ``(n, 28, 28, 1)``; ``?`` is a free dimension."""
    sizes = ("?" if size is None else str(size) for size in shape[1:])
    return f"({', '.join(['n', *sizes])})"


def _as_json(file: source.KerasFile, description: Description) -> str:
    """Return what ``inspect --json`` writes."""
    parameters, macs = _totals(description)
    document = {
        "file": file.path.name,
        "sha256": file.sha256,
        "keras_version": file.keras_version,
        "parameters": parameters,
        "macs": macs,
        "layers": [
            {
                "name": row.name,
                "class": row.class_name,
                "output_shapes": row.output_shapes,
                "parameters": row.parameters,
                "macs": row.macs,
                "problem": row.problem or None,
            }
            for row in description.rows
        ],
        "problems": list(map(str, description.problems)),
    }
    return json.dumps(document, indent=1)


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Return what ``verify`` shows."""
    heads = ["target", "output", "largest difference"]
    rounded = any(each.rounding is not None for each in comparisons)
    if rounded:
        heads += ["of which rounding", "recorded"]
    table = Table(*heads, box=None, pad_edge=False)
    for each in comparisons:
        style = "red" if each.problem else ""
        numbers: list[float | None] = [each.error]
        numbers += [each.rounding, each.recorded] if rounded else []
        texts = ["" if x is None else f"{x:.1e}" for x in numbers]
        cells = (each.target, _printable(each.output), *texts)
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _reading_table(demonstration: Demonstration) -> Table:
    """Return accuracy and time of each way to run the model."""
    table = Table("", "accuracy", "ms per image", box=None, pad_edge=False)
    for reading in demonstration.readings:
        table.add_row(
            reading.name,
            f"{demonstration.accuracy(reading):.3f}",
            f"{demonstration.milliseconds(reading):.2f}",
        )
    return table


def _print_demonstration(demonstration: Demonstration) -> None:
    """Print pictures, accuracy, time, differences, and where the package lies."""
    package, labels = demonstration.package, demonstration.labels
    readings = demonstration.readings
    for first in range(0, SHOWN, PER_LINE):
        places = range(first, first + PER_LINE)
        pictures = [picture(demonstration.images[place]) for place in places]
        output.print()
        for lines in zip(*pictures, strict=True):
            output.print("   ".join(lines).rstrip(), markup=False)
        captions = (
            f"{labels[place]}, read as "
            + "/".join(str(reading.predictions[place]) for reading in readings)
            for place in places
        )
        output.print("   ".join(f"{caption:<20}" for caption in captions).rstrip())
    names = "/".join(reading.name for reading in readings)
    output.print(f"\n(read by {names})\n{len(labels)} digits:\n")
    output.print(_reading_table(demonstration))
    output.print("\nLargest differences between their outputs:\n")
    for (a, b), difference in demonstration.differences().items():
        output.print(f"{a} and {b}: {difference:.1e}")
    output.print(f"\nThe package lies in {package.path.resolve()}", markup=False)


def _texture_sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of ``N[,N]``."""
    sizes = [size.strip() for size in text.split(",")]
    if not all(size.isdecimal() for size in sizes):
        raise CompileError.at(
            "--max-texture-size",
            f"{quoted(text)} isn't N or N,N,...",
            "for example --max-texture-size 4096,16384",
        )
    return tuple(map(int, sizes))


def _input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the name and the shape of ``INPUT=D1,D2``."""
    name, equals, sizes = text.rpartition("=")
    if not equals or not all(size.strip().isdecimal() for size in sizes.split(",")):
        raise CompileError.at(
            "--input-shape",
            f"{quoted(text)} isn't INPUT=D1,D2,...",
            "for example --input-shape image=224,224,3",
        )
    return name, tuple(map(int, sizes.split(",")))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Give a function that shows on a terminal what is being done."""
    if not errors.is_terminal:
        yield lambda _: None
        return
    with errors.status("starting") as status:
        yield lambda step: status.update(escape(step))


def _fail(problems: Iterable[Problem]) -> None:
    """Raise CompileError where there are problems."""
    if found := tuple(problems):
        raise CompileError(found)


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Return the arrays of an .npz file; those without names are in the order."""
    problem, hint = "isn't an .npz file of arrays", "save it with np.savez"
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            arrays = dict(stored) if isinstance(stored, NpzFile) else None
    except FileNotFoundError:
        raise CompileError.at(path.name, "there is no such file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        raise CompileError.at(path.name, problem, hint) from None
    if arrays is None:
        raise CompileError.at(path.name, problem, hint)
    if list(arrays) == [f"arr_{number}" for number in range(len(names))]:
        return dict(zip(names, arrays.values(), strict=True))
    return arrays


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """Return an .npz file; np.savez can't store arrays of any name (``file``)."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _printable(line: str) -> str:
    """Return *line* with whatever would break it, or move the cursor, escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0, or with 2 and one line per problem."""
    try:
        status = app(arguments, standalone_mode=False)
    except CompileError as error:
        lines, status = list(map(str, error.problems)), 2
    except typer.TyperException as error:
        # Newer versions let pydantic look at values, which says so.
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        lines, status = [f"{message} (see keramos --help)"], 2
    except (typer.Abort, KeyboardInterrupt):
        lines, status = ["interrupted"], 130
    else:
        lines = []
    for line in lines:
        errors.print(_printable(line), markup=False)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
