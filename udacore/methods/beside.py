"""Imports of a plugin file from its own folder.

Only the file itself, and what it imports from there, sees that folder: `sys.path` stays as it is, and the
modules have private names, so that two files may each have a `helpers.py` beside them.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import machinery
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PREFIX = "udacore_beside_"
OURS = ("udacore", "torch", "torchvision", "numpy", "attr", "attrs", "pluggy", "click", "cv2", "PIL", "yaml", "packaging")
"""What the core itself imports: a folder of such a name, as a checkout of torch, is not
meant by a plugin's import."""


class FileLoader(machinery.SourceFileLoader):
    """Loads a file that may import what lies beside `folder`'s plugin; writes no byte code, since nothing
    is written outside a run's folder."""

    folder = ""

    def get_code(self, fullname: str) -> CodeType:
        """The file's text, compiled anew."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with an `import` of its own, now and whenever one of its functions
        imports something later."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _Import(Path(self.folder or Path(self.path).parent))}
        super().exec_module(module)


class _Import:
    """What `import` does in a plugin file: the standard library first, then the files beside
    it, then what is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = PREFIX + hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:12]

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level and not str((globals or {}).get("__package__") or "").startswith(PREFIX):
            globals = {"__package__": self.root, "__name__": self.root}  # of the plugin file itself, which is in no package
        if not level and not self._is_beside(name.partition(".")[0]):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        with self._findable():
            if level:
                return builtins.__import__(name, globals, locals, fromlist or (), level)
            module = importlib.import_module(f"{self.root}.{name}")
            for entry in fromlist or ():  # `from package import module`
                if not hasattr(module, entry) and hasattr(module, "__path__"):
                    with contextlib.suppress(ModuleNotFoundError):
                        importlib.import_module(f"{self.root}.{name}.{entry}")
            return module if fromlist else sys.modules[f"{self.root}.{name.partition('.')[0]}"]

    def _is_beside(self, top: str) -> bool:
        if top in sys.stdlib_module_names or top in OURS:
            return False
        places = (self.folder / f"{top}.py", self.folder / top / "__init__.py")
        found = next((place for place in places if place.is_file()), None)
        loaded = getattr(sys.modules.get(top), "__file__", None)
        return found is not None and (loaded is None or os.path.realpath(loaded) != os.path.realpath(found))

    @contextlib.contextmanager
    def _findable(self) -> Iterator[None]:
        """While this is open, the private names can be imported."""
        if self.root not in sys.modules:
            root = ModuleType(self.root)
            root.__path__ = [str(self.folder)]
            root.__package__ = self.root
            root.__spec__ = machinery.ModuleSpec(self.root, None, is_package=True)
            sys.modules[self.root] = root
        finder = _Finder(self.root, self.folder)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)


class _Finder:
    """Finds the files below a folder under private names."""

    def __init__(self, root: str, folder: Path) -> None:
        self.root = root
        self.loader = type("Loader", (FileLoader,), {"folder": str(folder)})

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> machinery.ModuleSpec | None:
        """As importlib asks for it."""
        if not fullname.startswith(f"{self.root}."):
            return None
        for folder in path or ():
            spec = machinery.FileFinder(folder, (self.loader, [".py"])).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def list_beside(folder: Path) -> list[str]:
    """Names of the modules that plugin files imported from a folder, as they wrote them."""
    root = f"{_Import(folder).root}."
    return sorted(name.removeprefix(root) for name in sys.modules if name.startswith(root))


def read_beside(folder: Path) -> str:
    """A digest of the files that were imported from a folder, as they are now: one that changed
    makes the plugin another."""
    digest = hashlib.sha256()
    root = _Import(folder).root
    for name in list_beside(folder):
        file = getattr(sys.modules[f"{root}.{name}"], "__file__", None)
        if file is not None and Path(file).is_file():
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def forget_beside(folder: Path) -> None:
    """Drop what was imported from a folder, so that it is read anew."""
    root = _Import(folder).root
    for name in [root, *(f"{root}.{name}" for name in list_beside(folder))]:
        sys.modules.pop(name, None)
