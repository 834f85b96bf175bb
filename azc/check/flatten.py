"""Models as self-contained texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from azc.check.choose import choose_model, choose_space
from azc.check.program import AttentionUse, LayerSpec, ModelSpec, Program, SpaceSpec
from azc.check.resolve import check_source
from azc.diagnostics import DiagnosticError, InternalError
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from azc.syntax.parse import parse

__all__ = ["self_contained", "with_setting"]

_Named = ast.Attention | ast.Model | ast.Space


def self_contained(
    program: Program,
    model_name: str,
    space: str | None = None,
    *,
    called: str | None = None,
) -> str:
    """Return the canonical text of one model with everything it uses, without imports.

    Each attention program occurs once, under the shortest name that a layer of the
    model has for it; unused declarations are left out. Comments and the order of
    declarations are kept.

    Args:
        program: The checked file.
        model_name: The model.
        space: A space whose declaration is included, with the model it starts from.
        called: The name of the model in the text; by default its own.

    Raises:
        UsageError: If the file has no such model or space.
    """
    _, spec = choose_model(program, model_name)
    found: SpaceSpec | None = None
    if space is not None:
        _, found = choose_space(program, space)
    model_name = model_name if called is None else called
    gather = _Gather(program, spec, found.start if found else spec)
    gather.reserve(model_name)
    if space is not None:
        gather.reserve(space)
    gather.model(spec, model_name)
    if space is not None and found is not None:
        gather.space(found, space, spec, model_name)
    text = format_file(gather.file())
    _verify(text, spec, model_name)
    return text


def with_setting(source: Source, model: str, name: str, value: int | bool) -> str:
    """Change one setting of a model in a file.

    Comments stay where they are, and a setting that was not written is added.

    Returns:
        The canonical text of the changed file.

    Raises:
        DiagnosticError: If the changed text does not check.
        UsageError: If the file has no such model.
    """
    choose_model(check_source(source), model)
    made: ast.Value = ast.Number(str(value))
    if isinstance(value, bool):
        made = ast.Boolean(value)
    file = parse(source)
    nodes = tuple(
        _with(each, name, made)
        if isinstance(each, ast.Model) and each.name == model
        else each
        for each in file.declarations
    )
    text = format_file(replace(file, declarations=nodes))
    check_source(replace(source, text=text))
    return text


def _with(model: ast.Model, name: str, value: ast.Value) -> ast.Model:
    """Return the model with a setting changed, or added before all others."""
    items = tuple(
        replace(item, value=value)
        if isinstance(item, ast.Setting) and item.name == name
        else item
        for item in model.items
    )
    if all(setting.name != name for setting in model.settings):
        items = (ast.Setting(name, value), *items)
    return replace(model, items=items)


class _Gather:
    """The declarations of the text, each with a unique name."""

    def __init__(self, program: Program, *models: ModelSpec) -> None:
        self.declared = program.file.declarations
        self.places = {id(each): place for place, each in enumerate(self.declared)}
        self.closing = program.file.comments.closing
        self.taken: set[str] = set()
        self.known_as: dict[int, str] = {}  # by id of the program
        for use in (layer.mixing for model in models for layer in model.layers):
            if isinstance(use, AttentionUse):
                before = self.known_as.setdefault(id(use.program.node), use.name)
                shortest = min(before, use.name, key=len)
                self.known_as[id(use.program.node)] = shortest
        self.programs: dict[int, str] = {}
        self.foreign: list[_Named] = []
        self.own: dict[int, _Named] = {}  # by place in the file

    def reserve(self, name: str) -> None:
        """Reserve a name for a declaration that must have it."""
        self.taken.add(name)

    def fresh(self, name: str) -> str:
        """Return an unused name: `name` itself, or shortened with a number."""
        found, number = name, 1
        while found in self.taken:
            number += 1
            found = f"{name[:90]}_{number}"
        self.taken.add(found)
        return found

    def put(self, original: ast.Declaration, node: _Named) -> None:
        """Add a declaration, at its position if the file itself declares it."""
        place = self.places.get(id(original))
        if place is not None:
            self.own[place] = node
            return
        comments = replace(node.comments, before=_block(node.comments.before))
        self.foreign.append(replace(node, comments=comments))

    def model(self, spec: ModelSpec, name: str) -> None:
        """Add a model under a reserved name, after the programs of its layers."""
        names: dict[str, str] = {}
        for layer in spec.layers:
            if isinstance(layer.mixing, AttentionUse):
                names[layer.mixing.name] = self.attention(layer.mixing)
        node = replace(spec.node, name=name)
        if any(old != new for old, new in names.items()):
            node = replace(node, items=tuple(_renamed(i, names) for i in node.items))
        self.put(spec.node, node)

    def attention(self, use: AttentionUse) -> str:
        """Add a program, once, and return its name."""
        original = use.program.node
        key = id(original)
        if key not in self.programs:
            self.programs[key] = name = self.fresh(self.known_as[key])
            self.put(original, replace(original, name=name))
        return self.programs[key]

    def space(
        self, spec: SpaceSpec, name: str, model: ModelSpec, model_name: str
    ) -> None:
        """Add a space, and the model it starts from unless that is `model`."""
        start = model_name
        if spec.start.node is not model.node:
            written = next(s for s in spec.node.settings if s.name == "start").value
            start = written.id if isinstance(written, ast.Name) else spec.start.name
            start = self.fresh(start)
            self.model(spec.start, start)
        items = tuple(_started(item, start) for item in spec.node.items)
        self.put(spec.node, replace(spec.node, name=name, items=items))

    def file(self) -> ast.File:
        """Build the file: declarations of other files first, then those of this file in
        order.
        """
        nodes = [*self.foreign, *(self.own[place] for place in sorted(self.own))]
        closing: tuple[str, ...] = ()
        if self.own:
            head = self.header()
            if head and self.own.get(0) is not None:
                nodes[nodes.index(self.own[0])] = _without(self.own[0], len(head))
            if head:
                before = (*head, "", *nodes[0].comments.before)
                comments = replace(nodes[0].comments, before=before)
                nodes[0] = replace(nodes[0], comments=comments)
            if len(self.declared) - 1 in self.own:
                closing = self.closing
        return ast.File(tuple(nodes), comments=ast.Comments(closing=closing))

    def header(self) -> tuple[str, ...]:
        """Return the comments at the top of the file that describe the file."""
        first = self.declared[0]
        before = first.comments.before
        own = _block(before)
        head = before[: len(before) - len(own)]
        # If there is no other comment, the one above an import describes the file.
        return head if any(head) or not isinstance(first, ast.Import) else before


def _block(before: tuple[str, ...]) -> tuple[str, ...]:
    """Return the comments directly above a declaration, after the last blank line."""
    blanks = [i for i, line in enumerate(before) if not line]
    return before[blanks[-1] + 1 :] if blanks else before


def _without(node: _Named, lines: int) -> _Named:
    comments = replace(node.comments, before=node.comments.before[lines:])
    return replace(node, comments=comments)


def _started(item: ast.Setting | ast.Block, start: str) -> ast.Setting | ast.Block:
    if not isinstance(item, ast.Setting) or item.name != "start":
        return item
    if not isinstance(item.value, ast.Name) or item.value.id == start:
        return item
    return replace(item, value=replace(item.value, id=start))


def _renamed(
    item: ast.Setting | ast.Layers, names: Mapping[str, str]
) -> ast.Setting | ast.Layers:
    if isinstance(item, ast.Setting):
        return item
    return replace(item, items=_renamed_layers(item.items, names))


def _renamed_layers(
    items: Iterable[ast.LayerItem], names: Mapping[str, str]
) -> tuple[ast.LayerItem, ...]:
    found: list[ast.LayerItem] = []
    for item in items:
        if isinstance(item, ast.Repeat):
            found.append(replace(item, items=_renamed_layers(item.items, names)))
        else:
            found.append(replace(item, name=names.get(item.name, item.name)))
    return tuple(found)


# Verification


def _nameless(layer: LayerSpec) -> LayerSpec:
    mixing = layer.mixing
    if not isinstance(mixing, AttentionUse):
        return layer
    return replace(layer, mixing=AttentionUse("", replace(mixing.program, name="")))


def _verify(text: str, spec: ModelSpec, name: str) -> None:
    """Check that the text has the same model, apart from names.

    Raises:
        InternalError: If it does not.
    """
    try:
        again = check_source(Source(f"{name}.azg", text, own=True)).models[name]
    except DiagnosticError as error:
        message = f"the self-contained text of `{name}` has errors: {error}"
        raise InternalError(message) from error
    layers = [tuple(map(_nameless, each.layers)) for each in (spec, again)]
    bare = replace(spec, name="", layers=()), replace(again, name="", layers=())
    if layers[0] != layers[1] or bare[0] != bare[1]:
        raise InternalError(f"the self-contained text of `{name}` is another model")
