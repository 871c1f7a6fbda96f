"""The doors through which strings and numbers of a model enter emitted text.

Names in a model file are hostile until they have passed one of these functions.
"""

from __future__ import annotations

import builtins
import json
import keyword
import math
import re
import unicodedata
from collections.abc import Iterable

LONGEST_IDENTIFIER = 60
LONGEST_COMMENT = 70

# Names that emitted modules use themselves; a layer's name never shadows them.
RESERVED = frozenset(
    {
        "annotations",
        "bool",
        "c",
        "cls",
        "context",
        "cpu",
        "dataclass",
        "erf",
        "F32",
        "gl",
        "HERE",
        "i",
        "INPUTS",
        "inside",
        "j",
        "json",
        "k",
        "l",
        "main",
        "math",
        "Model",
        "n",
        "np",
        "o",
        "os",
        "out",
        "OUTPUTS",
        "predict",
        "product",
        "resize",
        "scratch",
        "self",
        "sigmoid",
        "stages",
        "swish",
        "sys",
        "tensors",
        "u",
        "v",
        "verify",
        "w",
        "Weights",
        "weights",
        "wide_windows",
        "windows",
        "x",
        "y",
    }
)


def identifier(name: str) -> str:
    """Return *name* as an ASCII identifier of Python, GLSL and JavaScript.

    Never a keyword, a builtin or a name that emitted code uses; never with two
    underscores in a row (reserved in GLSL) or in front. Distinct names may collide:
    see :func:`unique`.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^0-9A-Za-z]+", "_", plain).strip("_").lower()
    words = words[:LONGEST_IDENTIFIER].strip("_") or "unnamed"
    if words[0].isdigit():
        words = f"layer_{words}"
    taken = keyword.iskeyword(words) or keyword.issoftkeyword(words)
    if (
        taken
        or words in RESERVED
        or hasattr(builtins, words)
        or words.startswith("gl_")
    ):
        words = f"{words}_layer"
    return words


def unique(names: Iterable[str]) -> list[str]:
    """Return *names* with ``_2``, ``_3``, ... behind those that came before."""
    used: set[str] = set()
    result = []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        result.append(candidate)
    return result


def literal(value: object) -> str:
    """Return *value* as a Python literal in pure ASCII."""
    if isinstance(value, float) and not math.isfinite(value):
        return "np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf"
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    return ascii(value)


def _escaped(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    return character.encode("unicode_escape").decode()


def comment(name: str) -> str:
    """Return *name* as printable ASCII that ends no comment and no docstring."""
    safe = "".join(c if " " <= c <= "~" and c not in '\\"*/' else "?" for c in name)
    return safe if len(safe) <= LONGEST_COMMENT else f"{safe[:LONGEST_COMMENT]}..."


def glsl_float(value: float) -> str:
    """Return *value* as a float literal of GLSL ES 3.00 that reads back the same.

    There are no literals for infinities and NaN: the largest float stands for an
    infinity, since NaN and infinities don't propagate reliably anyway.
    """
    if math.isnan(value):
        return "uintBitsToFloat(0x7fc00000u)"
    if math.isinf(value):
        return "3.4028234e38" if value > 0 else "-3.4028234e38"
    text = f"{value:.9g}"
    return text if any(c in text for c in ".e") else f"{text}.0"


def js_literal(value: object) -> str:
    """Return *value* as a JavaScript literal that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
