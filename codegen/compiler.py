"""The whole road: a model file in, the files of a package out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from keramos import source
from keramos.class_activation import ClassActivation, class_activation
from keramos.emit.activation import emit_activation
from keramos.emit.directory import write, written
from keramos.emit.gl import emit_gl
from keramos.emit.halves import Halves, run_on_halves
from keramos.emit.javascript import emit_javascript, emit_webassembly
from keramos.emit.package import Provenance, emit_package, header
from keramos.emit.precision import Precision, compared
from keramos.emit.report import PlanReport, plan_report
from keramos.emit.sample import Sample, first_states, outputs, sample
from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Array, Graph, Storage, Value
from keramos.importer import import_layers
from keramos.layers.custom import load_custom
from keramos.passes import optimise
from keramos.passes.round_weights import round_weights
from keramos.plan.layout import Limits, Profile
from keramos.plan.names import constant_names
from keramos.plan.prepare import Target
from keramos.plan.profile import PROFILES, limits
from keramos.source import KerasFile
from keramos.text import identifier
from keramos.version import VERSION

TARGETS = ("cpu", "gl", "web")
WEIGHTS: tuple[Storage, ...] = get_args(Storage)
ResultStorage = Literal["float32", "float16"]
STORAGES: tuple[ResultStorage, ...] = get_args(ResultStorage)
# Below, a texel's neighbours are lost; above, no GPU follows.
TEXTURE_SIZES = range(16, 16384 + 1)
# A package with such a name would hide what NumPy, or the package itself, imports.
TAKEN = sys.stdlib_module_names | {"keramos", "moderngl", "numpy"}

Progress = Callable[[str], None]


def silent(step: str) -> None:
    """Take a step without a word."""
    del step


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose.

    *weights* is how weights are stored, *storage* how results are on gl and web.
    *input_shapes* pins free dimensions: input name to shape without the batch axis.
    Without a *batch*, it is what a model with states is made for, and else one sample.
    *taps* are layers whose outputs stay available, "all" for every one; *cam* is the
    layer whose outputs class activation maps are made from, "auto" for the last one.
    """

    targets: tuple[str, ...] = TARGETS
    max_texture_size: tuple[int, ...] = (Limits().texture_size,)
    profile: Profile = "gpu"
    batch: int | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    taps: tuple[str, ...] = ()
    cam: str | None = None
    weights: Storage = "float32"
    storage: ResultStorage = "float32"

    def problems(self) -> Iterator[Problem]:
        """Yield what can't be done whatever the model is."""
        known = ", ".join(map(repr, TARGETS))
        for target in self.targets:
            if target not in TARGETS:
                problem = f"there is no target {quoted(target)}"
                yield Problem("--target", problem, f"the targets are {known}")
        if "cpu" not in self.targets:
            yield Problem(
                "--target", "every package has the target 'cpu'", "add --target cpu"
            )
        for size in self.max_texture_size:
            if size not in TEXTURE_SIZES:
                yield Problem(
                    "--max-texture-size",
                    f"{size} isn't a texture size",
                    f"use {TEXTURE_SIZES[0]} to {TEXTURE_SIZES[-1]}",
                )
        if self.profile not in PROFILES:
            yield Problem(
                "--profile",
                f"{quoted(self.profile)} isn't a kind of device",
                f"use {' or '.join(map(repr, PROFILES))}",
            )
        if self.weights not in WEIGHTS:
            yield Problem(
                "--weights",
                f"weights can't be stored as {quoted(self.weights)}",
                f"use {', '.join(map(repr, WEIGHTS[:-1]))} or {WEIGHTS[-1]!r}",
            )
        if self.storage not in STORAGES:
            yield Problem(
                "--storage",
                f"results can't be stored as {quoted(self.storage)}",
                f"use {' or '.join(map(repr, STORAGES))}",
            )
        if self.batch is not None and self.batch < 1:
            yield Problem("--batch", f"{self.batch} samples are none", "use 1 or more")


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that a package is made from.

    *weights* has the weights of a *model* that is an architecture alone; *custom* is
    Python that defines layers which Keras doesn't know.
    """

    model: Path
    weights: Path | None = None
    custom: Path | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was written: its import name, its folder, its files.

    *costs* are lines that say what storing numbers in fewer bits costs, *plans* what
    the planner chose for each limit of the gl target.
    """

    name: str
    path: Path
    files: tuple[str, ...]
    costs: tuple[str, ...] = ()
    plans: tuple[PlanReport, ...] = ()


def compile_model(  # noqa: PLR0913  options, each by its name
    path: str | Path,
    directory: str | Path,
    *,
    name: str | None = None,
    targets: Sequence[str] = TARGETS,
    max_texture_size: int | Sequence[int] = Options().max_texture_size,
    profile: Profile = "gpu",
    batch: int | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    weights_file: str | Path | None = None,
    weights: Storage = "float32",
    custom: str | Path | None = None,
    taps: Sequence[str] = (),
    cam: str | None = None,
    storage: ResultStorage = "float32",
) -> Package:
    """Compile the model file *path* into the package *directory*/*name*.

    *name* is by default made from the file's. *max_texture_size*, *profile* and *batch*
    (samples per draw list, by default one, or those of a stateful model) are those of
    gl and web: several sizes make a ladder of
    plans, of which the highest that a device satisfies is run, and "software" is for
    devices without a GPU. *input_shapes* pins free dimensions: input name
    to shape without the batch axis. *weights_file* has the weights of a *path* that is
    an architecture alone; *weights* stores those of all targets in fewer bits,
    *storage* the results of gl and web, and the package says what that costs; *custom*
    is a Python file that defines layers with :func:`keramos.custom_layer`, and is run.
    *taps* names layers whose outputs the package gives on request ("all": every
    layer), *cam* the layer whose outputs it makes class activation maps from ("auto":
    the last feature map). Raises CompileError with every problem; then nothing has
    been written.
    """
    sizes = (
        [max_texture_size] if isinstance(max_texture_size, int) else max_texture_size
    )
    options = Options(
        tuple(targets),
        tuple(sizes),
        profile,
        batch,
        {key: tuple(shape) for key, shape in (input_shapes or {}).items()},
        tuple(taps),
        cam,
        weights,
        storage,
    )
    sources = Sources(
        Path(path),
        None if weights_file is None else Path(weights_file),
        None if custom is None else Path(custom),
    )
    return compile_file(sources, Path(directory), name=name, options=options)


def compile_file(
    sources: Sources,
    directory: Path,
    *,
    name: str | None = None,
    options: Options,
    report: Progress = silent,
) -> Package:
    """Do what :func:`compile_model` does, and *report* each step."""
    name = package_name(sources.model) if name is None else name
    problems = [*_name_problems(name), *options.problems()]
    try:
        written(directory / name)
    except CompileError as error:
        problems += error.problems
    try:
        model = _imported(sources, options, report=report)
    except CompileError as error:
        raise CompileError([*problems, *error.problems]) from None
    if problems:
        raise CompileError(problems)
    report(f"compiling {sources.model.name}")
    with model.file.kept_open():
        emitted = _emitted(model, sources=sources, name=name, options=options)
    report(f"writing {name}")
    try:
        write(emitted.files, directory / name)
    except OSError as error:
        where = quoted(str(directory / name))
        problem = f"can't be written: {error.strerror}"
        raise CompileError.at(where, problem) from None
    paths = tuple(emitted.files)
    return Package(name, directory / name, paths, emitted.costs, emitted.plans)


def package_files(sources: Sources, *, name: str, options: Options) -> dict[str, bytes]:
    """Return the files of the package that the model gives, without writing them."""
    model = _imported(sources, options, report=silent)
    with model.file.kept_open():
        return _emitted(model, sources=sources, name=name, options=options).files


def rounded_outputs(
    sources: Sources,
    options: Options,
    calls: Sequence[Mapping[str, Array]],
    *,
    halves: bool = False,
) -> list[dict[str, Array]]:
    """Return the outputs by name when weights are rounded, and as *halves* results too.

    *calls* are one after the other: a model with states goes on.
    """
    exact = _imported(sources, options, report=silent).graph
    graph = round_weights(exact, options.weights)
    count = len(graph.public_outputs)
    states = first_states(graph)
    results = []
    for inputs in calls:
        given = [*(inputs[x.name] for x in graph.public_inputs), *states]
        found = outputs(graph, given)
        states = found[count:]
        if halves:
            target = _target(options, options.batch or 1)
            found = [*run_on_halves(graph, given, target=target).outputs]
        results.append(dict(zip(graph.output_names, found[:count], strict=False)))
    return results


def package_name(path: Path) -> str:
    """Return the name of the package for the model file *path*."""
    name = identifier(path.stem)
    return f"{name}_model" if name in TAKEN else name


def _name_problems(name: str) -> Iterator[Problem]:
    """Yield what makes *name* unfit for a package."""
    if identifier(name) != name:
        yield Problem(
            "--name",
            f"{quoted(name)} can't be the name of a package",
            f"for example {quoted(identifier(name))}",
        )
    elif name in TAKEN:
        problem = f"{quoted(name)} would hide the module of that name"
        yield Problem("--name", problem, f"for example {quoted(f'{name}_model')}")


@dataclass(frozen=True, slots=True)
class _Imported:
    """A model file and its optimised graph.

    Behind the model's own outputs the graph has those of the layers *taps*, then the
    features from which *activation*, a graph too, makes class activation maps.
    """

    file: KerasFile
    graph: Graph
    taps: tuple[str, ...]
    activation: Graph | None

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of the model's own outputs."""
        # The map takes its features and the class.
        features = 0 if self.activation is None else len(self.activation.inputs) - 1
        names = self.graph.output_names[: len(self.graph.public_outputs)]
        return names[: len(names) - len(self.taps) - features]


def _imported(sources: Sources, options: Options, *, report: Progress) -> _Imported:
    """Return what is compiled; raise CompileError."""
    report(f"reading {sources.model.name}")
    custom = {} if sources.custom is None else load_custom(sources.custom)
    file = source.read(sources.model, weights_file=sources.weights)
    with file.kept_open():
        graph, layers = import_layers(
            file, input_shapes=options.input_shapes, custom=custom
        )
    where = file.path.name
    found: list[ClassActivation | Problem] = []
    if options.cam is not None:
        found.append(class_activation(graph, layers, layer=options.cam, where=where))
    taps = _tapped(layers, options.taps)
    problems = [each for each in (*found, *taps.values()) if isinstance(each, Problem)]
    if problems:
        raise CompileError(problems)
    features = [
        x for each in found if isinstance(each, ClassActivation) for x in each.features
    ]
    tapped = [x for x in taps.values() if isinstance(x, Value)]
    whole = graph.with_outputs(
        [*tapped, *features],
        [*taps, *(f"features_{k}" for k in range(len(features)))],
    )
    report(f"optimising {sources.model.name}")
    activations = [x.graph for x in found if isinstance(x, ClassActivation)]
    activation = optimise(activations[0]) if activations else None
    return _Imported(file, optimise(whole), tuple(taps), activation)


def _tapped(
    layers: Mapping[str, Value], names: Sequence[str]
) -> dict[str, Value | Problem]:
    """Return the outputs of the layers *names* by name; problems for unknown ones."""
    found: dict[str, Value | Problem] = {}
    for name in names:
        mine = {
            known: value
            for known, value in layers.items()
            if name in ("all", known) or known.startswith(f"{name}:")
        }
        if not mine:
            close = get_close_matches(name, layers, 1)
            hint = (
                f"is it {quoted(close[0])}?" if close else "keramos inspect lists them"
            )
            problem = f"there is no layer {quoted(name)} that is called"
            found[name] = Problem("--taps", problem, hint)
        found |= mine
    return found


def _target(options: Options, batch: int) -> Target:
    """Return the device of the lowest limits, where the package runs everywhere."""
    return Target(batch, limits(min(options.max_texture_size), options.profile))


def _batch(graph: Graph, stated: int | None, where: str) -> int:
    """Return the samples per draw list; raise CompileError where it can't be *stated*.

    Draws of a model with states compute all samples that it keeps states for.
    """
    if graph.batch is None:
        return 1 if stated is None else stated
    if stated not in (None, graph.batch):
        raise CompileError.at(
            where,
            f"is stateful and made for {graph.batch} samples, not for --batch {stated}",
            "leave --batch out",
        )
    return graph.batch


@dataclass(frozen=True, slots=True)
class _Emitted:
    """A package's files, lines for what its options cost, and the planner's choices."""

    files: dict[str, bytes]
    costs: tuple[str, ...]
    plans: tuple[PlanReport, ...]


def _emitted(
    model: _Imported, *, sources: Sources, name: str, options: Options
) -> _Emitted:
    """Return what there is to write and to say of a package."""
    where = model.file.path.name
    graph = round_weights(model.graph, options.weights)
    given = sample(graph)
    batch = _batch(graph, options.batch, where)
    halves = None
    if options.storage == "float16" and "gl" in options.targets:
        if graph.states:
            problem = "is stateful, and halves would lose digits from call to call"
            raise CompileError.at(where, problem, "leave --storage out")
        target = _target(options, batch)
        halves = run_on_halves(graph, given.inputs, target=target)
    precision = _precision(model, graph, given, options, halves)
    stated: dict[str, object] = {
        "targets": list(options.targets),
        "input_shapes": {key: list(d) for key, d in options.input_shapes.items()},
        "weights_file": None if sources.weights is None else sources.weights.name,
        "custom": None if sources.custom is None else sources.custom.name,
        "weights": options.weights,
    }
    if options.storage != "float32":
        stated["storage"] = options.storage
    if options.taps:
        stated["taps"] = list(options.taps)
    if options.cam is not None:
        stated["cam"] = options.cam
    provenance = Provenance(where, model.file.sha256, VERSION, model.file.keras_version)
    names = constant_names(graph)
    ladder: list[Limits] = []
    gl = None
    if "gl" in options.targets:
        stated["max_texture_size"] = list(options.max_texture_size)
        stated["profile"] = options.profile
        stated["batch"] = batch
        sizes = sorted(set(options.max_texture_size))
        ladder = [limits(size, options.profile) for size in sizes]
        gl = emit_gl(
            graph,
            names=names,
            limits=ladder,
            batch=batch,
            where=where,
            storage=options.storage,
        )
    javascript = kernels = None
    if "web" in options.targets:
        javascript = emit_javascript(graph, names=names, where=where)
        kernels = emit_webassembly(graph, names=names, where=where)
    constants = {} if gl is None else gl.constants
    activation = None
    if model.activation is not None:
        activation = emit_activation(
            round_weights(model.activation, options.weights),
            stored={**names, **{value: name for name, value in constants.items()}},
            limits=ladder,
            batch=batch,
            javascript=javascript is not None,
            header=header(provenance),
            where=where,
        )
    plans = () if gl is None else tuple(map(plan_report, gl.plans))
    files = emit_package(
        graph,
        name=name,
        options=stated,
        provenance=provenance,
        gl=None if gl is None else gl.files,
        constants=constants,
        javascript=javascript,
        kernels=kernels,
        taps=model.taps,
        activation=activation,
        given=given,
        precision=precision,
        halves=halves,
        plans=plans,
    )
    costs = [*precision, *(() if halves is None else halves.warnings())]
    return _Emitted(files, tuple(map(str, costs)), plans)


def _precision(
    model: _Imported,
    graph: Graph,
    given: Sample,
    options: Options,
    halves: Halves | None,
) -> tuple[Precision, ...]:
    """Return what rounding weights costs, and then, on gl, storing results as halves.

    *graph* is the model's with rounded weights.
    """
    if options.weights == "float32" and halves is None:
        return ()
    rounded = outputs(graph, given.inputs)
    found: tuple[Precision, ...] = ()
    if options.weights != "float32":
        exact = outputs(model.graph, given.inputs)
        label = f"weights as {options.weights}"
        found = compared(label, model.output_names, exact, rounded)
    if halves is None:
        return found
    label = f"results as {options.storage}"
    return (*found, *compared(label, model.output_names, rounded, halves.outputs))
