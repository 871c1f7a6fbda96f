"""What the compiler says of the planner's choices is what the plan does."""

from __future__ import annotations

import json

from hypothesis import given
from strategies_graphs import graphs

from keramos.emit.gl import emit_gl
from keramos.emit.report import plan_report
from keramos.graph import Graph
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names


@given(graph=graphs(free=False))
def test_reports_count_what_the_executor_is_given(graph: Graph) -> None:
    names = constant_names(graph)
    gl = emit_gl(graph, names=names, limits=Limits(), batch=1, where="model")
    plan = json.loads(gl.files["shaders/plan.json"])

    report = plan_report(gl.plan)

    draws = sum(
        (
            len(step["draws"]) * len(step.get("strips", [0]))
            if "draws" in step
            else step["steps"] * sum(len(stage["draws"]) for stage in step["body"])
        )
        for step in plan["steps"]
    )
    assert report.draws == draws
    assert report.programs == len(plan["programs"])
    assert report.texture_bytes == plan["texture_bytes"]


@given(graph=graphs(free=False))
def test_every_stage_has_an_estimate(graph: Graph) -> None:
    names = constant_names(graph)
    gl = emit_gl(graph, names=names, limits=Limits(), batch=1, where="model")

    report = plan_report(gl.plan)

    assert all(stage.microseconds > 0 for stage in report.stages)
    assert report.document()["stages"] == [str(stage) for stage in report.stages]
