"""One model of each family of keras.applications, random weights, against Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from lowering_oracle import disagreement

FAMILIES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
    "NASNetMobile": 224,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "InceptionV3": 75,
    "Xception": 71,
    "InceptionResNetV2": 75,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_models_of_keras_applications_agree_with_keras(name: str) -> None:
    size = FAMILIES[name]
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10
    )
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3))

    assert disagreement(model, [image.astype(np.float32)]) < 1e-4
