"""Spectrograms: signals cut into frames, and each frame's frequencies."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keramos.runtime_min.interpreter.convolution import convolution
from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.windows import padded

SMALLEST = 1e-7

# The mel scale of HTK: mel(f) = 1127 ln(1 + f / 700).
MEL_FACTOR = 1127.0
MEL_BREAK = 700.0


def window(name: str, length: int) -> Array:
    """Return a periodic window."""
    share = {"hann": 0.5, "hamming": 0.54}[name]
    angles = 2 * np.pi * np.arange(length) / length
    return np.asarray(share - (1 - share) * np.cos(angles))


@layer("STFTSpectrogram")
class STFTSpectrogram(Layer):
    """Short-time Fourier transform, as a convolution with stored waves."""

    def __init__(self, definition: Definition) -> None:
        """Read the waves and what to make of them."""
        super().__init__(definition)
        modes = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
        self.mode = definition.choice("mode", modes, "log")
        length = definition.count("frame_length", 256)
        self.step = definition.option("frame_step", None) or length // 2
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.expand_dims = definition.boolean("expand_dims", default=False)
        self.channels_first = definition.channels_first()
        shape = (length, 1, None)
        self.real = self.imaginary = np.zeros((length, 1, 1), self.dtype)
        if self.mode != "imag":
            self.real = definition.weight("real kernel", shape)
        if self.mode != "real":
            self.imaginary = definition.weight("imaginary kernel", shape)

    def call(self, inputs: Array) -> Array:
        """Return the spectra of every channel."""
        signals = inputs if self.channels_first else np.swapaxes(inputs, 1, 2)
        spectra = self._of_waves(self._waves(signals, self.real), signals)
        if not self.expand_dims:
            n, channels, steps, frequencies = spectra.shape
            spectra = np.swapaxes(spectra, 2, 3)
            flat = spectra.reshape(n, channels * frequencies, steps)
            return flat if self.channels_first else np.swapaxes(flat, 1, 2)
        return spectra if self.channels_first else np.moveaxis(spectra, 1, -1)

    def _of_waves(self, real: Array, signals: Array) -> Array:
        """Return (batch, channels, steps, frequencies) as the mode has it."""
        imaginary = self._waves(signals, self.imaginary)
        power: Array = real**2 + imaginary**2
        match self.mode:
            case "real":
                return real
            case "imag":
                return imaginary
            case "angle":
                return np.asarray(np.arctan2(imaginary, real))
            case "stft":
                return np.concatenate([real, imaginary], -1)
            case "psd":
                # All frequencies but the first and the last stand for two.
                power[..., 1:-1] *= 2
                return power
        magnitude: Array = np.sqrt(np.maximum(power, SMALLEST))
        if self.mode == "log":
            return np.asarray(np.log(np.maximum(magnitude, SMALLEST)))
        return magnitude

    def _waves(self, signals: Array, kernel: Array) -> Array:
        """Return (batch, channels, steps, frequencies): each frame times each wave."""
        n, channels, length = signals.shape
        rows = signals.reshape(n * channels, length, 1)
        rows = padded(rows, self.padding, kernel.shape[:1], (self.step,), (1,))
        waves = convolution(rows, kernel, (self.step,), (1,))
        return waves.reshape(n, channels, *waves.shape[1:])


@layer("MelSpectrogram")
class MelSpectrogram(Layer):
    """Power of bands that widen as hearing does, in decibels if asked for."""

    def __init__(self, definition: Definition) -> None:
        """Read the transform, the bands and the scale."""
        super().__init__(definition)
        self.fft_length = definition.count("fft_length", 2048)
        self.stride = definition.count("sequence_stride", 512)
        length = definition.option("sequence_length", None) or self.fft_length
        self.power_to_db = definition.boolean("power_to_db", default=True)
        self.top_db = definition.number("top_db", 80.0)
        self.exponent = definition.number("mag_exp", 2.0)
        self.least = definition.number("min_power", 1e-10)
        self.reference = definition.number("ref_power", 1.0)
        self.window = self._padded_window(int(length))
        self.bands = self._band_matrix()

    def _padded_window(self, length: int) -> Array:
        """Return the window in the middle of the transform's length."""
        name = plain(self.definition.option("window", "hann"))
        if name is None:
            values = np.ones(length)
        elif isinstance(name, str):
            values = window(
                self.definition.choice("window", ("hann", "hamming")), length
            )
        else:
            values = np.asarray(name, np.float64)
        before = (self.fft_length - length) // 2
        behind = self.fft_length - length - before
        return np.pad(values, (before, behind)).astype(self.dtype)

    def _band_matrix(self) -> Array:
        """Return (frequencies, bands): triangles that overlap on the mel scale."""
        rate = self.definition.count("sampling_rate", 16000)
        count = self.definition.count("num_mel_bins", 128)
        lowest = self.definition.number("min_freq", 20.0)
        highest = self.definition.option("max_freq", None) or int(rate / 2)
        frequencies = np.linspace(0, rate / 2, self.fft_length // 2 + 1)[1:, None]
        mels = MEL_FACTOR * np.log(1 + frequencies / MEL_BREAK)
        ends = MEL_FACTOR * np.log(1 + np.array([lowest, highest]) / MEL_BREAK)
        edges = np.linspace(ends[0], ends[1], count + 2)
        lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
        rising = (mels - lower) / (centre - lower)
        falling = (upper - mels) / (upper - centre)
        triangles = np.maximum(0, np.minimum(rising, falling))
        return np.pad(triangles, ((1, 0), (0, 0))).astype(self.dtype)

    def call(self, inputs: Array) -> Array:
        """Return (..., bands, frames)."""
        half = self.fft_length // 2
        pads = [(0, 0)] * (inputs.ndim - 1) + [(half, half)]
        signal = np.pad(inputs, pads, mode="reflect")
        frames = sliding_window_view(signal, self.fft_length, -1)
        frames = frames[..., :: self.stride, :] * self.window
        spectrum = np.abs(np.fft.rfft(frames)).astype(self.dtype)
        power = spectrum**self.exponent @ self.bands
        if self.power_to_db:
            power = self._decibels(power)
        return np.swapaxes(power, -1, -2)

    def _decibels(self, power: Array) -> Array:
        """Return 10 log10(power / reference), at most so far below the batch's top."""
        reference = 10 * np.log10(max(abs(self.reference), self.least))
        levels = 10 * np.log10(np.maximum(power, self.least)) - reference
        top = np.max(levels, initial=-np.inf)
        return np.asarray(np.maximum(levels, top - self.top_db).astype(self.dtype))
