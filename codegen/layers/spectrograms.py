"""Spectrograms: the Fourier transform of windows, as a convolution.

y[i, f] = sum over u of x[i s + u] w[u] e^(-2 pi i f u / n).
"""

from __future__ import annotations

import math

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call, where
from keramos.graph import Array, Constant, Value, constant, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, channels_first, channels_last, shape_text
from keramos.layers.registry import layer
from keramos.primitives import Spec

SMALLEST = 1e-7  # keras.config.epsilon()
STFT_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


@layer("STFTSpectrogram")
class STFTSpectrogram(Layer):
    """The spectrum of each window of a signal, by kernels that are weights."""

    def __init__(self, definition: Definition) -> None:
        """Read the windows, and what of the spectrum is given."""
        super().__init__(definition)
        self.mode = definition.choice("mode", STFT_MODES, "log")
        self.length = definition.positive("frame_length", 256)
        self.step = self.length // 2
        if definition.option("frame_step") is not None:
            self.step = definition.positive("frame_step", 1)
        size = 2 ** math.ceil(math.log2(self.length))
        if definition.option("fft_length") is not None:
            size = definition.positive("fft_length", size)
        self.frequencies = size // 2 + 1
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.expand = definition.boolean("expand_dims", default=False)
        self.channels_first = definition.channels_first()
        # The kernels hold what these say.
        for name in ("window", "periodic", "scaling"):
            definition.option(name)

    def call(self, inputs: Value) -> Value:
        """Return the spectrum: (steps, channels, frequencies), then as asked for."""
        if len(inputs.shape) != len("tc"):
            raise self.definition.refusal(
                f"takes 3 axes, not an input of shape {shape_text(inputs)}"
            )
        x = channels_last(inputs) if self.channels_first else inputs
        real = self._part(x, "real_kernel") if self.mode != "imag" else x
        imaginary = self._part(x, "imag_kernel") if self.mode != "real" else x
        match self.mode:
            case "real":
                y = real
            case "imag":
                y = imaginary
            case "angle":
                y = elementwise(_angle, imaginary, real)
            case "stft":
                y = ops.concatenate([real, imaginary], -1)
            case _:
                y = self._power(real, imaginary)
        return self._arranged(y)

    def _part(self, x: Value, name: str) -> Value:
        """Return the convolution of each channel with one of the kernels."""
        shape = (self.length, 1, self.frequencies)
        kernel = ops.expand_dims(self.definition.weight(name, shape), 1)
        signal = ops.expand_dims(x, -1)
        return ops.conv(signal, kernel, strides=(self.step, 1), padding=self.padding)

    def _power(self, real: Value, imaginary: Value) -> Value:
        """Return the power, magnitude or logarithm of the spectrum."""
        power = elementwise(lambda a, b: a * a + b * b, real, imaginary)
        if self.mode == "psd":
            # All but the first and the last frequency stand for two.
            return power + ops.pad(power[:, :, 1:-1], [(0, 0), (0, 0), (1, 1)])
        size = elementwise(lambda p: call("sqrt", call("max", p, SMALLEST)), power)
        if self.mode == "magnitude":
            return size
        return elementwise(lambda s: call("log", call("max", s, SMALLEST)), size)

    def _arranged(self, y: Value) -> Value:
        """Return (steps, channels, frequencies) in the layout asked for."""
        steps, channels, frequencies = y.shape
        if self.expand:
            return ops.transpose(y, (1, 0, 2) if self.channels_first else (0, 2, 1))
        joint = ops.reshape(y, (steps, (channels or 0) * (frequencies or 0)))
        return channels_first(joint) if self.channels_first else joint


def _angle(y: Expr, x: Expr) -> Expr:
    """Return the angle of (x, y), from -pi to pi."""
    half = math.pi / 2
    upper = where(y >= 0.0, math.pi, -math.pi)
    ratio = call("atan", y / x)
    beside = where(x < 0.0, ratio + upper, ratio)
    above = where(y > 0.0, half, where(y < 0.0, -half, 0.0))
    return where(call("eq", x, 0.0), above, beside)


@layer("MelSpectrogram")
class MelSpectrogram(Layer):
    """The power of mel bands in decibels: (bands, steps) for a signal.

    ``top_db`` counts from the highest of the sample: Keras takes that of the batch, so
    that there a sample's result depends on its neighbours.
    """

    def __init__(self, definition: Definition) -> None:
        """Read the windows, the bands, and the scale."""
        super().__init__(definition)
        self.size = definition.positive("fft_length", 2048)
        self.stride = definition.positive("sequence_stride", 512)
        self.length = self.size
        if definition.option("sequence_length") is not None:
            self.length = definition.positive("sequence_length", 1)
        self.rate = definition.number("sampling_rate", 16000)
        self.bands = definition.positive("num_mel_bins", 128)
        self.lowest = definition.number("min_freq", 20.0)
        self.highest = definition.optional_number("max_freq") or int(self.rate / 2)
        self.decibels = definition.boolean("power_to_db", default=True)
        self.top = definition.number("top_db", 80.0)
        self.exponent = definition.number("mag_exp", 2.0)
        self.least = definition.number("min_power", 1e-10)
        self.reference = definition.number("ref_power", 1.0)
        self.window = definition.option("window", "hann")
        if self.window not in (None, "hann", "hamming"):
            definition.note(
                f"window is {quoted(self.window)}, which MelSpectrogram doesn't have",
                "use 'hann' or 'hamming'",
            )
            self.window = "hann"

    def call(self, inputs: Value) -> Value:
        """Return the bands."""
        if len(inputs.shape) != 1:
            raise self.definition.refusal(
                f"takes 2 axes, not an input of shape {shape_text(inputs)}"
            )
        half = self.size // 2
        # Mirrored at both ends, which themselves stand once.
        padded = ops.concatenate(
            [inputs[half:0:-1], inputs, inputs[-2 : -half - 2 : -1]], 0
        )
        kernels = (self.size, 1, 2 * (self.size // 2 + 1))
        frames = ops.conv(
            ops.expand_dims(padded, -1),
            constant(Constant(Spec(kernels), self._kernels), name=""),
            strides=self.stride,
        )
        real, imaginary = ops.split(frames, 2)
        power = elementwise(
            lambda a, b: call("pow", call("sqrt", a * a + b * b), self.exponent),
            real,
            imaginary,
        )
        mel = ops.matmul(power, ops.constant(self._bands()))
        if self.decibels:
            mel = self._in_decibels(mel)
        return ops.transpose(mel)

    def _in_decibels(self, power: Value) -> Value:
        """Return the level, not lower than *top* below the sample's highest."""
        reference = 10 * math.log10(max(abs(self.reference), self.least))
        level = elementwise(
            lambda p: call("log", call("max", p, self.least)) * (10 / math.log(10))
            - reference,
            power,
        )
        # Keras takes the highest of the batch: here a sample is its own batch.
        return ops.maximum(level, ops.max(level, keepdims=True) - self.top)

    def _kernels(self) -> Array:
        """Return windowed cosines and sines: (window, 1, 2 frequencies)."""
        n = np.arange(self.length)
        cosine = np.cos(2 * np.pi * n / self.length)
        window = {
            "hann": 0.5 - 0.5 * cosine,
            "hamming": 0.54 - 0.46 * cosine,
            None: np.ones(self.length),
        }[self.window]
        before = (self.size - self.length) // 2
        whole = np.zeros(self.size)
        whole[before : before + self.length] = window
        phase = np.outer(np.arange(self.size), np.arange(self.size // 2 + 1))
        angle = 2 * np.pi * (phase % self.size) / self.size
        waves = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
        kernels: Array = (whole[:, None] * waves)[:, None, :].astype(np.float32)
        return kernels

    def _bands(self) -> Array:
        """Return the weight of each frequency in each band: triangles on the mel scale.

        HTK's scale, 1127 log(1 + f / 700), whose first frequency has no weight.
        """
        count = self.size // 2 + 1
        frequencies = np.linspace(0, self.rate / 2, count)[1:, None]
        mel = 1127.0 * np.log(1 + frequencies / 700.0)
        low, high = (
            1127.0 * np.log(1 + f / 700.0) for f in (self.lowest, self.highest)
        )
        edges = np.linspace(low, high, self.bands + 2)
        rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
        weights: Array = np.zeros((count, self.bands), np.float32)
        weights[1:] = np.maximum(0, np.minimum(rising, falling))
        return weights
