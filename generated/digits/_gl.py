"""Run precompiled fragment programs: OpenGL 3.3 through moderngl.

``shaders/plan.json`` says which textures, programs and draws there are, and whether
there are plans for larger devices; everything is created once, at load. A run uploads
inputs, replays the draws and reads outputs.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import moderngl
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

HEADER = "#version 330\n"
VERTEX = """#version 330
void main() {
    vec2 corner = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
"""

FRAMEBUFFER = 0x8D40
COLOR_ATTACHMENT0 = 0x8CE0
FRAMEBUFFER_COMPLETE = 0x8CD5
TEXTURE0 = 0x84C0
TEXTURE_2D_ARRAY = 0x8C1A
UNIFORM_BUFFER = 0x8A11
TRIANGLES = 0x0004
# How a plan names what texels are made of, and how moderngl and NumPy do.
FORMATS: Mapping[str, tuple[str, type[np.generic]]] = {
    "F32": ("f4", np.float32),
    "F16": ("f2", np.float16),
    "U8": ("u1", np.uint8),
}
LANES = 4
# The byte that stands for zero.
MIDDLE = 128
UNIFORMS = ("first", "moment", "origin", "sizes")
NEEDED = (
    "GL_MAX_TEXTURE_SIZE",
    "GL_MAX_ARRAY_TEXTURE_LAYERS",
    "GL_MAX_DRAW_BUFFERS",
    "GL_MAX_UNIFORM_BLOCK_SIZE",
)


class DeviceError(RuntimeError):
    """There is no OpenGL context, or its limits are below the compiled ones."""


class TensorSource(Protocol):
    """Where the weights come from."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the tensors by name."""
        ...


class _Resource(Protocol):
    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Packing:
    """How an array ``(n, d, h, w, c)`` becomes ``(layers, height, width, 4)``."""

    view: tuple[int, ...]
    padded: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]
    size: tuple[int, int, int, int]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Return the recipe of a plan's entry."""
        fields = ("view", "padded", "split", "order", "size")
        return cls(*(tuple(entry[name]) for name in fields))

    def pack(self, array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
        """Return the texels of *array*, without a copy where they lie like that."""
        whole = array.reshape(self.view)
        if self.padded != self.view:
            widths = zip(self.padded, self.view, strict=True)
            zero = MIDDLE if dtype is np.uint8 else 0
            whole = np.pad(whole, [(0, p - v) for p, v in widths], constant_values=zero)
        texels = whole.reshape(self.split).transpose(self.order).reshape(self.size)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(texels, dtype)

    def unpack(self, texels: F32) -> F32:
        """Return the array ``(n, d, h, w, c)`` that the texels hold."""
        digits = texels.reshape([self.split[axis] for axis in self.order])
        whole = digits.transpose(np.argsort(self.order)).reshape(self.padded)
        array: F32 = whole[tuple(slice(v) for v in self.view)]
        return array


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor that goes in or comes out: where it lies and its shape.

    *origin* is the ``(x, y, layer)`` of its first texel.
    """

    texture: int
    shape: tuple[int, ...]
    packing: Packing
    origin: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Return a plan's input, output or stage result."""
        origin = entry.get("origins", [(0, 0, 0)])[0]
        shape, packing = tuple(entry["shape"]), Packing.read(entry)
        return cls(entry["texture"], shape, packing, tuple(origin))


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw call, with every GL name resolved.

    *blocks* are buffers, offsets and sizes in bytes for uniform blocks 0, 1, ...
    *uniforms* are locations and values of integers, *origin* is the location of where
    the first texel lies, the *corner*, and *places* that of the *sizes*.
    """

    program: int
    textures: tuple[int, ...]
    framebuffer: int
    viewport: tuple[int, int, int, int]
    corner: tuple[int, int]
    blocks: tuple[tuple[int, int, int], ...]
    uniforms: tuple[tuple[int, int], ...]
    origin: int
    places: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """The draws that give one named result; a loop's are those of all its steps."""

    name: str
    draws: tuple[Draw, ...]
    result: Port | None


# A GL function and its arguments.
Call = tuple[Callable[..., Any], tuple[Any, ...]]


class _Functions:
    """The OpenGL functions that moderngl doesn't offer."""

    def __init__(self) -> None:
        uint, sint = ctypes.c_uint, ctypes.c_int
        find = _finder()

        def function(
            name: str, *types: Any, result: Any = None  # noqa: ANN401 - ctypes types
        ) -> Callable[..., Any]:
            address = find(name)
            if not address:
                raise DeviceError(f"this OpenGL driver has no {name}")
            return ctypes.CFUNCTYPE(result, *types)(address)

        names = ctypes.POINTER(uint)
        self.active_texture = function("glActiveTexture", uint)
        size = ctypes.c_ssize_t
        self.bind_buffer_range = function(
            "glBindBufferRange", uint, uint, uint, size, size
        )
        self.bind_framebuffer = function("glBindFramebuffer", uint, uint)
        self.bind_texture = function("glBindTexture", uint, uint)
        self.bind_vertex_array = function("glBindVertexArray", uint)
        self.check = function("glCheckFramebufferStatus", uint, result=uint)
        self.delete_framebuffers = function("glDeleteFramebuffers", sint, names)
        self.draw_arrays = function("glDrawArrays", uint, sint, sint)
        self.draw_buffers = function("glDrawBuffers", sint, names)
        self.attach = function(
            "glFramebufferTextureLayer", uint, uint, uint, sint, sint
        )
        self.gen_framebuffers = function("glGenFramebuffers", sint, names)
        self.uniform1i = function("glUniform1i", sint, sint)
        self.uniform1iv = function("glUniform1iv", sint, sint, ctypes.POINTER(sint))
        self.uniform2i = function("glUniform2i", sint, sint, sint)
        self.use_program = function("glUseProgram", uint)
        self.viewport = function("glViewport", sint, sint, sint, sint)


def _finder() -> Callable[[str], int | None]:
    """Return the window system's look-up of GL functions for the current context."""
    candidates = (
        ("EGL", "eglGetProcAddress"),
        ("GLX", "glXGetProcAddressARB"),
        ("GL", "glXGetProcAddressARB"),
        ("opengl32", "wglGetProcAddress"),
    )
    for library, symbol in candidates:
        path = ctypes.util.find_library(library) or f"lib{library}.so.1"
        try:
            lookup = getattr(ctypes.CDLL(path), symbol)
        except (OSError, AttributeError):
            continue
        lookup.restype = ctypes.c_void_p
        lookup.argtypes = [ctypes.c_char_p]
        return lambda name, lookup=lookup: lookup(name.encode())  # type: ignore[misc]
    raise DeviceError("found no EGL, GLX or WGL library to look up OpenGL functions")


class Executor:
    """The model on one OpenGL context.

    Without *context*, a standalone one is created through EGL, or the platform's own
    way where there is no EGL. Raises DeviceError where that fails.
    """

    def __init__(
        self,
        folder: Path,
        tensors: TensorSource,
        *,
        context: object | None = None,
        shaders: str = "shaders",
    ) -> None:
        """Create every texture, program and framebuffer of the plan in *shaders*."""
        self._owned = context is None
        self._context = _open(context)
        self._framebuffers: dict[tuple[tuple[tuple[int, int], ...], int], int] = {}
        self._resources: list[_Resource] = []
        try:
            with self._current():
                self.plan = _choose(folder / shaders, self._context.info)
                self.batch: int = self.plan["batch"]
                self._load(self.plan, folder / shaders, tensors)
        except BaseException:
            self.release()
            raise

    def _load(
        self, plan: Mapping[str, Any], folder: Path, tensors: TensorSource
    ) -> None:
        context = self._context
        self.renderer = str(context.info["GL_RENDERER"])
        self._gl = _Functions()
        self._formats = [FORMATS[kind] for *_, kind in plan["textures"]]
        self._textures = [_texture(context, entry) for entry in plan["textures"]]
        self._resources += self._textures
        for entry in plan["constants"]:
            array = _numbers(entry, tensors.arrays)
            self._write(entry["texture"], Packing.read(entry), array)
        self._buffers = [
            self._buffer(entry, _numbers(entry, tensors.arrays))
            for entry in plan["buffers"]
        ]
        self._programs = [
            _program(context, folder / entry["file"], entry)
            for entry in plan["programs"]
        ]
        self._resources += self._programs
        self._array = context.vertex_array(self._programs[0], [])
        self._resources.append(self._array)
        self._outputs_of = [entry["outputs"] for entry in plan["programs"]]
        self._stages = [
            self._loop(entry) if "body" in entry else self._stage(entry)
            for entry in plan["steps"]
        ]
        self._all = self._calls(d for stage in self._stages for d in stage.draws)
        self._inputs = [Port.read(entry) for entry in plan["inputs"]]
        self._outputs = [Port.read(entry) for entry in plan["outputs"]]

    def _buffer(
        self, entry: Mapping[str, Any], kernel: NDArray[Any]
    ) -> tuple[int, int, int]:
        """Return a uniform buffer's name, the bytes of a block, and blocks per draw."""
        numbers = (
            kernel.astype(np.float32) - MIDDLE if kernel.dtype == np.uint8 else kernel
        )
        packed = Packing.read(entry).pack(numbers, np.float32)
        buffer = self._context.buffer(packed)
        self._resources.append(buffer)
        return buffer.glo, entry["block"], entry["blocks"]

    def _stage(self, entry: Mapping[str, Any]) -> Stage:
        draws = self._draws(entry, moment=0, swap={})
        return Stage(entry["name"], draws, Port.read(entry))

    def _loop(self, entry: Mapping[str, Any]) -> Stage:
        """Return every step's draws; states are read and written in turn."""
        pairs = entry["states"]
        exchange = dict(pairs) | {b: a for a, b in pairs}
        order = range(entry["steps"])
        moments = reversed(order) if entry["reverse"] else order
        draws: list[Draw] = []
        for count, moment in enumerate(moments):
            swap = exchange if count % 2 else {}
            for stage in entry["body"]:
                draws += self._draws(stage, moment=moment, swap=swap)
        return Stage(entry["name"], tuple(draws), None)

    def _draws(
        self, entry: Mapping[str, Any], *, moment: int, swap: Mapping[int, int]
    ) -> tuple[Draw, ...]:
        program = self._programs[entry["program"]]
        locations = [
            uniform.location if isinstance(uniform, moderngl.Uniform) else -1
            for uniform in map(program.get, UNIFORMS, [None] * len(UNIFORMS))
        ]
        x, y, layer = entry["origins"][moment] if "origins" in entry else (0, 0, 0)
        _, height, width, _ = entry["size"]
        # Of each target, the texture and the layer where this step begins.
        targets = [
            (swap.get(texture, texture), layer + pace * moment)
            for texture, pace in entry.get("targets") or [(entry["texture"], 0)]
        ]
        names = [self._textures[swap.get(t, t)].glo for t in entry["textures"]]
        outputs = self._outputs_of[entry["program"]]
        blocks: list[tuple[tuple[int, int, int], ...]] = [()] * len(entry["draws"])
        if "buffer" in entry:
            name, size, count = self._buffers[entry["buffer"]]
            blocks = [
                tuple((name, (k * count + j) * size, size) for j in range(count))
                for k in range(len(blocks))
            ]
        return tuple(
            Draw(
                program=program.glo,
                textures=tuple(names),
                framebuffer=self._framebuffer(
                    [(t, z + first + j) for t, z in targets for j in range(count)],
                    outputs,
                ),
                viewport=(x, y + start, width, rows),
                corner=(x, y),
                blocks=blocks[k],
                uniforms=tuple(
                    (location, value)
                    for location, value in zip(locations, (first, moment), strict=False)
                    if location >= 0
                ),
                origin=locations[2],
                places=locations[3],
                sizes=tuple(entry["sizes"]),
            )
            for k, (first, count) in enumerate(entry["draws"])
            for start, rows in entry.get("strips") or [(0, height)]
        )

    def _framebuffer(self, layers: Sequence[tuple[int, int]], outputs: int) -> int:
        """Return a framebuffer with *layers*, as (texture, layer), attached."""
        key = (tuple(layers), outputs)
        if key in self._framebuffers:
            return self._framebuffers[key]
        gl, name = self._gl, ctypes.c_uint()
        gl.gen_framebuffers(1, ctypes.byref(name))
        gl.bind_framebuffer(FRAMEBUFFER, name.value)
        count = len(layers)
        for k, (texture, layer) in enumerate(layers):
            glo = self._textures[texture].glo
            gl.attach(FRAMEBUFFER, COLOR_ATTACHMENT0 + k, glo, 0, layer)
        targets = [COLOR_ATTACHMENT0 + k if k < count else 0 for k in range(outputs)]
        gl.draw_buffers(outputs, (ctypes.c_uint * outputs)(*targets))
        status = gl.check(FRAMEBUFFER)
        self._framebuffers[key] = name.value
        if status != FRAMEBUFFER_COMPLETE:
            raise DeviceError(f"this device can't render to {count} float textures")
        return name.value

    def _write(self, texture: int, packing: Packing, array: NDArray[Any]) -> None:
        texels = packing.pack(array, self._formats[texture][1])
        layers, height, width, _ = packing.size
        box = (0, 0, 0, width, height, layers)
        self._textures[texture].write(texels, viewport=box)

    def _read(self, port: Port) -> F32:
        texture = self._textures[port.texture]
        width, height, layers = texture.size
        texels = np.frombuffer(texture.read(), self._formats[port.texture][1])
        whole = texels.reshape(layers, height, width, LANES)
        (x, y, layer), used = port.origin, port.packing.size
        part = whole[layer : layer + used[0], y : y + used[1], x : x + used[2]]
        array = port.packing.unpack(np.ascontiguousarray(part, np.float32))
        return array.reshape(-1, *port.shape)

    def _upload(self, inputs: Sequence[F32]) -> None:
        for port, x in zip(self._inputs, inputs, strict=True):
            self._write(port.texture, port.packing, x)

    def _draw(self, stage: Stage) -> None:
        for function, arguments in self._calls(stage.draws):
            function(*arguments)

    def _calls(self, draws: Iterable[Draw]) -> list[Call]:
        """Return the GL calls of *draws*, less those that change nothing.

        Nothing is known of the state before the first draw.
        """
        known: dict[object, object] = {}
        calls: list[Call] = []
        for draw in draws:
            for key, value, setting in self._state(draw):
                if known.get(key) != value:
                    known[key] = value
                    calls += setting
            calls.append((self._gl.draw_arrays, (TRIANGLES, 0, 3)))
        return calls

    def _state(self, draw: Draw) -> Iterator[tuple[object, object, list[Call]]]:
        """Yield what *draw* needs: what is set, to what, and the calls that set it."""
        gl, program = self._gl, draw.program
        yield "program", program, [(gl.use_program, (program,))]
        for unit, texture in enumerate(draw.textures):
            select = (gl.active_texture, (TEXTURE0 + unit,))
            bind = (gl.bind_texture, (TEXTURE_2D_ARRAY, texture))
            yield ("unit", unit), texture, [select, bind]
        for slot, block in enumerate(draw.blocks):
            where = (UNIFORM_BUFFER, slot, *block)
            yield ("block", slot), block, [(gl.bind_buffer_range, where)]
        for location, value in draw.uniforms:
            yield (program, location), value, [(gl.uniform1i, (location, value))]
        if draw.sizes:
            numbers = (ctypes.c_int * len(draw.sizes))(*draw.sizes)
            given = (draw.places, len(draw.sizes), numbers)
            yield (program, draw.places), draw.sizes, [(gl.uniform1iv, given)]
        if draw.origin >= 0:
            moved = (gl.uniform2i, (draw.origin, *draw.corner))
            yield (program, draw.origin), draw.corner, [moved]
        yield "viewport", draw.viewport, [(gl.viewport, draw.viewport)]
        target = (FRAMEBUFFER, draw.framebuffer)
        yield "framebuffer", target, [(gl.bind_framebuffer, target)]

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context current; one of the caller's own already is."""
        if not self._owned:
            yield
            return
        with self._context:
            yield

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Set the state that draws need, and give it back as moderngl knows it."""
        with self._current():
            context = self._context
            context.disable(moderngl.BLEND | moderngl.DEPTH_TEST | moderngl.CULL_FACE)
            self._gl.bind_vertex_array(self._array.glo)
            try:
                yield
            finally:
                if context.fbo is not None:
                    context.fbo.use()

    def _chunks(self, inputs: Sequence[F32]) -> Iterator[tuple[list[F32], int]]:
        """Yield the inputs in pieces of the compiled batch, the last one padded."""
        n = len(inputs[0])
        for start in range(0, n, self.batch):
            count = min(self.batch, n - start)
            piece = [x[start : start + count] for x in inputs]
            if count < self.batch:
                missing = self.batch - count
                piece = [
                    np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
                    for x in piece
                ]
            yield piece, count

    def run(
        self, inputs: Sequence[F32], places: Sequence[int] | None = None
    ) -> list[F32]:
        """Return the outputs for inputs ``(n, ...)``, both in the model's order.

        With *places* only those outputs are read.
        """
        outputs = self._outputs
        if places is not None:
            outputs = [outputs[place] for place in places]
        parts: list[list[F32]] = [[] for _ in outputs]
        for piece, count in self._chunks(inputs):
            with self._drawing():
                self._upload(piece)
                for function, arguments in self._all:
                    function(*arguments)
                for part, port in zip(parts, outputs, strict=True):
                    part.append(self._read(port)[:count])
        return [
            np.concatenate(part) if part else np.zeros((0, *port.shape), np.float32)
            for part, port in zip(parts, outputs, strict=True)
        ]

    def stages(self, inputs: Sequence[F32]) -> Iterator[tuple[str, F32]]:
        """Yield the name and the result of each stage, for one batch of inputs.

        Loops have states and sequences, but no result of their own.
        """
        for piece, count in self._chunks(inputs):
            with self._drawing():
                self._upload(piece)
            for stage in self._stages:
                with self._drawing():
                    self._draw(stage)
                    if stage.result is None:
                        continue
                    result = self._read(stage.result)[:count]
                yield stage.name, result
            return

    @property
    def texture_bytes(self) -> int:
        """Return the size of the textures on the device."""
        total = 0
        for texture, (_, dtype) in zip(self._textures, self._formats, strict=True):
            width, height, layers = texture.size
            total += width * height * layers * LANES * np.dtype(dtype).itemsize
        return total

    def release(self) -> None:
        """Free what was created; a context of the caller's own stays open."""
        framebuffers = getattr(self, "_framebuffers", {})
        for name in framebuffers.values():
            self._gl.delete_framebuffers(1, ctypes.byref(ctypes.c_uint(name)))
        framebuffers.clear()
        if hasattr(self, "_array"):
            self._array.release()
        for resource in [
            *getattr(self, "_programs", []),
            *getattr(self, "_textures", []),
        ]:
            resource.release()
        if self._owned:
            self._context.release()


def _open(context: object | None) -> moderngl.Context:
    if isinstance(context, moderngl.Context):
        return context
    if context is not None:
        raise TypeError(
            f"context must be a moderngl.Context, not {type(context).__name__}"
        )
    reasons = []
    backends: tuple[dict[str, Any], ...] = ({"backend": "egl"}, {})
    for options in backends:
        try:
            return moderngl.create_standalone_context(require=330, **options)
        except Exception as error:  # noqa: BLE001 - each backend has its own
            reasons.append(str(error))
    raise DeviceError(f"no OpenGL 3.3 context: {'; '.join(reasons)}")


def _choose(folder: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan with the highest limits that the device satisfies."""
    lowest: dict[str, Any] = json.loads((folder / "plan.json").read_text("utf-8"))
    for name in lowest["higher"]:
        plan: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
        if not _lacking(plan, info):
            return plan
    lacking = _lacking(lowest, info)
    if lacking:
        raise DeviceError(
            f"{info['GL_RENDERER']} is too small for this package: {'; '.join(lacking)}"
        )
    return lowest


def _lacking(plan: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """Return the limits of the device that are below what the plan needs."""
    sizes = plan["textures"]
    needed = (
        max(max(width, height) for width, height, _, _ in sizes),
        max(layers for _, _, layers, _ in sizes),
        max(entry["outputs"] for entry in plan["programs"]),
        max((entry["block"] for entry in plan["buffers"]), default=0),
    )
    return [
        f"{name[3:]} is {info[name]}, needed {need}"
        for name, need in zip(NEEDED, needed, strict=True)
        if name in info and info[name] < need
    ]


def _numbers(
    entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    """Return the numbers of a constant: a tensor's, or those of several side by side.

    Of each that is joined, so many stand in each row.
    """
    if "tensor" in entry:
        return arrays[entry["tensor"]]
    rows = [arrays[name].reshape(-1, run) for name, run in entry["joined"]]
    return np.concatenate(rows, axis=1)


def _texture(context: moderngl.Context, entry: Sequence[Any]) -> moderngl.TextureArray:
    width, height, layers, kind = entry
    size, dtype = (width, height, layers), FORMATS[kind][0]
    texture = context.texture_array(size, LANES, dtype=dtype)
    texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
    texture.repeat_x = texture.repeat_y = False
    return texture


def _program(
    context: moderngl.Context, path: Path, entry: Mapping[str, Any]
) -> moderngl.Program:
    text = HEADER + path.read_text("utf-8")
    try:
        program = context.program(vertex_shader=VERTEX, fragment_shader=text)
    except moderngl.Error as error:
        raise DeviceError(f"{path.name} doesn't compile: {error}") from error
    for unit in range(entry["samplers"]):
        sampler = program.get(f"t{unit}", None)
        if isinstance(sampler, moderngl.Uniform):
            sampler.value = unit
    for slot in range(entry["blocks"]):
        block = program.get(f"K{slot}", None)
        if isinstance(block, moderngl.UniformBlock):
            block.binding = slot
    return program
