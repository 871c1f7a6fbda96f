"""Time every kernel that could compute a layer: the constants of a device's profile.

    python tests/bench/candidates.py compile FOLDER [--profile P]   needs keramos
    python tests/bench/candidates.py run FOLDER            needs moderngl only

Each line gives what a fragment does, its measured time and its estimated one. The
constants of ``codegen/plan/profile.py`` are those for which the two agree best. The
clock of a GPU changes while it runs: times are those of a reference at its fastest,
times the ratio to the reference measured just before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from executor import device, opened, write
from kernels import CASES, graph_of

REFERENCE = "conv_rows-4x2"
WARM_UP = 1.0  # seconds


def compile_candidates(folder: Path, profile: Any) -> None:
    """Write the gl files of each candidate of each case, and what it does."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from gl.chosen import only

    from keramos.emit.gl import emit_gl
    from keramos.plan import kernels
    from keramos.plan.names import constant_names
    from keramos.plan.prepare import prepare
    from keramos.plan.profile import limits
    from keramos.primitives import Conv

    allowed = limits(16384, profile)
    for case in CASES:
        graph = graph_of(case)
        nodes = prepare(graph).graph.nodes
        node = next((n for n in nodes if isinstance(n.primitive, Conv)), None)
        if node is None:
            continue
        found = [
            kernel
            for layout in kernels.layouts(node.specs[0].shape, batch=1, limits=allowed)
            for kernel in kernels.kernels(node, layout, allowed)
        ]
        for kernel in found:
            with only(kernel, Conv):
                gl = emit_gl(
                    graph,
                    names=constant_names(graph),
                    limits=allowed,
                    batch=1,
                    where=case.name,
                )
            merged = "m" if kernel.layout.row else ""
            shape = f"{kernel.layout.pixels}x{kernel.layout.group}{merged}"
            out = folder / case.name / f"{kernel.family}-{shape}-{kernel.group}"
            write(gl.files, out)
            work = kernels.work(node, kernel)
            facts = {
                **asdict(work),
                "fragments": kernel.layout.width * kernel.layout.height,
                "draws": len(gl.plan.stages[-1].draws()),
                "estimate": kernel.cost,
                "products": case.products,
            }
            (out / "work.json").write_text(json.dumps(facts))


def run_candidates(folder: Path, repeat: int) -> None:
    """Time each candidate in turn with the reference."""
    context = device()
    paths = sorted(path.parent for path in folder.glob("*/*/work.json"))

    def elapsed(running: Any, draws: int = 3) -> float:
        query = context.query(time=True)
        with running._drawing(), query:
            for _ in range(draws):
                for stage in running._stages[1:]:
                    running._draw(stage)
        return float(query.elapsed) / draws / 1e3

    reference = opened(next(p for p in paths if p.name.startswith(REFERENCE)), context)
    start, fastest = time.perf_counter(), float("inf")
    while time.perf_counter() - start < WARM_UP:
        fastest = min(fastest, elapsed(reference))
    for path in paths:
        candidate = opened(path, context)
        elapsed(candidate)
        ratios = sorted(elapsed(candidate) / elapsed(reference) for _ in range(repeat))
        candidate.release()
        took = ratios[repeat // 2] * fastest
        work = json.loads((path / "work.json").read_text())
        each = took * 1e6 / work["draws"] / work["fragments"]
        sys.stdout.write(
            f"{path.parent.name:20s} {path.name:24s} {took:9.1f} us, estimated "
            f"{work['estimate']:9.1f}   {work['products'] / took / 1e3:6.1f} GMAC/s   "
            f"{work['draws']} draws of {work['fragments']} fragments, {each:.0f} ps "
            f"for {work['inputs']:.0f} + {work['weights']:.0f} fetches, "
            f"{work['uniforms']:.0f} uniforms, {work['stores']} stores\n"
        )
        sys.stdout.flush()


def main() -> None:
    """Compile or run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["compile", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.command == "compile":
        compile_candidates(arguments.folder, arguments.profile)
    else:
        run_candidates(arguments.folder, arguments.repeat)


if __name__ == "__main__":
    main()
