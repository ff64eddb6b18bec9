"""The units of a network: which calls belong together as one layer of the chain X -> T_1 -> ... -> T_L.

A unit begins at a layer with parameters and ends at the last normalisation, activation or pooling after it; a
container through which more than one path leads is one unit as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from infoplane.recording.trace import Call, walk


def recorded_calls(root: Call) -> tuple[list[Call], list[Call]]:
    """The call whose output stands for each unit, from input to output.

    Notes in each call whether it is opened, and in those which block they end.

    Returns:
        These calls, and the layers with parameters whose units have none that could be recorded.
    """
    for call in walk(root):
        call.opened = bool(call.children) and (
            call.parent is None or _is_sequential(call.module) or _is_chain(call)
        )
    _close_blocks(root)
    units = _without_repeats(_units(root))
    picked = [(_head(unit), _recorded(unit, unit is units[-1])) for unit in units]
    for head, end in picked:
        if end and head.children and not f"{head.name}.".startswith(f"{end.name}."):
            end.ends = head.name
    return [call for _, call in picked if call is not None], [head for head, call in picked if call is None]


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_chain(call: Call) -> bool:
    """Whether one path, never branching, leads from the main argument of a container to its output.

    Each child counts as one step: what branches and merges inside it is its own affair. Further arguments (the
    memory of a decoder, a condition) come from the side.
    """
    if not call.results:
        return False
    steps = {
        result: list(dict.fromkeys(child.sources))
        for child in call.children
        for result in child.results
        if result not in child.sources
    }
    # node -> whether the main argument of the container lies behind it
    reaches = {source: source in call.main for source in call.sources}
    stack = [call.results[0]]
    while stack:  # a loop, since the graph may be deeper than Python's recursion limit
        node = stack[-1]
        if node not in steps:
            steps[node] = node.sources
        unseen = [] if node in reaches else [parent for parent in steps[node] if parent not in reaches]
        if unseen:
            stack.extend(unseen)
            continue
        stack.pop()
        if node not in reaches:
            paths = sum(reaches[parent] for parent in steps[node])
            if paths > 1:
                return False
            reaches[node] = paths == 1
    return reaches[call.results[0]]


def _close_blocks(root: Call) -> None:
    """Open no container of a class that branches elsewhere: blocks of one kind are units of one kind."""
    calls = [call for call in walk(root) if call.parent]
    blocks = {type(call.module) for call in calls if call.children and not call.opened}
    blocks |= {type(call.module) for call in calls if _is_block_of_blocks(call, root.module)}
    for call in calls:
        call.opened = call.opened and type(call.module) not in blocks


def _is_block_of_blocks(call: Call, network: nn.Module) -> bool:
    """Whether this is one of several alike in a ModuleList, made of unlike branching parts (as T5's blocks are).

    Attention, then a feed-forward part: what the architecture repeats is the pair.
    """
    stack, _, number = call.name.rpartition(".")
    if not (call.opened and number.isdigit() and call.children):
        return False
    alike = network.get_submodule(stack)
    kinds = [type(child.module) for child in call.children if child.results]
    return (
        isinstance(alike, nn.ModuleList)
        and sum(type(module) is type(call.module) for module in alike) > 1
        and all(child.children and not child.opened for child in call.children if child.results)
        and len(kinds) == len(set(kinds)) > 1
    )


def _is_a(call: Call, *endings: str) -> bool:
    """Whether the class of this, or a base of it, is named so (as a user's own LayerNorm2d is).

    It is a leaf, or has no parameters but its own: a normalisation may hold its activation.
    """
    pattern = re.compile(rf"({'|'.join(endings)})(Act)?(\dd)?$")
    leaf = not any(any(True for _ in child.module.parameters()) for child in call.children)
    return leaf and any(pattern.search(base.__name__) for base in type(call.module).__mro__)


def _is_transparent(call: Call) -> bool:
    return _is_a(call, "Dropout", "StochasticDepth", "Flatten", "Identity", "Permute", "Sequential")


def _is_head(call: Call) -> bool:
    """Whether a unit begins here or, in an opened container, somewhere inside."""
    if call.opened and any(_is_head(child) for child in call.children):
        return True
    if _is_a(call, "Norm", "PReLU"):
        return False
    # The children of an opened container begin no unit: only parameters of its own are left to do so.
    return _has_parameters(call.module, recurse=not call.opened)


def _has_parameters(module: nn.Module, recurse: bool) -> bool:
    """Whether a module has parameters, packed ones of quantised layers too."""
    modules = module.modules() if recurse else [module]
    packed = any(hasattr(one, "_packed_params") for one in modules)
    return packed or any(True for _ in module.parameters(recurse=recurse))


def _is_opened(call: Call) -> bool:
    """Opened and not itself the layer with the parameters (such as a layer that calls its activation)."""
    own = _has_parameters(call.module, recurse=False)
    return call.opened and not (own and not any(_is_head(child) for child in call.children))


def _parts(call: Call) -> Iterator[Call | None]:
    """Leaves and whole blocks in call order; None where a container with units of its own begins."""
    for child in call.children:
        if not child.results:
            continue  # positions, frequencies: constants of the trace
        if _is_opened(child):
            if _is_head(child):
                yield None
            yield from _parts(child)
        elif not _is_transparent(child):
            yield child


def _units(root: Call) -> list[list[Call]]:
    """The parts in groups, each with one layer or block that has parameters.

    What stands before it in its own container belongs to it (norm-activation-convolution), else what follows.
    """
    units: list[list[Call]] = []
    prefix: list[Call] | None = []
    for part in _parts(root):
        if part is None:
            prefix = prefix or []
        elif _is_head(part):
            units.append([*(prefix or []), part])
            prefix = None
        elif prefix is not None:
            prefix.append(part)
        else:
            units[-1].append(part)
    return units


def _without_repeats(units: list[list[Call]]) -> list[list[Call]]:
    """The units, of which those of a layer that is called several times stay only where each builds on the last.

    Of a cell that reads a sequence the last call stays, of an embedding that is used twice the first.
    """
    by_head: dict[str, list[Call]] = {}
    for unit in units:
        head = _head(unit)
        by_head.setdefault(head.name, []).append(head)
    kept: set[int] = set()
    for heads in by_head.values():
        builds = all(_builds_on(after, before) for before, after in pairwise(heads))
        one = heads[0] if heads[0].in_pieces or _is_a(heads[0], "Embedding") else heads[-1]
        kept.update(id(head) for head in (heads if builds and not heads[0].in_pieces else [one]))
    return [unit for unit in units if id(_head(unit)) in kept]


def _builds_on(call: Call, before: Call) -> bool:
    """Whether all that a call is given comes through what another one gave."""
    seen, stack = set(before.results), list(call.sources)
    reached = False
    while stack:
        node = stack.pop()
        reached = reached or node in before.results
        if node in seen:
            continue
        seen.add(node)
        if not node.sources:
            return False
        stack.extend(node.sources)
    return reached


def _head(unit: list[Call]) -> Call:
    return next(call for call in unit if _is_head(call))


def _recorded(unit: list[Call], is_last: bool) -> Call | None:
    """The call whose output stands for the unit."""
    head = _head(unit)

    def allowed(call: Call) -> bool:
        if call.shape is None:
            return False
        if call is head or is_last:
            return True
        pools = ("Pool",) if head.children else ("AdaptiveAvgPool", "AdaptiveMaxPool")
        return not _is_a(call, *pools)

    after = unit[unit.index(head) :]
    best = next((call for call in reversed(after) if allowed(call)), None)
    return best and _enclosing(best, unit, head)


def _enclosing(call: Call, unit: list[Call], head: Call) -> Call:
    """The largest container that ends with the call and holds nothing but its unit, else the call."""
    until = unit[: unit.index(call) + 1]
    container = call.parent
    while container and container.parent and container.shape is not None:
        parts = [part for part in _parts(container) if part]
        if head not in parts or parts != until[-len(parts) :]:
            break
        call, container = container, container.parent
    return call
