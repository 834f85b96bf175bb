"""Resolution of imports (AZG12x), and the check of whole files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from azc.check.collect import Findings
from azc.check.models import check_model
from azc.check.program import AttentionSpec, ModelSpec, Program, SpaceSpec
from azc.check.spaces import MAX_SPACES, check_space
from azc.check.types import check_attention
from azc.diagnostics import Diagnostic, DiagnosticError, Fix, Note, listed, nearest
from azc.ops.table import load_ops
from azc.resources import stdlib_folder
from azc.source import Source, Span
from azc.syntax import ast
from azc.syntax.parse import (
    MAX_IMPORTED,
    Reading,
    parse,
    read_source,
    read_text,
    unreadable,
)

__all__ = ["check_file", "check_source"]

MAX_FILES = 256
MAX_CHAIN = 64  # files that import one another in a row

_Spec = TypeVar("_Spec", AttentionSpec, ModelSpec)

# The declaration of a name; None if it has errors.
Declared = AttentionSpec | ModelSpec | SpaceSpec | None


@dataclass
class _Unit:
    """The state of one file during a check."""

    source: Source
    path: Path | None
    root: Path | None  # the folder that relative imports stay in
    findings: Findings
    names: dict[str, Declared] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)  # "unknown" after an error
    places: dict[str, Span] = field(default_factory=dict)  # first span of each name
    declared: set[str] = field(default_factory=set)
    lost: frozenset[str] = frozenset()  # words in text that could not be parsed
    broken: bool = False  # the file could not be read at all


class _Session:
    """The files of one check, each checked once."""

    def __init__(self) -> None:
        self.units: dict[Path, _Unit] = {}
        self.order: list[_Unit] = []
        self.open: list[Path] = []  # being checked: importing one is a cycle
        self.findings = Findings()  # holds the limits that all files share
        self.characters = 0
        self.spaces = 0
        self.folders: dict[Path, list[str]] = {}

    def unit(self, source: Source, path: Path | None, root: Path | None) -> _Unit:
        """Add a file to this check."""
        found = _Unit(source, path, root, Findings(other=self.findings))
        self.order.append(found)
        self.characters += len(source.text)
        if path is not None:
            self.units[path] = found
        return found

    def modules(self, folder: Path) -> list[str]:
        """Return the names of azg files in a folder; of a very large folder, only
        some.
        """
        if folder not in self.folders:
            try:
                with os.scandir(folder) as entries:
                    names = [each.name for each in islice(entries, 10_000)]
            except (OSError, ValueError):
                names = []
            found = sorted(n.removesuffix(".azg") for n in names if n.endswith(".azg"))
            self.folders[folder] = found
        return self.folders[folder]


def check_file(path: Path, name: str | None = None) -> Program:
    """Check a file and its imports.

    Args:
        path: The file.
        name: The name of the file in diagnostics; by default the path.

    Raises:
        DiagnosticError: With every error found in the file and its imports.
    """
    source = read_source(path, name)
    return check_source(source, path)


def check_source(source: Source, path: Path | None = None) -> Program:
    """Check a text and its imports.

    Args:
        source: The text.
        path: The file of the text, which relative imports start from.

    Raises:
        DiagnosticError: With every error found in the text and its imports.
    """
    session = _Session()
    resolved = path.resolve() if path else None
    unit = session.unit(source, resolved, resolved.parent if resolved else None)
    if resolved:
        session.open.append(resolved)
    reading = read_text(source, load_ops())
    _check_unit(unit, reading, session)
    errors = [d for each in session.order for d in each.findings.errors]
    if errors or reading.file is None:
        raise DiagnosticError(errors)
    return _program(unit, reading.file)


def _program(unit: _Unit, file: ast.File) -> Program:
    def pick(kind: type) -> Mapping[str, Any]:
        found = {n: v for n, v in unit.names.items() if isinstance(v, kind)}
        return MappingProxyType(found)

    return Program(
        source=unit.source,
        path=unit.path,
        file=file,
        attentions=pick(AttentionSpec),
        models=pick(ModelSpec),
        spaces=pick(SpaceSpec),
        declared=frozenset(unit.declared),
        warnings=tuple(d for d in unit.findings.found if d.severity == "warning"),
    )


def _check_unit(unit: _Unit, reading: Reading, session: _Session) -> None:
    findings = unit.findings
    for diagnostic in (*reading.errors, *reading.warnings):
        findings.add(diagnostic)
    if reading.file is None:
        unit.broken = True
        return
    file, unit.lost = reading.file, reading.lost
    broken = {id(node) for node in reading.broken}
    sound = [node for node in file.declarations if id(node) not in broken]
    for node in sound:
        if isinstance(node, ast.Import):
            _import(node, unit, session)
    programs = {n for n, kind in unit.kinds.items() if kind == "attention"}
    programs.update(node.name for node in sound if isinstance(node, ast.Attention))
    for node in sound:
        if isinstance(node, ast.Attention):
            spec = check_attention(node, findings, programs)
            if _declare(node, "attention", unit):
                unit.names[node.name] = spec
    _unknown(reading.broken, unit)
    attentions = _known(unit, AttentionSpec, "attention")

    def library(name: str) -> Fix | None:
        declared = {getattr(d, "name", None) for d in file.declarations}
        free = name not in declared and name not in unit.names
        return _importing(name, file) if free else None

    for node in sound:
        if isinstance(node, ast.Model):
            model = check_model(node, attentions, findings, library)
            if _declare(node, "model", unit):
                unit.names[node.name] = model
    models = _known(unit, ModelSpec, "model")
    for node in sound:
        if isinstance(node, ast.Space):
            session.spaces += 1
            if session.spaces > MAX_SPACES:
                message = f"more than {MAX_SPACES} spaces in a file and its imports"
                findings.error("AZG508", message, node.name_span)
                break
            space = check_space(node, models, findings)
            if _declare(node, "space", unit):
                unit.names[node.name] = space
    _unused_imports(file, unit)
    findings.found.sort(key=lambda d: d.span.start if d.span else -1)


def _known(unit: _Unit, kind: type[_Spec], word: str) -> dict[str, _Spec | None]:
    """Return the declarations of one kind by name; None for those that have errors or
    may have.
    """
    found: dict[str, _Spec | None] = dict.fromkeys(unit.lost)
    for name, spec in unit.names.items():
        if unit.kinds[name] in (word, "unknown"):
            found[name] = spec if isinstance(spec, kind) else None
    return found


_KINDS = {ast.Attention: "attention", ast.Model: "model", ast.Space: "space"}


def _unknown(broken: tuple[ast.Declaration, ...], unit: _Unit) -> None:
    """Register declarations with syntax errors, so that uses of their names are no
    errors.
    """
    for node in broken:
        kind = _KINDS.get(type(node), "unknown")
        if isinstance(node, ast.Import):
            names = [imported.local for imported in node.names]
        else:
            names = [node.name]
            unit.declared.add(node.name)
        for name in names:
            if name not in unit.names:
                unit.names[name], unit.kinds[name] = None, kind


def _declare(
    node: ast.Attention | ast.Model | ast.Space, kind: str, unit: _Unit
) -> bool:
    if kind == "attention" and node.name == "conv":
        message = "`conv` is the built-in convolution layer; choose another name"
        unit.findings.error("AZG121", message, node.name_span)
        return False
    if node.name in unit.names:
        message = f"`{node.name}` is already declared or imported"
        notes = _first(node.name, unit)
        unit.findings.error("AZG121", message, node.name_span, notes=notes)
        return False
    unit.places[node.name] = node.name_span
    unit.names[node.name] = None
    unit.kinds[node.name] = kind
    unit.declared.add(node.name)
    return True


def _first(name: str, unit: _Unit) -> tuple[Note, ...]:
    """Return a note that shows where the file declares or imports a name."""
    place = unit.places.get(name)
    how = "declared" if name in unit.declared else "imported"
    return () if place is None else (Note(f"`{name}` is {how} here", place),)


# Imports


@cache
def _library() -> frozenset[str]:
    """Return the names of the attention programs of std.attention."""
    file = parse(read_source(stdlib_folder() / "attention.azg"))
    return frozenset(d.name for d in file.declarations if isinstance(d, ast.Attention))


def _importing(name: str, file: ast.File) -> Fix | None:
    """Return the edit that imports a program of std.attention, or None if it has none
    of that name.
    """
    if name not in _library():
        return None
    imports = [d for d in file.declarations if isinstance(d, ast.Import)]
    for node in imports:
        if node.module == "std.attention":
            end = node.names[-1].span.end
            return Fix(replace(node.span, start=end, end=end), f", {name}")
    line = f"from std.attention import {name}"
    if imports:
        end = imports[-1].span.end
        return Fix(replace(imports[-1].span, start=end, end=end), f"\n{line}")
    start = file.declarations[0].span.start
    place = replace(file.declarations[0].span, start=start, end=start)
    return Fix(place, f"{line}\n\n")


def _import(node: ast.Import, unit: _Unit, session: _Session) -> None:
    target = _locate(node, unit, session)
    other = _load(node, target, unit, session) if target else None
    for imported in node.names:
        local = imported.local
        if local in unit.names:
            message = f"`{local}` is already declared or imported"
            help_ = f"give it another name: `{imported.name} as …`"
            notes = _first(local, unit)
            unit.findings.error("AZG121", message, imported.span, help_, notes=notes)
            continue
        unit.places[local] = imported.span
        if other is None or imported.name in other.lost - other.declared:
            # Reported already; uses of the name are not errors of their own.
            unit.names[local] = None
            unit.kinds[local] = "unknown"
        elif imported.name not in other.declared:
            known = [] if unit.findings.full else sorted(other.declared)
            _undeclared(node, imported, known, unit)
            unit.names[local] = None
            unit.kinds[local] = "unknown"
        elif local == "conv" and other.kinds[imported.name] == "attention":
            message = "`conv` is the built-in convolution layer; give it another name"
            unit.findings.error("AZG121", message, imported.span)
        else:
            unit.names[local] = other.names[imported.name]
            unit.kinds[local] = other.kinds[imported.name]


def _undeclared(
    node: ast.Import, imported: ast.ImportName, known: list[str], unit: _Unit
) -> None:
    near = nearest(imported.name, known)
    place = imported.span
    fix: Fix | None = None
    help_ = f"it declares: {listed(known)}" if known else None
    if near:
        end = place.start + len(imported.name)
        fix = Fix(replace(place, end=end), near)
        help_ = f"did you mean `{near}`?"
    message = f"{node.module} declares no `{imported.name}`"
    unit.findings.add(Diagnostic("AZG122", message, place, help_, fix=fix))


def _locate(
    node: ast.Import, unit: _Unit, session: _Session
) -> tuple[Path, Path] | None:
    """Return the file of a module, and the folder that it must be inside."""
    findings = unit.findings
    help_: str | None
    relative = node.module.startswith(".")
    parts = node.module.removeprefix(".").split(".")
    if relative:
        if unit.path is None or unit.root is None:
            message = "a relative import needs a file, but this text has no path"
            findings.error("AZG123", message, node.span)
            return None
        root = unit.root
        path = unit.path.parent.joinpath(*parts).with_suffix(".azg")
    elif parts[0] == "std" and len(parts) > 1:
        root = stdlib_folder().resolve()
        path = root.joinpath(*parts[1:]).with_suffix(".azg")
    else:
        message = f"there is no library `{parts[0]}`"
        help_ = (
            f"to import a file beside this one, write `from .{node.module} import …`"
        )
        if parts[0] == "std":
            message = "`std` is a folder of files; name one of them"
            help_ = "from std.attention import …"
        findings.error("AZG123", message, node.span, help_)
        return None
    try:
        resolved = path.resolve()
        there = resolved.is_file()
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError):  # pathlib raises it for a link to itself
            error = OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        shown = "/".join(parts) + ".azg" if relative else node.module
        (fault,) = unreadable(shown, error).diagnostics
        findings.add(replace(fault, span=node.span))
        return None
    if not resolved.is_relative_to(root):
        message = f"`{node.module}` is outside the folder {root.name}"
        help_ = "imports can't leave the folder of the file that is checked"
        findings.error("AZG124", message, node.span, help_)
        return None
    if not there:
        known = [] if findings.full else session.modules(path.parent)
        known = [each for each in known if path.parent / f"{each}.azg" != unit.path]
        near = nearest(parts[-1], known)
        fix: Fix | None = None
        help_ = None
        if near:
            fix = _renamed_module(node.span, parts[-1], near)
            help_ = f"did you mean `{near}`?" if fix else None
        elif not relative and known:
            help_ = f"the standard library has: {listed(known)}"
        shown = "/".join(parts) + ".azg" if relative else node.module
        message = f"there is no {shown}"
        findings.add(Diagnostic("AZG123", message, node.span, help_, fix=fix))
        return None
    return resolved, root


def _renamed_module(span: Span, old: str, new: str) -> Fix | None:
    """Return the edit that renames the last part of a module's name.

    Return None if the import is not written in the usual form, which is an error of its
    own.
    """
    found = re.search(rf"\b{re.escape(old)}(?=\s+import\b)", span.text)
    if found is None:
        return None
    start, end = found.span()
    return Fix(replace(span, start=span.start + start, end=span.start + end), new)


def _load(
    node: ast.Import, target: tuple[Path, Path], unit: _Unit, session: _Session
) -> _Unit | None:
    path, root = target
    if path in session.open:
        names = [p.stem for p in session.open[session.open.index(path) :]]
        chain = " → ".join([*names, path.stem])
        unit.findings.error("AZG125", f"circular import: {chain}", node.span)
        return None
    if path in session.units:
        known = session.units[path]
        return None if known.broken else known
    if len(session.units) >= MAX_FILES or len(session.open) >= MAX_CHAIN:
        message = f"more than {MAX_FILES} files are imported"
        if len(session.open) >= MAX_CHAIN:
            message = f"imports are nested more than {MAX_CHAIN} files deep"
        unit.findings.error("AZG506", message, node.span)
        return None
    if unit.findings.full:
        return None  # further errors would not be reported
    name = _shown(path, root, unit)
    try:
        source = read_source(path, name)
    except DiagnosticError as error:
        other = session.unit(Source(name, ""), path, root)
        other.broken = True
        for diagnostic in error.diagnostics:
            _place(diagnostic, node, other)
        return None
    other = session.unit(source, path, root)
    if session.characters > MAX_IMPORTED:
        message = f"more than {MAX_IMPORTED:,} characters in a file and its imports"
        unit.findings.error("AZG506", message, node.span)
        other.broken = True
        return None
    session.open.append(path)
    standard = root == stdlib_folder().resolve()
    _check_unit(
        other,
        _read_once(source) if standard else read_text(source, load_ops()),
        session,
    )
    session.open.pop()
    return None if other.broken else other


@lru_cache(maxsize=16)
def _read_once(source: Source) -> Reading:
    """Parse a file of the standard library; it is the same for every program that
    imports it.
    """
    return read_text(source, load_ops())


def _place(diagnostic: Diagnostic, node: ast.Import, unit: _Unit) -> None:
    """Report at the import that an imported file could not be read."""
    unit.findings.add(replace(diagnostic, span=node.span))


def _shown(path: Path, root: Path, unit: _Unit) -> str:
    """Return the name of an imported file in diagnostics, relative to the importing
    file's.
    """
    if root == stdlib_folder().resolve():
        return f"std/{path.relative_to(root)}"
    if unit.path is None or not path.is_relative_to(unit.path.parent):
        return str(path)
    return str(Path(unit.source.name).parent / path.relative_to(unit.path.parent))


def _unused_imports(file: ast.File, unit: _Unit) -> None:
    used: set[str] = set()
    for node in file.declarations:
        if isinstance(node, ast.Model):
            used.update(_layer_names(node.layers))
        elif isinstance(node, ast.Space):
            values = [s.value for s in node.settings]
            used.update(v.id for v in values if isinstance(v, ast.Name))
    # A file that only imports re-exports names for other files: none of them is unused.
    if not used:
        return
    for node in file.declarations:
        if isinstance(node, ast.Import):
            for imported in node.names:
                kind = unit.kinds.get(imported.local)
                if imported.local not in used and kind == "attention":
                    message = f"`{imported.local}` is imported but not used"
                    unit.findings.warn("AZG120", message, imported.span)


def _layer_names(items: tuple[ast.LayerItem, ...]) -> set[str]:
    found: set[str] = set()
    for item in items:
        if isinstance(item, ast.Repeat):
            found |= _layer_names(item.items)
        else:
            found.add(item.name)
    return found
