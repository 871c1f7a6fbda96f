"""GlPlan -> files: deduplicated fragment programs, plan.json, and the executor."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keramos.emit.glsl import Program
from keramos.emit.programs import program, results, title
from keramos.graph import Constant, Graph, Storage, Value, constant
from keramos.plan.factor_scales import scale_name
from keramos.plan.gl import plan
from keramos.plan.layout import LANES, Limits, packing
from keramos.plan.stages import Cell, GlPlan, Loop, Stage, Tensor
from keramos.runtime_min import vendored
from keramos.text import identifier, unique

# Four of these make a texel.
FORMATS: Mapping[Storage, str] = {"float32": "F32", "float16": "F16", "uint8": "U8"}


@dataclass(frozen=True, slots=True)
class GlFiles:
    """The gl target's files, and the constants that only it stores, by name.

    *plans* are those of the ladder, for the lowest limits first.
    """

    files: dict[str, bytes]
    constants: dict[str, Value]
    plans: tuple[GlPlan, ...]

    @property
    def plan(self) -> GlPlan:
        """Return the plan that runs wherever the package does."""
        return self.plans[0]


def emit_gl(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    *,
    names: Mapping[Value, str],
    limits: Limits | Sequence[Limits],
    batch: int,
    where: str,
    storage: Storage = "float32",
) -> GlFiles:
    """Return what the gl target adds to the package of an optimised graph.

    *names* are the graph's constants and their names in the weights file. Several
    *limits* make a ladder, lowest first: the weights are stored once, the executor
    takes the highest plan that its device satisfies. *storage* is what results are
    stored as. Raises CompileError.
    """
    ladder = [limits] if isinstance(limits, Limits) else list(limits)
    plans = tuple(
        plan(graph, batch=batch, limits=x, where=where, storage=storage) for x in ladder
    )
    known = _contents(names)
    more = _more(plans, known)
    labels = [identifier(f"{x.name or 'constant'}_gl") for x in more.values()]
    taken = [*names.values()]
    unused = unique([*taken, *labels])[len(taken) :]
    extra = dict(zip(unused, more.values(), strict=True))
    stored = known | dict(zip(more, unused, strict=True))
    return GlFiles(files(plans, stored), extra, plans)


def _constant(value: Value) -> Constant:
    """Return the constant whose numbers are stored for *value*."""
    if value.constant is None:
        raise TypeError("not a constant")
    return value.constant.stored


def _contents(names: Mapping[Value, str]) -> dict[Hashable, str]:
    """Return the name of each content of the weights file.

    Constants that hold the same numbers in the same order have the same identity.
    """
    contents = {_constant(value).identity: name for value, name in names.items()}
    for value, name in names.items():
        factors = None if value.constant is None else value.constant.factors
        if factors is not None:
            contents[factors.codes.identity] = name
            contents[factors.scale.identity] = scale_name(name)
    return contents


def _values(gl: GlPlan) -> list[Value]:
    """Return every constant that the plan reads, from textures or uniform blocks."""
    uniform = [s.uniform.value for s in gl.stages if s.uniform is not None]
    return [*(c.value for c in gl.constants), *uniform]


def _more(
    plans: Sequence[GlPlan], known: Collection[Hashable]
) -> dict[Hashable, Value]:
    """Return what has to be stored beside the contents that are *known*."""
    more: dict[Hashable, Value] = {}
    for value in (value for gl in plans for value in _values(gl)):
        whole = _constant(value)
        if whole.identity in known:
            continue
        for part in [part.stored for part, _ in whole.joined] or [whole]:
            if part.identity not in known:
                named = constant(part, name=value.name)
                more.setdefault(part.identity, named)
    return more


def _read(value: Value, stored: Mapping[Hashable, str]) -> dict[str, Any]:
    """Return where the numbers of a constant are: one tensor's, or several's.

    Of those that are *joined* each row has so many numbers of one, then of the next.
    """
    whole = _constant(value)
    name = stored.get(whole.identity)
    if name is not None:
        return {"tensor": name}
    runs = [[stored[part.stored.identity], run] for part, run in whole.joined]
    return {"joined": runs}


def files(plans: Sequence[GlPlan], stored: Mapping[Hashable, str]) -> dict[str, bytes]:
    """Return ``_gl.py``, the programs and the plans.

    ``shaders/plan.json`` has the lowest limits, and names the files of the others.
    *stored* are the names in the weights file, by the identity of the constants.
    """
    written = [
        {stage: program(stage, gl.limits.profile) for stage in gl.stages}
        for gl in plans
    ]
    users: dict[str, list[Stage | Cell]] = {}
    for stages in written:
        for stage, each in stages.items():
            users.setdefault(each.text, []).append(stage)
    labels = unique(stages[0].name for stages in users.values())
    programs = dict(zip(users, labels, strict=True))
    higher = [f"plan_{gl.limits.texture_size}.json" for gl in plans[1:]]
    result = {"_gl.py": vendored.source("gl.py").encode()}
    for gl, stages, name in zip(plans, written, ["plan.json", *higher], strict=True):
        document = _document(gl, stored, stages, programs)
        if name == "plan.json":
            document["higher"] = higher[::-1]
        result[f"shaders/{name}"] = _json(document).encode()
    for text, label in programs.items():
        more = f" (and {len(users[text]) - 1} more)" if len(users[text]) > 1 else ""
        head = f"// {title(users[text][0])}{more}\n"
        result[f"shaders/{label}.frag"] = (head + text).encode()
    return result


def _json(document: Mapping[str, Any]) -> str:
    """Return one line per entry: diffs stay readable, files small."""
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
            lines.append(f' "{key}": [\n{rows}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _document(
    gl: GlPlan,
    stored: Mapping[Hashable, str],
    written: Mapping[Stage | Cell, Program],
    programs: Mapping[str, str],
) -> dict[str, Any]:
    users = {each.text: stage for stage, each in written.items()}
    order = list(dict.fromkeys(each.text for each in written.values()))
    numbers = {text: number for number, text in enumerate(order)}
    uniform = [
        stage
        for stage in gl.stages
        if isinstance(stage, Stage) and stage.uniform is not None
    ]
    entries = {
        stage: _stage(gl, stage, numbers[each.text], each.sizes)
        for stage, each in written.items()
    }
    for number, stage in enumerate(uniform):
        entries[stage]["buffer"] = number
    return {
        "format": 1,
        "batch": gl.batch,
        "limits": {
            "texture_size": gl.limits.texture_size,
            "layers": gl.limits.layers,
            "draw_buffers": gl.limits.draw_buffers,
            "uniform_block": gl.limits.uniform_block,
        },
        "texture_bytes": gl.texture_bytes,
        "textures": [
            [t.width, t.height, t.layers, FORMATS[t.storage]] for t in gl.textures
        ],
        "constants": [
            {
                **_read(each.value, stored),
                "texture": gl.texture(each.tensor),
                **_packing(each.tensor, (1, *each.view)),
            }
            for each in gl.constants
        ],
        "buffers": [_buffer(stage, stored) for stage in uniform],
        "inputs": [_port(gl, tensor) for tensor in gl.inputs],
        "outputs": [_port(gl, tensor) for tensor in gl.outputs],
        "programs": [
            {
                "file": f"{programs[text]}.frag",
                "samplers": len(users[text].operands),
                "outputs": results(users[text]),
                "blocks": (
                    0 if (weights := users[text].uniform) is None else weights.chunks
                ),
            }
            for text in order
        ],
        "steps": [
            _loop(gl, step, entries) if isinstance(step, Loop) else entries[step]
            for step in gl.steps
        ],
    }


def _stage(
    gl: GlPlan, stage: Stage | Cell, number: int, sizes: tuple[int, ...]
) -> dict[str, Any]:
    entry = {
        "name": stage.name,
        "program": number,
        "sizes": list(sizes),
        "textures": [gl.texture(tensor) for tensor in stage.operands],
        "draws": [list(draw) for draw in stage.draws()],
    }
    if isinstance(stage, Cell):
        buffers = [[gl.texture(buffer.tensor), buffer.pace] for buffer in stage.buffers]
        size = packing(stage.layout).size
        return {**entry, "targets": buffers, "size": list(size)}
    entry |= _port(gl, stage.output)
    if len(stage.strips()) > 1:
        entry["strips"] = [list(strip) for strip in stage.strips()]
    if stage.origins:
        entry["origins"] = [list(origin) for origin in stage.origins]
    return entry


def _buffer(stage: Stage, stored: Mapping[Hashable, str]) -> dict[str, Any]:
    """Return how a kernel fills a uniform buffer, and the bytes of each block.

    The blocks of one draw follow each other; so do the draws.
    """
    weights = stage.uniform
    if weights is None:
        raise TypeError("the stage has no uniform weights")
    *window, depth, filters = (d or 0 for d in weights.value.shape)
    taps = math.prod(window)
    groups = len(stage.draws())
    channels = weights.chunk_blocks * LANES
    split = [weights.taps, weights.chunks, channels, groups, stage.group, LANES]
    return {
        **_read(weights.value, stored),
        "block": weights.vectors(stage.group) * LANES * 4,
        "blocks": weights.chunks,
        "view": [taps, depth, filters],
        "padded": [
            weights.taps,
            weights.chunks * channels,
            groups * stage.group * LANES,
        ],
        "split": split,
        "order": [3, 1, 0, 2, 4, 5],
        "size": [1, 1, math.prod(split) // LANES, LANES],
    }


def _loop(
    gl: GlPlan, loop: Loop, entries: Mapping[Stage | Cell, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": loop.name,
        "steps": loop.steps,
        "reverse": loop.reverse,
        "states": [[gl.places[a], gl.places[b]] for a, b in loop.states],
        "body": [entries[stage] for stage in loop.body],
    }


def _port(gl: GlPlan, tensor: Tensor) -> dict[str, Any]:
    return {
        "texture": gl.texture(tensor),
        "shape": list(tensor.shape),
        **_packing(tensor, tensor.layout.view),
    }


def _packing(tensor: Tensor, view: tuple[int, ...]) -> dict[str, Any]:
    recipe = packing(tensor.layout)
    return {
        "view": list(view),
        "padded": list(recipe.padded),
        "split": list(recipe.split),
        "order": list(recipe.order),
        "size": list(recipe.size),
    }
