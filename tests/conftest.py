"""Options, profiles and fixtures that all tests share."""

from __future__ import annotations

import os
from typing import Any

import moderngl
import pytest
from hypothesis import HealthCheck, Phase, settings

# Keras asks for its backend when it is imported, once.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
# With threads, llvmpipe of Mesa 22.3 at times loses a draw of a single texel.
os.environ["LP_NUM_THREADS"] = "0"

# Compiling a model is slow work for a property: time says nothing about its health.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=25,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "thorough",
    settings.get_profile("ci"),
    derandomize=False,
    max_examples=500,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that accepts the present outputs as golden."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write generated/ and the golden texts anew instead of comparing",
    )


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    """Return whether golden files are to be written."""
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.fixture(scope="session")
def egl() -> None:
    """Skip the test where there is no GPU driver; in CI, fail: it must have one."""
    options: dict[str, Any] = {"standalone": True, "backend": "egl"}
    try:
        moderngl.create_context(**options).release()
    except Exception as error:  # noqa: BLE001  moderngl raises Exception itself
        reason = f"no OpenGL through EGL: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
