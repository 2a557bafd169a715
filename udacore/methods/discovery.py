"""Finding and loading of methods; a fault in one is reported in one line.

A method is an entry point of the group `udacore.plugins`, or a Python file. Listing reads metadata and
imports nothing, so what is broken elsewhere never stops a run; only the method of the run is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from udacore.config.convert import misfits
from udacore.config.presets import CORE, GROUP
from udacore.deprecation import UDACORE_API
from udacore.errors import PluginError, near_matches
from udacore.methods import beside
from udacore.methods.beside import FileLoader, forget_beside, read_beside
from udacore.options import MethodSettings
from udacore.places import find_place
from udacore.places import is_dir as is_folder
from udacore.places import is_file as is_there

_BESIDE = "__udacore_beside__"


class UnknownPluginError(PluginError):
    """There is no method of the name, installed or as a file."""


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """What the metadata of an installed distribution say about a method.

    name          what `--plugin` takes
    distribution  name of the distribution; version: its version
    module        where the hooks are, `module` or `module:object`
    cores         range of the core's versions that it works with, as its metadata say; "" if they say nothing
    duplicate     whether another distribution claims the same name; then neither can be used
    """

    name: str
    distribution: str
    version: str
    module: str
    cores: str = ""
    duplicate: bool = False


@attrs.frozen(kw_only=True)
class Method:
    """A method, loaded.

    name          as installed; of a file, its name without suffix
    module        the module or object that holds the hook implementations
    settings      the class of its settings
    package       the package whose folder `presets` holds its presets, or None
    distribution  name and `version` of the distribution; None for a file
    origin        where it comes from, for people: `udacore_x (udacore-x 0.1)` or the file
    """

    name: str
    module: Any
    settings: type[MethodSettings]
    package: str | None
    distribution: str | None
    version: str | None
    origin: str

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose presets it can name, its own before the core's."""
        return tuple(dict.fromkeys(package for package in (self.package, CORE) if package))


def list_plugins() -> list[InstalledPlugin]:
    """All installed methods by name; nothing is imported. A name claimed twice appears twice, marked."""
    found: dict[tuple[str, str], InstalledPlugin] = {}
    for distribution in metadata.distributions():
        try:
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
            owner = str(distribution.name) if entries else ""
        except Exception:  # unreadable metadata of a package that may have nothing to do with udacore
            continue
        for entry in entries:
            # An editable install is seen twice if one works in its folder; the first on the
            # path is what an import gets.
            key = (entry.name, re.sub(r"[-_.]+", "-", owner).lower())
            if key not in found:
                version, cores = str(distribution.version), _stated_cores(distribution.requires)
                found[key] = InstalledPlugin(name=entry.name, distribution=owner, version=version, module=entry.value, cores=cores)
    names = [name for name, _ in found]
    return [attrs.evolve(found[key], duplicate=names.count(key[0]) > 1) for key in sorted(found)]


def _stated_cores(requirements: list[str] | None) -> str:
    """The range in `udacore>=0.1,<1` among a distribution's requirements; "" if there
    is none that can be read."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name.lower() == CORE and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            return str(requirement.specifier)
    return ""


def core_fits(cores: str) -> bool:
    """Whether this core is in a range such as `>=0.1,<1`; "" is any."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(cores).contains(metadata.version(CORE), prereleases=True)


def find_plugin(name: str) -> InstalledPlugin:
    """The installed method of that name.

    Raises UnknownPluginError if there is none, PluginError if there is more than one, or one for other cores.
    """
    plugins = list_plugins()
    claims = [plugin for plugin in plugins if plugin.name == name]
    if not claims:
        names = list(dict.fromkeys(plugin.name for plugin in plugins))
        short = re.sub(r"^udacore[-_.]", "", name)  # the method of which this is the distribution
        message = f"no plugin {name!r} is installed{near_matches(short, names)}" if short not in names else f"the plugin is called {short!r}, not {name!r}"
        if short not in names and re.fullmatch(r"[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?", short):
            message += f"; to install it: pip install udacore-{short}"
        if is_there(f"{name}.py"):
            message += f"; to load the file: --plugin ./{name}.py"
        raise UnknownPluginError(message)
    if len(claims) > 1:
        owners = " and ".join(f"{claim.distribution} {claim.version}" for claim in claims)
        raise PluginError(f"plugin {name!r} is claimed by {owners}; uninstall one: pip uninstall {claims[-1].distribution}")
    plugin = claims[0]
    if not core_fits(plugin.cores):
        said = f"plugin {name!r} ({plugin.distribution} {plugin.version}) works with udacore {plugin.cores}, installed is {metadata.version(CORE)}"
        raise PluginError(f'{said}; pip install "udacore{plugin.cores}", or one for this core: pip install --upgrade {plugin.distribution}')
    return plugin


def is_file(name_or_file: str) -> bool:
    """Whether what `--plugin` got means a file rather than an installed method."""
    return name_or_file.endswith(".py") or "/" in name_or_file or os.sep in name_or_file


def look_up(name_or_file: str) -> None:
    """UnknownPluginError if there is no method of that name, installed or as a file. Nothing is imported."""
    if is_file(name_or_file):
        _check_file(find_place(name_or_file))
    elif all(plugin.name != name_or_file for plugin in list_plugins()):
        find_plugin(name_or_file)


def load_plugin(name_or_file: str) -> Method:
    """Import one method, installed or from a file, and check what can be checked without running it.

    Raises PluginError (one line; the plugin's own exception, if any, as its cause) if it is unknown, claimed
    twice, does not import, was written for other hooks, or has a `Settings` that is none.
    """
    method = import_plugin(name_or_file)
    check_api(method)
    return attrs.evolve(method, settings=settings_class(method))


def import_plugin(name_or_file: str) -> Method:
    """The first half of `load_plugin`: import, without a look at what was imported."""
    if is_file(name_or_file):
        return _import_file(find_place(name_or_file))
    plugin = find_plugin(name_or_file)
    where = f"{plugin.distribution} {plugin.version}"
    module_name, _, attribute = (part.strip() for part in plugin.module.partition(":"))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            module = importlib.import_module(module_name)
        holder: Any = module
        for part in attribute.split(".") if attribute else ():
            holder = getattr(holder, part)
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {plugin.name!r} ({where}) does not import: {_cause(error)}") from error
    spec = module.__spec__
    return Method(
        name=plugin.name,
        module=holder,
        settings=MethodSettings,
        package=(spec.parent or None) if spec is not None else None,
        distribution=plugin.distribution,
        version=plugin.version,
        origin=f"{plugin.module} ({where})",
    )


def _check_file(path: Path) -> None:
    if path.suffix != ".py" or not is_there(path):
        files = sorted(str(file) for file in path.parent.glob("*.py")) if is_folder(path.parent) else []
        near = near_matches(str(path), files) if len(files) < 20 else ""
        raise UnknownPluginError(f"plugin {str(path)!r}: no such Python file{near}")


def _import_file(path: Path) -> Method:
    _check_file(path)
    full = path.resolve()
    if is_there(full) and not os.access(full, os.R_OK):
        raise PluginError(f"plugin {str(path)!r} cannot be read")
    # The name tells path and content: two files never meet, an unchanged file is imported once.
    digest = hashlib.sha256(str(full).encode() + full.read_bytes()).hexdigest()[:12]
    name = f"udacore_file_{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}_{digest}"
    module = sys.modules.get(name)
    if module is None or getattr(module, _BESIDE, None) != read_beside(full.parent):
        forget_beside(full.parent)
        module = _execute(name, path, full)
        setattr(module, _BESIDE, read_beside(full.parent))
    return Method(name=path.stem, module=module, settings=MethodSettings, package=None, distribution=None, version=None, origin=str(path))


def _execute(name: str, path: Path, full: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, FileLoader(name, str(full)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: attrs and pickle look classes up by their module
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plugin {str(path)!r} does not import: {_cause(error)}") from error
    return module


def _cause(error: BaseException) -> str:
    """The exception in one line, with the place in the plugin (or what it imports) that raised it."""
    text = " ".join(str(error).split())
    ours = (__file__, beside.__file__, importlib.__file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in ours and frame.filename[0] != "<"]
    place = ""
    if frames and not isinstance(error, SyntaxError):  # a SyntaxError says its own place
        place = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}, line {frames[-1].lineno})"
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def check_api(method: Method) -> None:
    """Raise PluginError if the method states a `UDACORE_API` that is not the core's."""
    theirs = getattr(method.module, "UDACORE_API", UDACORE_API)
    if theirs == UDACORE_API and not isinstance(theirs, bool):
        return
    ours = metadata.version(CORE)
    said = f"plugin {method.name!r} is written for version {theirs!r} of the hooks; udacore {ours} has version {UDACORE_API}"
    if not isinstance(theirs, int) or isinstance(theirs, bool):
        raise PluginError(f"{said}; UDACORE_API must be a whole number")
    newer = theirs > UDACORE_API
    core = f'pip install "udacore{">" if newer else "<"}{ours}"'
    plugin = f'pip install "{method.distribution}{"<" if newer else ">"}{method.version}"' if method.distribution else "adapt the file"
    raise PluginError(f"{said}; {core}, or {plugin}")


def settings_class(method: Method) -> type[MethodSettings]:
    """The method's `Settings`, or `MethodSettings` if it has none; raises
    PluginError if it is no such class."""
    settings = getattr(method.module, "Settings", None)
    if settings is None:
        return MethodSettings
    if not (inspect.isclass(settings) and issubclass(settings, MethodSettings)):
        raise PluginError(f"plugin {method.name!r}: Settings must be a class that derives from udacore.MethodSettings, got {settings!r}")
    if "__attrs_attrs__" not in vars(settings):  # inherited ones would hide the class's own fields
        raise PluginError(f"plugin {method.name!r}: Settings must be decorated with @attrs.frozen(kw_only=True)")
    for misfit in misfits(settings):
        raise PluginError(f"plugin {method.name!r}: {misfit}")
    return settings
