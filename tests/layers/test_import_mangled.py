"""Configurations with nonsense in them are refused in lines, or compiled: no crash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from lowering_oracle import model_of

from keramos.errors import CompileError
from keramos.importer import import_model
from keramos.source import KerasFile, Tensor, parse_model

LAYERS = [
    (layers.Dense(3, activation="relu"), (4,)),
    (layers.Conv2D(3, 2), (6, 5, 4)),
    (layers.Conv2DTranspose(3, 2), (6, 5, 4)),
    (layers.SeparableConv1D(3, 2), (6, 4)),
    (layers.AveragePooling1D(2), (6, 4)),
    (layers.BatchNormalization(), (6, 4)),
    (layers.Softmax(), (4, 2)),
    (layers.Reshape((12,)), (4, 3)),
    (layers.ZeroPadding2D(1), (4, 3, 2)),
    (layers.UpSampling2D(2), (4, 3, 2)),
    (layers.Embedding(5, 3), (4,)),
    (layers.LSTM(3), (4, 3)),
    (layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), (4, 3)),
    (layers.Bidirectional(layers.GRU(3)), (4, 3)),
    (layers.TimeDistributed(layers.Dense(3)), (4, 3)),
    (layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), (4, 3)),
    (layers.GroupNormalization(1), (4, 3)),
    (layers.Resizing(3, 4), (5, 6, 2)),
    (layers.Discretization([0.0, 1.0]), (3,)),
    (layers.STFTSpectrogram(frame_length=8), (40, 2)),
]
NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 10**12, 1e300, float("nan"), "x", "\x00", [], {}]),
    st.lists(st.integers(-2, 9), max_size=5),
    st.just({"class_name": "Dense", "config": {}}),
    st.just([[1]]),
)


def places(config: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path to every option, also inside others."""
    for name, value in config.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *rest) for rest in places(value))


def documents() -> list[tuple[dict[str, Any], dict[str, tuple[Tensor, ...]]]]:
    """Return the configuration and the weights of a model for each layer."""
    pairs = []
    for layer, shape in LAYERS:
        model = model_of(layer, shape)
        tensors = tuple(
            Tensor("w", w.shape, "float32", partial(np.asarray, w))
            for w in layer.weights
        )
        pairs.append((json.loads(model.to_json()), {layer.name: tensors}))
    return pairs


DOCUMENTS = documents()


@settings(max_examples=300)
@given(number=st.integers(0, len(LAYERS) - 1), data=st.data(), nonsense=NONSENSE)
def test_nonsense_in_an_option_is_no_crash(
    number: int, data: st.DataObject, nonsense: object
) -> None:
    original, weights = DOCUMENTS[number]
    document = json.loads(json.dumps(original))
    config = document["config"]["layers"][-1]["config"]
    path = data.draw(st.sampled_from(sorted(places(config))))
    for name in path[:-1]:
        config = config[name]
    config[path[-1]] = nonsense

    refused = False
    try:
        file = KerasFile(
            path=Path("m.h5"),
            format="hdf5",
            keras_version="3.15.0",
            sha256="",
            model=parse_model(document),
            layer_weights=lambda each: (
                weights.get(each[0], ()) if len(each) == 1 else ()
            ),
        )
        import_model(file)
    except CompileError as error:
        refused = all(str(problem).isprintable() for problem in error.problems)
    else:
        refused = True

    assert refused
