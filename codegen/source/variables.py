"""Which stored arrays are whose: every owner's variables, however they are stored.

Two schemes exist. Legacy files list each top-level layer's arrays, with those of
nested models flattened. Archives of Keras 2.13 and later have a group per owner, named
after classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from keramos.errors import CompileError, Problem, quoted
from keramos.source.file import Tensor
from keramos.source.layer_tree import Owner

Path = tuple[str, ...]
Chain = tuple[Owner, ...]
# An owner's own variables' names, None where they aren't known.
Expected = Callable[[Owner], tuple[str, ...] | None]
Variables = Mapping[Path, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of every layer: what ``KerasFile.weights`` looks up."""

    where: str
    tree: Owner
    variables: Variables

    def __call__(self, path: Path) -> tuple[Tensor, ...]:
        """Return a layer's weights in the order of Keras' ``layer.weights``."""
        owner = self.tree
        keys: Path = ()
        for key in path:
            part = next((part for part in owner.parts if _is_step(part, key)), None)
            if part is None:
                raise KeyError(f"{self.where} has no layer {'/'.join(path)}")
            owner = part
            keys = (*keys, part.key)
        return self._collected(owner, keys)

    def _collected(self, owner: Owner, path: Path) -> tuple[Tensor, ...]:
        """Return the owner's variables, then those of its parts."""
        own = self.variables.get(path, ())
        parts = tuple(
            tensor
            for part in owner.parts
            for tensor in self._collected(part, (*path, part.key))
        )
        if owner.class_name == "SpectralNormalization":
            # It tracks its layer's kernel itself, before its own vector.
            return (*parts[:1], *own, *parts[1:])
        return (*own, *parts)


def _is_step(part: Owner, key: str) -> bool:
    """Return whether *key* leads to *part*; attributes may be private ones."""
    return key in {part.key, f"_{part.key}"}


def missing(where: str, tree: Owner, variables: Variables) -> list[Problem]:
    """Return a problem for each owner that has variables of which none is stored."""
    problems = []
    for chain in tree.leaves():
        owner = chain[-1]
        path = path_of(chain)
        if owner.own and not variables.get(path):
            problems.append(
                Problem(
                    f"{where}: layer {quoted('/'.join(path))} ({owner.class_name})",
                    f"its weights ({', '.join(owner.own)}) aren't in the file",
                )
            )
    return problems


def path_of(chain: Chain) -> Path:
    """Return the path of the last owner, whose chain begins with the model."""
    return tuple(owner.key for owner in chain[1:])


# -- archives -----------------------------------------------------------------------


def archive_variables(
    tree: Owner, groups: Mapping[str, tuple[Tensor, ...]]
) -> Variables:
    """Return the variables of a file with one group per owner.

    *groups* maps ``layers/dense_1`` to what lies in its ``vars``, and holds an entry
    for every group. Layers shared between models are stored where Keras met them first.
    """
    reader = _Archive(tree, groups)
    reader.collect(tree, "", ())
    return reader.variables


class _Archive:
    """Walks the tree and the groups together."""

    def __init__(self, tree: Owner, groups: Mapping[str, tuple[Tensor, ...]]) -> None:
        """Index the layers that may be stored elsewhere."""
        self.groups = groups
        self.variables: dict[Path, tuple[Tensor, ...]] = {}
        self.stored: dict[tuple[str, str], str] = {}
        self.index(tree, "")

    def index(self, owner: Owner, prefix: str) -> None:
        """Note where each named layer is stored."""
        for part in owner.parts:
            place = self.place(part, prefix)
            if place in self.groups and part.name:
                self.stored.setdefault((part.class_name, part.name), place)
            self.index(part, place)

    def place(self, part: Owner, prefix: str) -> str:
        """Return the group of *part*; attributes may be private ones."""
        place = f"{prefix}/{part.group}" if prefix else part.group
        private = f"{prefix}/_{part.group}" if prefix else f"_{part.group}"
        return private if place not in self.groups and private in self.groups else place

    def collect(self, owner: Owner, prefix: str, path: Path) -> None:
        """Note the variables of *owner* and its parts."""
        own = self.groups.get(prefix, ())
        if owner.class_name == "SpectralNormalization":
            own = own[-1:]  # the first one is its layer's kernel
        elif owner.trainable is None:
            own = (*own, *self.unknown_parts(owner, prefix))
        self.variables[path] = own
        for part in owner.parts:
            place = self.place(part, prefix)
            if place not in self.groups:
                place = self.stored.get((part.class_name, part.name), place)
            self.collect(part, place, (*path, part.key))

    def unknown_parts(self, owner: Owner, prefix: str) -> Iterator[Tensor]:
        """Yield what lies below a custom layer, in the order of Keras' own walk."""
        known = tuple(self.place(part, prefix) for part in owner.parts)
        below = [
            group
            for group in self.groups
            if group.startswith(f"{prefix}/")
            and not any(group == k or group.startswith(f"{k}/") for k in known)
        ]
        for group in sorted(below, key=_walk_order):
            yield from self.groups[group]


def _walk_order(group: str) -> list[tuple[bool, str, int]]:
    """Return a sort key: private attributes last, ``dense_2`` before ``dense_10``."""
    keys = []
    for part in group.split("/"):
        stem, _, number = part.rpartition("_")
        if stem and number.isdigit():
            keys.append((part.startswith("_"), stem, int(number)))
        else:
            keys.append((part.startswith("_"), part, 0))
    return keys


# -- legacy files -------------------------------------------------------------------


def legacy_variables(
    where: str,
    tree: Owner,
    groups: Mapping[str, tuple[Tensor, ...]],
    *,
    expected: Expected,
) -> Variables:
    """Return the variables of a file that lists the arrays of each top-level layer."""
    variables: dict[Path, tuple[Tensor, ...]] = {}
    problems: list[Problem] = []
    for part, tensors in _matched(tree.parts, groups, expected):
        try:
            variables.update(distributed(where, (tree, part), tensors, expected))
        except CompileError as error:
            problems += error.problems
    if problems:
        raise CompileError(problems)
    return variables


def _matched(
    parts: Sequence[Owner],
    groups: Mapping[str, tuple[Tensor, ...]],
    expected: Expected,
) -> Iterable[tuple[Owner, tuple[Tensor, ...]]]:
    """Pair layers and groups: by name, or in order where the names are others.

    Keras goes by order alone; in a file that holds both configuration and weights the
    names agree as well.
    """
    filled = {name: tensors for name, tensors in groups.items() if tensors}
    if filled.keys() <= {part.key for part in parts}:
        return [(part, filled.get(part.key, ())) for part in parts]
    weighted = [part for part in parts if _may_have_weights(part, expected)]
    if len(weighted) == len(filled):
        return list(zip(weighted, filled.values(), strict=True))
    return [(part, filled.get(part.key, ())) for part in parts]


def _may_have_weights(owner: Owner, expected: Expected) -> bool:
    """Return whether the owner or a part of it has variables, as far as is known."""
    return expected(owner) != () or any(
        _may_have_weights(part, expected) for part in owner.parts
    )


def distributed(
    where: str, chain: Chain, tensors: Sequence[Tensor], expected: Expected
) -> dict[Path, tuple[Tensor, ...]]:
    """Return which of *tensors* belong to the last owner of *chain* and to its parts.

    Names decide if they name every owner exactly and give each what it expects; else
    the order, if it fits; else names that TensorFlow has made unique (``conv_1_2``).
    """
    leaves = list(_leaves(chain, expected))
    if len(leaves) <= 1:
        owner = leaves[0] if leaves else chain
        return {path_of(owner): tuple(tensors)} if tensors else {}
    if not tensors:
        return {}
    found = (
        _by_name(leaves, tensors, expected, exact=True)
        or _by_order(chain, tensors, expected)
        or _by_name(leaves, tensors, expected, exact=False)
    )
    if found is None:
        label = quoted("/".join(path_of(chain)))
        raise CompileError.at(
            f"{where}: layer {label} ({chain[-1].class_name})",
            f"its {len(tensors)} arrays don't fit the layers inside it, which have"
            f" {sum(len(expected(leaf[-1]) or ()) for leaf in leaves)} weights",
        )
    return found


def _leaves(chain: Chain, expected: Expected) -> Iterator[Chain]:
    """Yield the chains of the owners that have or may have variables of their own."""
    if expected(chain[-1]) != ():
        yield chain
    for part in chain[-1].parts:
        yield from _leaves((*chain, part), expected)


def _by_name(
    leaves: Sequence[Chain],
    tensors: Sequence[Tensor],
    expected: Expected,
    *,
    exact: bool,
) -> dict[Path, tuple[Tensor, ...]] | None:
    """Return the owner of each array by the layers' names in the array's name."""
    found: dict[Path, list[Tensor]] = {path_of(leaf): [] for leaf in leaves}
    for tensor in tensors:
        scopes = _scopes(tensor.name)
        scores = [(_score(leaf, scopes, exact=exact), leaf) for leaf in leaves]
        best = max(score for score, _ in scores)
        owners = [leaf for score, leaf in scores if score == best]
        if best == NO_MATCH or len(owners) > 1:
            return None
        found[path_of(owners[0])].append(tensor)
    for leaf in leaves:
        names = expected(leaf[-1])
        if names is not None and not _fits(names, found[path_of(leaf)]):
            return None
    return {path: tuple(own) for path, own in found.items()}


NO_MATCH = (-1, 0)


def _score(leaf: Chain, scopes: list[str], *, exact: bool) -> tuple[int, int]:
    """Return how well the names along *leaf* explain *scopes*, the more the better.

    The layer itself (or the wrapper it is a part of) must be among them.
    """
    names = [owner.name for owner in leaf]
    layer = _layer_name(leaf)
    matched = 0
    remaining = scopes
    found = False
    for name in names:
        position = _position(name, remaining, exact=exact)
        if position is None:
            continue
        matched += 1
        remaining = remaining[position + 1 :]
        found = found or name == layer
    return (matched, matched - len(names)) if found else NO_MATCH


def _layer_name(leaf: Chain) -> str:
    """Return the name of the innermost owner that is a layer of a model."""
    for owner in reversed(leaf):
        if owner.group.startswith("layers/"):
            return owner.name
    return leaf[-1].name


def _position(name: str, scopes: list[str], *, exact: bool) -> int | None:
    """Return where *name* stands in *scopes*."""
    for position, scope in enumerate(scopes):
        if scope == name or (not exact and re.sub(r"_\d+$", "", scope) == name):
            return position
    return None


def _scopes(name: str) -> list[str]:
    """Return the names before the variable's own in an array's name."""
    *scopes, last = name.split("/")
    if not scopes:  # Keras 1: conv_W, lstm_1_W_i
        parts = last.split("_")
        return ["_".join(parts[:end]) for end in range(1, len(parts))]
    return [part for scope in scopes for part in (scope,) if part]


def _fits(names: Sequence[str], tensors: Sequence[Tensor]) -> bool:
    """Return whether the arrays are named like the variables expected."""
    return len(names) == len(tensors) and all(
        _is_variable(name, tensor.name)
        for name, tensor in zip(names, tensors, strict=True)
    )


def _is_variable(expected: str, name: str) -> bool:
    """Return whether an array's name ends in a variable's; Keras 3 shortens some."""
    last = re.sub(r"(_\d+)?(:\d+)?(_\d+)?$", "", name.rpartition("/")[2])
    return last.endswith(expected) or expected.endswith(last)


def _by_order(
    chain: Chain, tensors: Sequence[Tensor], expected: Expected
) -> dict[Path, tuple[Tensor, ...]] | None:
    """Return the owner of each array by the order in which Keras writes them."""
    if any(expected(leaf[-1]) is None for leaf in _leaves(chain, expected)):
        return None
    for order in (
        _trainable_first(chain, expected, heed_frozen=True),
        _trainable_first(chain, expected, heed_frozen=False),
        list(_layer_by_layer(chain, expected)),
    ):
        if _fits([name for _, name in order], tensors):
            found: dict[Path, tuple[Tensor, ...]] = {}
            for (path, _), tensor in zip(order, tensors, strict=True):
                found[path] = (*found.get(path, ()), tensor)
            return found
    return None


Order = list[tuple[Path, str]]


def _trainable_first(chain: Chain, expected: Expected, *, heed_frozen: bool) -> Order:
    """Return Keras' order: all trainable variables, then the others."""
    trainable: Order = []
    fixed: Order = []
    _split(chain, expected, trainable, fixed, heed_frozen=heed_frozen, is_frozen=False)
    return trainable + fixed


def _split(  # noqa: PLR0913 -- a recursion's state
    chain: Chain,
    expected: Expected,
    trainable: Order,
    fixed: Order,
    *,
    heed_frozen: bool,
    is_frozen: bool,
) -> None:
    """Append the variables of an owner and its parts to one list or the other."""
    owner = chain[-1]
    is_frozen = heed_frozen and (is_frozen or owner.frozen)
    path = path_of(chain)
    for name in expected(owner) or ():
        is_fixed = is_frozen or name in owner.fixed
        (fixed if is_fixed else trainable).append((path, name))
    for part in owner.parts:
        _split(
            (*chain, part),
            expected,
            trainable,
            fixed,
            heed_frozen=heed_frozen,
            is_frozen=is_frozen,
        )


def _layer_by_layer(chain: Chain, expected: Expected) -> Iterator[tuple[Path, str]]:
    """Yield all variables of each owner before those of the next."""
    for name in expected(chain[-1]) or ():
        yield path_of(chain), name
    for part in chain[-1].parts:
        yield from _layer_by_layer((*chain, part), expected)


def keras2_variables(owner: Owner) -> tuple[str, ...] | None:
    """Return the variables that an owner has since Keras 2."""
    return None if owner.trainable is None else owner.own
