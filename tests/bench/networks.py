"""Time whole networks on a GPU: milliseconds, draws, programs, texture memory.

    python tests/bench/networks.py compile FOLDER [NAME...]    needs Keras
    python tests/bench/networks.py run FOLDER [--repeat N]     needs moderngl only
    python tests/bench/networks.py stages FOLDER/NETWORK       the longest stages

Weights are random and made where the networks run: the time doesn't depend on them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from executor import device, load

BATCHES = (1, 8)
WARM_UP = 1.0  # seconds


@dataclass(frozen=True)
class Random:
    """Constants of a plan, filled with small random numbers."""

    arrays: dict[str, Any]


def models() -> dict[str, Callable[[], Any]]:
    """Return the networks by name."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers

    applications = keras.applications

    def digits() -> Any:
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(16, 3, activation="relu"),
                layers.Conv2D(16, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(64, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        )

    def fire(x: Any, squeeze: int, expand: int) -> Any:
        x = layers.Conv2D(squeeze, 1, activation="relu")(x)
        left = layers.Conv2D(expand, 1, activation="relu")(x)
        right = layers.Conv2D(expand, 3, padding="same", activation="relu")(x)
        return layers.Concatenate()([left, right])

    def squeezenet() -> Any:
        image = keras.Input((224, 224, 3))
        x = layers.Conv2D(64, 3, strides=2, activation="relu")(image)
        x = layers.MaxPooling2D(3, 2)(x)
        for squeeze, expand in ((16, 64), (16, 64)):
            x = fire(x, squeeze, expand)
        x = layers.MaxPooling2D(3, 2)(x)
        for squeeze, expand in ((32, 128), (32, 128)):
            x = fire(x, squeeze, expand)
        x = layers.MaxPooling2D(3, 2)(x)
        for squeeze, expand in ((48, 192), (48, 192), (64, 256), (64, 256)):
            x = fire(x, squeeze, expand)
        x = layers.Conv2D(1000, 1, activation="relu")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(image, layers.Softmax()(x))

    def lstm() -> Any:
        tokens = keras.Input((80,), dtype="int32")
        x = layers.Embedding(10_000, 128)(tokens)
        x = layers.LSTM(128)(x)
        return keras.Model(tokens, layers.Dense(1, activation="sigmoid")(x))

    return {
        "digits": digits,
        "squeezenet": squeezenet,
        "mobilenetv2": lambda: applications.MobileNetV2(weights=None),
        "resnet50": lambda: applications.ResNet50(weights=None),
        "densenet121": lambda: applications.DenseNet121(weights=None),
        "efficientnetb0": lambda: applications.EfficientNetB0(weights=None),
        "lstm80": lstm,
        "transformer": lambda: transformer(blocks=1),
        "transformer4": lambda: transformer(blocks=4),
        "groupnorm": groupnorm,
    }


def transformer(*, blocks: int) -> Any:
    """Return so many blocks of attention and two Dense layers, each normalised."""
    import keras
    from keras import layers

    tokens = keras.Input((64, 128))
    x = tokens
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 32)(y, y)])
        y = layers.LayerNormalization()(x)
        y = layers.Dense(256, activation="gelu")(y)
        x = layers.Add()([x, layers.Dense(128)(y)])
    return keras.Model(tokens, x)


def groupnorm() -> Any:
    """Return a residual block of normalised groups."""
    import keras
    from keras import layers

    image = keras.Input((32, 32, 64))
    x = image
    for _ in range(2):
        x = layers.GroupNormalization(8)(x)
        x = layers.Activation("swish")(x)
        x = layers.Conv2D(64, 3, padding="same")(x)
    return keras.Model(image, layers.Add()([image, x]))


@contextmanager
def unfused() -> Iterator[None]:
    """Let plans compute node by node, each into a texture of its own."""
    from keramos.plan import gl
    from keramos.plan.joins import Joins
    from keramos.plan.prepare import prepare

    with (
        patch.object(gl, "pooled", lambda _: ()),
        patch.object(gl, "joins", lambda *_: Joins({}, {}, {})),
        patch.object(gl, "prologues", lambda *_, **__: {}),
        patch.object(gl, "prepare_fused", lambda graph, **_: prepare(graph)),
        patch.object(gl, "schedule", lambda body, **_: tuple(body.nodes)),
    ):
        yield


def compile_networks(folder: Path, names: list[str]) -> None:
    """Write the gl files of each network and batch, fused and plain.

    Plain is layer by layer, one channel block at a time, weights from textures.
    """
    from keramos.emit.gl import emit_gl
    from keramos.importer import import_model
    from keramos.passes import optimise
    from keramos.plan.names import constant_names
    from keramos.plan.profile import limits
    from keramos.source import read

    fused = limits(16384)
    simple = replace(fused, draw_buffers=1, uniform_blocks=0)
    for name, build in models().items():
        if names and name not in names:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.h5"
        build().save(path)
        graph = import_model(read(path))
        kinds = (("fused", optimise(graph), fused), ("plain", graph, simple))
        for kind, variant, allowed in kinds:
            for batch in BATCHES:
                with unfused() if kind == "plain" else nullcontext():
                    gl = emit_gl(
                        variant,
                        names=constant_names(variant),
                        limits=allowed,
                        batch=batch,
                        where=name,
                    )
                out = folder / f"{name}-{kind}-{batch}"
                for file, data in gl.files.items():
                    (out / file).parent.mkdir(parents=True, exist_ok=True)
                    (out / file).write_bytes(data)
        path.unlink()
        sys.stdout.write(f"{name}: compiled\n")


def constants(plan: dict[str, Any]) -> Random:
    """Return random numbers for each constant of *plan*."""
    rng = np.random.default_rng(0)
    sizes: dict[str, int] = {}
    for entry in plan["constants"] + plan["buffers"]:
        size = math.prod(entry["view"])
        runs = entry.get("joined") or [(entry["tensor"], size)]
        rows = size // sum(run for _, run in runs)
        sizes |= {name: rows * run for name, run in runs}
    return Random(
        {
            name: rng.uniform(-0.05, 0.05, size).astype(np.float32)
            for name, size in sizes.items()
        }
    )


def run_networks(folder: Path, repeat: int) -> None:
    """Print a line per network: wall and GPU milliseconds, median of *repeat*."""
    gl = load()
    context = device()
    columns = "load s   wall ms   gpu ms  us/draw  draws programs texture MB"
    sys.stdout.write(f"{'network':26s} {columns}\n")
    for out in sorted(path for path in folder.iterdir() if path.is_dir()):
        plan = json.loads((out / "shaders" / "plan.json").read_text())
        tensors = constants(plan)
        start = time.perf_counter()
        executor = gl.Executor(out, tensors, context=context)
        inputs = [
            np.zeros((plan["batch"], *entry["shape"]), np.float32)
            for entry in plan["inputs"]
        ]
        executor.run(inputs)
        loading = time.perf_counter() - start
        # A GPU that was idle runs slower at first.
        while time.perf_counter() - start < loading + WARM_UP:
            executor.run(inputs)
        wall, busy, issue = [], [], []
        for _ in range(repeat):
            start = time.perf_counter()
            query = context.query(time=True)
            with query:
                executor.run(inputs)
            wall.append(time.perf_counter() - start)
            busy.append(query.elapsed / 1e9)
            with executor._drawing():
                start = time.perf_counter()
                for function, arguments in executor._all:
                    function(*arguments)
                issue.append(time.perf_counter() - start)
                context.finish()
        executor.release()
        draws = sum(
            (
                len(step["draws"])
                if "draws" in step
                else step["steps"] * sum(len(stage["draws"]) for stage in step["body"])
            )
            for step in plan["steps"]
        )
        count = len(plan["programs"])
        sys.stdout.write(
            f"{out.name:26s} {loading:6.2f} {_median(wall):9.2f} {_median(busy):8.2f}"
            f" {_median(issue) / draws * 1e3:8.2f} {draws:6d} {count:8d}"
            f" {plan['texture_bytes'] / 1e6:10.1f}\n"
        )
        sys.stdout.flush()


def time_stages(folder: Path, repeat: int) -> None:
    """Print the GPU time of each stage of one compiled network, the longest first."""
    context = device()
    plan = json.loads((folder / "shaders" / "plan.json").read_text())
    executor = load().Executor(folder, constants(plan), context=context)
    inputs = [
        np.zeros((plan["batch"], *entry["shape"]), np.float32)
        for entry in plan["inputs"]
    ]
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP:
        executor.run(inputs)
    rows = []
    for stage, step in zip(executor._stages, plan["steps"], strict=True):
        times = []
        for _ in range(repeat):
            query = context.query(time=True)
            with executor._drawing(), query:
                executor._draw(stage)
            times.append(query.elapsed / 1e9)
        rows.append((_median(times), stage, step))
    total = sum(row[0] for row in rows)
    sys.stdout.write(f"{folder.name}: {total:.3f} ms in stages\n")
    for ms, stage, step in sorted(rows, key=lambda row: -row[0])[:14]:
        program = plan["programs"][step["program"]] if "program" in step else {}
        sys.stdout.write(
            f"{ms:8.3f} ms {stage.name:34s} {step.get('shape')!s:18s} "
            f"{len(stage.draws)} draws {stage.draws[0].viewport[2:]} "
            f"{program.get('outputs')} outputs, {program.get('blocks')} blocks\n"
        )
    executor.release()


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[math.ceil(len(seconds) / 2) - 1] * 1e3


def main() -> None:
    """Compile or run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["compile", "run", "stages"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--repeat", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.command == "compile":
        compile_networks(arguments.folder, arguments.names)
    elif arguments.command == "stages":
        time_stages(arguments.folder, arguments.repeat)
    else:
        run_networks(arguments.folder, arguments.repeat)


if __name__ == "__main__":
    main()
