"""Time packages in Chromium beside other engines, in turn on one page: medians in ms.

    npm install @tensorflow/tfjs onnxruntime-web keras-js       in some folder
    python tests/bench/pages.py FOLDER/node_modules [NETWORK...] [--profile software]
        [--engine "keramos wasm" ...]

Needs Keras. Weights are random, and batch norms folded: what TF.js is fastest with.
Samplers of Keras.js get the precision that they lack, else its numbers are wrong on
some drivers; it has no depthwise convolution, hence no MobileNet. First predictions
are timed on pages of their own, shader caches off.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from peers import write
from web.browser import FLAGS, GPU, GPUS, served

from keramos.plan.layout import Profile
from keramos.plan.profile import PROFILES

HERE = Path(__file__).parent
# TF.js makes functions of text.
POLICY = "default-src 'self' 'unsafe-eval'"
ENGINES = (
    *("keramos webgl2", "keramos wasm", "keramos cpu"),
    *("tfjs webgl", "tfjs expconv", "tfjs cpu", "ort webgl", "kerasjs gpu"),
    "kerasjs cpu",
)
# What the others are compared with.
BASE = "tfjs webgl"
PEERS = (
    "@tensorflow/tfjs/dist/tf.min.js",
    "onnxruntime-web/dist/ort.webgl.min.js",
    "keras-js/dist/keras.min.js",
)


def digits(keras: Any) -> Any:
    """Return the network."""
    layers = keras.layers
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, activation="relu")(image)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def mobilenet(keras: Any) -> Any:
    """Return the network."""
    layers = keras.layers
    image = keras.Input((128, 128, 3))
    relu = {"padding": "same", "activation": "relu"}
    x = layers.Conv2D(8, 3, strides=2, **relu)(image)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    filters = (16, 32, 32, 64, 64, *(128,) * 6, 256, 256)
    for stride, count in zip(strides, filters, strict=True):
        x = layers.DepthwiseConv2D(3, strides=stride, **relu)(x)
        x = layers.Conv2D(count, 1, **relu)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, activation="softmax")(x))


def fire(layers: Any, x: Any, squeeze: int, expand: int) -> Any:
    """Return SqueezeNet's block."""
    x = layers.Conv2D(squeeze, 1, activation="relu")(x)
    left = layers.Conv2D(expand, 1, activation="relu")(x)
    right = layers.Conv2D(expand, 3, padding="same", activation="relu")(x)
    return layers.Concatenate()([left, right])


def squeezenet(keras: Any) -> Any:
    """Return the network."""
    layers = keras.layers
    image = keras.Input((112, 112, 3))
    x = layers.Conv2D(64, 3, strides=2, activation="relu")(image)
    for squeezes in (((16, 64),) * 2, ((32, 128),) * 2, (48, 192), (64, 256)):
        x = layers.MaxPooling2D(3, 2)(x)
        pairs = squeezes if isinstance(squeezes[0], tuple) else (squeezes,) * 2
        for squeeze, expand in pairs:
            x = fire(layers, x, squeeze, expand)
    x = layers.Conv2D(1000, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Activation("softmax")(x))


def resnet(keras: Any) -> Any:
    """Return the network."""
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    same = {"padding": "same"}
    x = layers.Conv2D(32, 3, activation="relu", **same)(image)
    for count, stride in ((32, 1), (64, 2), (128, 2)):
        for block in range(2):
            step = stride if block == 0 else 1
            y = layers.Conv2D(count, 3, strides=step, activation="relu", **same)(x)
            y = layers.Conv2D(count, 3, **same)(y)
            if step != 1:
                x = layers.Conv2D(count, 1, strides=step, **same)(x)
            x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


NETWORKS = (digits, mobilenet, squeezenet, resnet)


def prepare(
    name: str, build: Callable[[Any], Any], site: Path, *, profile: Profile
) -> None:
    """Write a network as a package, and as the other engines read it."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    import keramos

    model = build(keras)
    randomise(model)
    path = site / f"{name}.h5"
    model.save(path)
    keramos.compile_model(path, site, name=name, profile=profile)
    write(model, site / name)


def randomise(model: Any) -> None:
    """Fill the kernels so that numbers keep their size from layer to layer."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        for weight in layer.weights:
            shape: tuple[int, ...] = tuple(weight.shape)
            if len(shape) > 1:
                depthwise = type(layer).__name__ == "DepthwiseConv2D"
                reads = shape[:-2] if depthwise else shape[:-1]
                scale = np.sqrt(2 / np.prod(reads))
                numbers = random.standard_normal(weight.shape) * scale
                weight.assign(numbers.astype(np.float32))


def opened(playwright: Any, address: str, gpu: GPU) -> Any:
    """Return a browser without a shader cache, on the page of this benchmark."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=FLAGS + GPUS[gpu],
        env={**os.environ, "MESA_SHADER_CACHE_DISABLE": "true"},
    )
    page: Page = browser.new_page()
    page.set_default_timeout(0)
    page.goto(f"{address}/pages.html")
    page.wait_for_function("() => window.bench")
    return browser


def measure(
    place: tuple[str, str], gpu: GPU, *, rounds: int, engines: Sequence[str]
) -> dict[str, Any]:
    """Return first predictions, medians and the largest difference by engine."""
    address, name = place
    first = {}
    with sync_playwright() as playwright:
        for engine in engines:
            browser = opened(playwright, address, gpu)
            page = browser.contexts[0].pages[0]
            first[engine] = page.evaluate(
                "([n, e]) => bench.first(n, e)", [name, engine]
            )
            browser.close()
        browser = opened(playwright, address, gpu)
        page = browser.contexts[0].pages[0]
        result: dict[str, Any] = page.evaluate(
            "([n, engines, rounds]) => bench.compare(n, engines, rounds)",
            [name, engines, rounds],
        )
        browser.close()
    return {"first": first, **result}


def main() -> None:
    """Print a row per network and engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", type=Path)
    parser.add_argument("--gpu", choices=sorted(GPUS), default="llvmpipe")
    parser.add_argument("--profile", choices=PROFILES, default="gpu")
    parser.add_argument("--rounds", type=int, default=11)
    help_text = "the only engine beside tfjs webgl; may stand repeatedly"
    parser.add_argument("--engine", choices=ENGINES, action="append", help=help_text)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        site = Path(folder)
        for page in ("pages.html", "pages.js"):
            shutil.copyfile(HERE / page, site / page)
        for peer in PEERS:
            path = options.modules / peer
            shutil.copyfile(path, site / path.name)
        with served(site, policy=POLICY) as address:
            for build in NETWORKS:
                name = build.__name__
                if options.networks and name not in options.networks:
                    continue
                prepare(name, build, site, profile=options.profile)
                engines = [
                    engine
                    for engine in ENGINES
                    if options.engine is None or engine in (*options.engine, BASE)
                    if "kerasjs" not in engine or (site / name / "keras.bin").exists()
                ]
                row = measure(
                    (address, name), options.gpu, rounds=options.rounds, engines=engines
                )
                report(name, row)


def report(name: str, row: Mapping[str, Any]) -> None:
    """Print what was measured for a network."""
    base = row["median"][BASE]
    for engine in row["median"]:
        median, first = row["median"][engine], row["first"][engine]
        sys.stdout.write(
            f"{name:11} {engine:15} {median:8.1f} ms  {median / base:5.2f}  "
            f"first {first:7.0f} ms  differs {row['difference'][engine]:.0e}\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
