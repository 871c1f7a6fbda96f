"""Every layer class that the README lists computes on the GPU what its graph means."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gl.device import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_files import drawn_file
from lowering_oracle import inputs_for
from test_readme import families
from tolerance import assert_close, tolerances

from keramos.importer import import_model
from keramos.layers.registry import LAYERS
from keramos.passes import optimise
from keramos.plan.layout import Limits
from keramos.source import KerasFile

# exp, log and tanh of GPUs are good for a few units, not for half of one; and what
# magnitudes leave out: the roots and logarithms of normalisations and spectra.
FACTOR = 256
SMALL = Limits(texture_size=16, layers=64, draw_buffers=4)
USUAL = Limits(texture_size=4096, layers=256, draw_buffers=4)
NAMES = [name for names in families().values() for name in names]
# One name of each: classes that are lowered by the same code differ in their rank.
KINDS = {LAYERS[name]: name for name in reversed(NAMES)}
EXAMPLES = (settings.default or settings()).max_examples
ONE, FEW = (
    settings(max_examples=count, suppress_health_check=[*HealthCheck])
    for count in (1, max(EXAMPLES // 25, 4))
)


def assert_runs(file: KerasFile, limits: Limits) -> None:
    """Hold fragment programs to the lowered graph of *file*."""
    graph = import_model(file)
    inputs = inputs_for(graph)
    expected = [np.asarray(y, np.float32) for y in graph.evaluate(*inputs)]

    with TemporaryDirectory() as folder:
        found, _ = run(optimise(graph), inputs, Path(folder), limits=limits, batch=2)

    assert_close(found, expected, tolerances(file, inputs, factor=FACTOR))


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", KINDS.values())
@ONE
@given(data=st.data())
def test_each_kind_of_layer_runs_on_the_gpu(name: str, data: st.DataObject) -> None:
    assert_runs(drawn_file(name, data), SMALL)


@pytest.mark.slow
@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("limits", [SMALL, USUAL], ids=lambda x: str(x.texture_size))
@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.data())
def test_each_layer_class_runs_on_the_gpu(
    name: str, limits: Limits, data: st.DataObject
) -> None:
    assert_runs(drawn_file(name, data), limits)
