"""Time convolutions that are pooled where they are computed, beside two draws.

    python tests/bench/pooled.py compile FOLDER [--profile software]     needs keramos
    python tests/bench/pooled.py run FOLDER      needs moderngl only

On a software rasteriser set LP_NUM_THREADS=0: times are then those of the processor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from executor import device, drawing, elapsed, opened, parser, write

# Rows and columns, channels and filters of 3x3 convolutions in front of 2x2 pools.
CASES = ((26, 32, 64), (34, 32, 32), (58, 128, 128), (114, 64, 128), (16, 256, 256))
WAYS = ("apart", "pooled")


def compile_cases(folder: Path, profile: Any) -> None:
    """Write the gl files of each case, both ways."""
    from keramos.emit.gl import emit_gl
    from keramos.expr import call, operand
    from keramos.graph import Graph, Value, apply, literal
    from keramos.passes import optimise
    from keramos.plan import gl as planner
    from keramos.plan import pooling
    from keramos.plan.names import constant_names
    from keramos.plan.profile import limits
    from keramos.primitives import Conv, Map, Spec, Window

    none = ((0, 0), (0, 0))
    for n, c, o in CASES:
        x = Value(Spec((n, n, c)), name="x")
        kernel = literal(np.zeros((3, 3, c, o), np.float32), name="kernel")
        # The other layer's result lies in the layout that it chose.
        (given,) = apply(Map(operand(0) * 0.5), x)
        (y,) = apply(Conv((1, 1), none, (1, 1), (1, 1)), given, kernel)
        (y,) = apply(Map(call("max", operand(0), 0.0)), y)
        (y,) = apply(Window("max", (2, 2), (2, 2), none), y)
        graph = optimise(Graph((x,), (y, given), ("y", "given")))
        for way in WAYS:
            found = pooling.pooled if way == "pooled" else (lambda _: ())
            with patch.object(planner, "pooled", found):
                gl = emit_gl(
                    graph,
                    names=constant_names(graph),
                    limits=limits(16384, profile),
                    batch=1,
                    where="model",
                )
            write(gl.files, folder / f"{n}_{c}_{o}_{way}")


def run_cases(folder: Path, repeat: int) -> None:
    """Print a line per case: microseconds both ways, timed in turn, and the ratio."""
    context = device()
    software = "llvmpipe" in context.info["GL_RENDERER"]
    for n, c, o in CASES:
        functions = {}
        draws = {}
        for way in WAYS:
            executor = opened(folder / f"{n}_{c}_{o}_{way}", context)
            functions[way] = drawing(executor)
            draws[way] = sum(len(s.draws) for s in executor._stages[1:])
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for round_ in range(repeat + 1):
            for way, function in functions.items():
                taken = clocked(context, function, software=software)
                if round_ > 0:
                    times[way].append(taken)
        apart, pooled = (sorted(times[way])[repeat // 2] for way in WAYS)
        sys.stdout.write(
            f"{n}x{n}x{c} to {o}: apart {apart:.1f} us ({draws['apart']} draws)  "
            f"pooled {pooled:.1f} us ({draws['pooled']})  {pooled / apart:.2f}\n"
        )
        sys.stdout.flush()


def clocked(context: Any, function: Callable[[], None], *, software: bool) -> float:
    """Return the microseconds that *function* takes on the device."""
    if software:
        start = time.process_time()
        function()
        context.finish()
        return (time.process_time() - start) * 1e6
    return elapsed(context, function)


def main() -> None:
    """Compile or run."""
    line = parser(__doc__, repeat=21)
    line.add_argument("--profile", choices=["gpu", "software"], default="gpu")
    arguments = line.parse_args()
    if arguments.command == "compile":
        compile_cases(arguments.folder, arguments.profile)
    else:
        run_cases(arguments.folder, arguments.repeat)


if __name__ == "__main__":
    main()
