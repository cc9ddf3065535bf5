"""The compiled form of the relay and the interpreted one are of one source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgenode.steering import FORM, form

COMPILABLE = [path.stem for path in form.sources().values() if path.suffix == ".py"]


def declared(module: str) -> dict[str, tuple[set[str], dict[str, list[str]]]]:
    """Each class of a .pxd file: its attributes, and its methods' parameters."""
    classes: dict[str, tuple[set[str], dict[str, list[str]]]] = {}
    attributes: set[str] = set()
    methods: dict[str, list[str]] = {}
    for line in (form.HERE / f"{module}.pxd").read_text().splitlines():
        if found := re.match(r"cdef class (\w+)", line):
            attributes, methods = classes[found[1]] = set(), {}
        elif found := re.match(r" +cp?def .*?(\w+)\((.*)\)", line):
            parameters = (part.partition("=")[0].split() for part in found[2].split(","))
            methods[found[1]] = [words[-1] for words in parameters]
        elif found := re.match(r" +cdef .*?(\w+)$", line):
            attributes.add(found[1])
    return classes


def assigned(node: ast.ClassDef) -> set[str]:
    """The attributes that a class gives itself."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    }


@pytest.mark.parametrize("module", COMPILABLE)
def test_what_a_pxd_declares_is_what_the_class_has(module: str) -> None:
    tree = ast.parse((form.HERE / f"{module}.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name, (attributes, methods) in declared(module).items():
        assert attributes == assigned(classes[name]), f"{name} in {module}.pxd and {module}.py"
        functions = {
            node.name: [argument.arg for argument in node.args.args]
            for node in classes[name].body
            if isinstance(node, ast.FunctionDef)
        }
        assert methods == {one: functions.get(one) for one in methods}, f"{name} in {module}.pxd"


def imported(**environment: str) -> subprocess.CompletedProcess[str]:
    code = "from edgenode.steering import FORM, timers; print(FORM, timers.__file__)"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(form.HERE.parents[1]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_form_that_is_asked_for_runs_or_nothing_does() -> None:
    name, _, file = imported(EDGENODE_STEERING="interpreted").stdout.strip().partition(" ")
    assert (name, Path(file).suffix) == ("interpreted", ".py")
    asked = imported(EDGENODE_STEERING="compiled")
    if FORM == form.COMPILED or form.result().is_dir():
        name, _, file = asked.stdout.strip().partition(" ")
        assert (name, Path(file).suffix) == ("compiled", ".so")
    else:
        assert "none is there that fits the sources" in asked.stderr
    assert "may be compiled or interpreted" in imported(EDGENODE_STEERING="c").stderr


def test_what_does_not_fit_the_sources_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(form.VARIABLE, raising=False)
    for name, text in (("a.pxd", ""), ("a.py", "x = 1"), ("b.py", ""), ("compile.py", "")):
        (tmp_path / name).write_text(text)
    assert form.sources(tmp_path) == {"a": tmp_path / "a.py"}
    place = form.result(tmp_path)
    place.mkdir(parents=True)
    search = [str(tmp_path)]
    assert form.choose(search, tmp_path) == form.COMPILED
    assert search == [str(place), str(tmp_path)]
    for name, text in (("a.py", "x = 2"), ("a.pxd", "#"), ("a.pyx", "x = 1"), ("compile.py", "#")):
        before = form.result(tmp_path)
        (tmp_path / name).write_text(text)
        assert form.result(tmp_path) != before
        search = [str(tmp_path)]
        assert form.choose(search, tmp_path) == form.INTERPRETED
        assert search == [str(tmp_path)]
