"""Runs in the guest parent, and in its guests where each loads the parser anew: makes a module of a parser's files.

Loaded by path (forker.py), like shim.py: it needs the standard library only. What it loads are the bytes that the host
has read and compared; no file of the disk is opened.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from types import CodeType, ModuleType
from typing import Any, Final

CODE_HEAD_BYTES_MAX: Final = 1024 * 1024  # names and sizes of a parser's files
CODE_PLACE: Final = "<parser>"  # stands for its folder on sys.path: no folder of the disk has that name there
PACKAGE: Final = "guest_parser"  # what its folder is called as a package

HOST_PACKAGES: Final = frozenset(
    {"casparian", "cli", "commands", "eventlog", "executors", "parsers", "projections", "reducers", "sinks"}
)


class HostPackagesHidden:
    """Refuse the import of the host's packages, which an installed host shares a folder with."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in HOST_PACKAGES:
            raise ModuleNotFoundError(f"import {name}: it belongs to the host and is not there for parsers", name=name)
        return None


class Code:
    """A parser's Python files as the host has read and compared them. Finds what is imported from beside it.

    `file` is where its entrypoint lies; it is told in traces and never opened. `files` has the bytes by their paths
    from its folder. As an entry of sys.path it is CODE_PLACE, a package of it CODE_PLACE/package.
    """

    def __init__(self, file: str, files: dict[str, bytes], place: str = "") -> None:
        self.file = file
        self.files = files
        self._place = place

    def at(self, path: str) -> Code:
        """Return the finder for an entry of sys.path: what its hooks ask. Raises ImportError for one not ours."""
        if path != CODE_PLACE and not path.startswith(CODE_PLACE + "/"):
            raise ImportError(f"{path} is no folder of the parser's code")
        return Code(self.file, self.files, path[len(CODE_PLACE) + 1 :])

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a module, a package, or a folder without `__init__.py` as the part of a package that it is."""
        stem = "/".join(filter(None, (self._place, name.rpartition(".")[2])))
        for file in (f"{stem}/__init__.py", f"{stem}.py"):
            if file in self.files:
                return self._spec(name, file, package=f"{CODE_PLACE}/{stem}" if file.endswith("/__init__.py") else "")
        if any(file.startswith(f"{stem}/") for file in self.files):
            return self._spec(name, "", package=f"{CODE_PLACE}/{stem}")
        return None

    def folder(self) -> ModuleSpec:
        """Return the entrypoint's folder as a package, which is what a relative import in it names.

        Its `__init__.py` says something of it, unless that is the entrypoint, which is run once.
        """
        own = self.files.keys() - {os.path.basename(self.file)}  # noqa: PTH119 - pathlib is one more import
        return self._spec(PACKAGE, "__init__.py" if "__init__.py" in own else "", package=CODE_PLACE)

    def _spec(self, name: str, file: str, *, package: str) -> ModuleSpec:
        """Return a module, or where `package` says under which entry of sys.path its parts are found, a package."""
        path = os.path.join(os.path.dirname(self.file), file)  # noqa: PTH118, PTH120 - pathlib is one more import
        loader = LoaderOfBytes(name, path, self.files[file]) if file else None
        spec = ModuleSpec(name, loader, origin=path, is_package=bool(package))
        spec.has_location = bool(file)
        if package:
            spec.submodule_search_locations = [package]
        return spec


class LoaderOfBytes(SourceFileLoader):
    """Loads a module from bytes in memory: neither its file nor bytecode beside it, which nobody compared, is read."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._content, self.path, "exec", dont_inherit=True)
        return code

    def get_data(self, path: Any) -> bytes:
        return self._content if path == self.path else super().get_data(path)


def read_code(descriptor: int, file: str) -> Code:
    """Take over the parser's files: a line of JSON with names and sizes, then their bytes (executors/guest/code.py)."""
    with open(descriptor, "rb") as given:
        names = json.loads(given.readline(CODE_HEAD_BYTES_MAX))
        return Code(file, {name: given.read(size) for name, size in names})


def load_parser(code: Code) -> ModuleType:
    """Compile and run the entrypoint as a module of its folder. What is beside it can be imported, ours is hidden.

    Last on the path, so that no file of a parser takes the place of a module that the shim needs. A relative import
    does not ask the path: there a file may have any name.
    """
    sys.dont_write_bytecode = True
    if CODE_PLACE not in sys.path:
        sys.path_hooks.insert(0, code.at)
        sys.path.append(CODE_PLACE)
    sys.argv = [code.file]
    load_folder(code.folder())
    entrypoint = os.path.basename(code.file)  # noqa: PTH119 - pathlib would be one more import
    compiled = compile(code.files[entrypoint], code.file, "exec", dont_inherit=True)
    module = ModuleType(f"{PACKAGE}.{entrypoint.removesuffix('.py')}")
    module.__file__ = code.file
    module.__package__ = PACKAGE
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up, and so may what is beside it
    exec(compiled, module.__dict__)
    return module


def load_folder(spec: ModuleSpec) -> None:
    """Make the package of a parser's folder, and run its `__init__.py` if it has one."""
    package = module_from_spec(spec)
    sys.modules[spec.name] = package
    if isinstance(spec.loader, LoaderOfBytes):
        spec.loader.exec_module(package)
