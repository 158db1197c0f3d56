"""Imports point one way, and `import stream_mapper` is light."""

import ast
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import stream_mapper

PACKAGE = Path(stream_mapper.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "experiments")
HEAVY = (
    "lightning",
    "astropy",
    "matplotlib",
    "zuko",
    "jsonargparse",
    "pyarrow",
    "torchmetrics",
    "tensorboard",
    "bokeh",
)

BASE = {"errors", "paths", "trust", "hints", "description", "data", "utils", "devices", "track", "footprint"}
BASE |= {"quantiles", "progress"}
CORE = BASE | {"params", "nn", "prior", "windows"}
MODELS = CORE | {"distributions", "models", "builtin"}
WHOLES = MODELS | {"inference", "catalog", "mock", "results", "selection"}
# Part of the package -> the parts it may import. A part that is not listed is a command, and may import any.
MAY_IMPORT = {
    "errors": set(),
    "paths": set(),
    "progress": set(),
    "devices": {"errors"},
    "ranks": set(),
    "signals": {"ranks"},
    "trust": {"errors"},
    "hints": {"errors"},
    "description": {"errors", "hints", "trust"},
    "data": {"errors"},
    "track": {"errors"},
    "footprint": {"data", "description", "errors"},
    "quantiles": set(),
    "utils": BASE,
    "windows": BASE,
    "distributions": {"devices"},
    "params": BASE,
    "nn": BASE,
    "prior": BASE,
    "models": CORE,
    "inference": CORE | {"models"},
    "builtin": MODELS,
    "mock": MODELS,
    "selection": MODELS,
    "recipes": MODELS,
    "catalog": BASE,
    "archive": BASE | {"catalog"},
    "decisions": MODELS | {"catalog", "selection"},
    "results": WHOLES,
    "page": WHOLES,
    "paper": WHOLES,
    "fitted": WHOLES | {"page", "paper"},
    "loading": WHOLES | {"fitted", "__version__"},
    "lsdb": WHOLES | {"prediction"},
    "messages": {"errors"},
    "configuration": {"errors", "trust"},
    # what the commands share; the training's command line is made of it
    "commands": {"errors", "paths", "trust", "configuration", "messages", "ranks", "signals"},
    "training": WHOLES | {"commands", "messages", "ranks", "signals"},
    "pipeline": WHOLES | {"fitted", "training", "__version__"},
    "cluster": {"errors", "__version__"},
    "charts": WHOLES
    | {"archive", "fit", "fitted", "init", "loading", "query"}  # the commands are called from inside functions
    | {"commands", "decisions", "messages", "page", "signals", "training", "__version__"},
    "prediction": WHOLES | {"fitted", "loading", "commands", "cluster", "__version__"},
}
# File -> the one name it may import against that order, inside a function: nothing is loaded until it is called for.
# The catalogue knows no models, so that there is no circle.
ON_CALL = {
    "builtin/isochrone/readers.py": "stream_mapper.catalog.read_table",
    "mock/field/mock.py": "stream_mapper.catalog.known_stream",
    "recipes/knowledge.py": "stream_mapper.catalog.read_track",
}
# Library -> the parts that may import it.
ONLY_IN = {
    "lightning": {"training", "pipeline", "fit"},
    "matplotlib": {"results", "paper", "fitted"},
    "bokeh": {"page"},
    "jinja2": {"page"},
    "tensorboard": {"page"},
    "zuko": {"builtin"},
    "pyarrow": {"catalog", "archive"},
    "astropy": {
        "catalog",
        "archive",
        "results",
        "page",
        "paper",
        "fitted",
        "loading",
        "training",
        "pipeline",
        "init",
        "atlas",
        "charts",
        "decisions",
    },
    "gala": {"catalog"},
    "mocpy": {"catalog"},
    "cdshealpix": {"catalog"},
    "lsdb": {"lsdb"},
    "dask": {"cluster"},
    "distributed": {"cluster"},
    "hats": {"catalog"},
    "pandas": {"lsdb"},
    "pyvo": {"archive"},
    "requests": {"archive"},
    "torchmetrics": {"results"},
}


def test_import_is_light():
    code = "import sys, stream_mapper as sml; sml.MixtureModel, sml.builtin.compat.ZukoFlowModel; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "stream_mapper.models" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@cache
def imports():
    """(part, file, imported module) of every import statement of the package, inside functions too."""
    return [
        (_part(path), str(path.relative_to(PACKAGE)), name)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
    ]


def _part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_one_way(part):
    assert any(_part(path) == part for path in FILES)
    inner = [(file, name) for p, file, name in imports() if p == part and name.startswith("stream_mapper.")]
    inner = [(file, name) for file, name in inner if ON_CALL.get(file) != name]
    assert [(file, name) for file, name in inner if name.split(".")[1] not in MAY_IMPORT[part] | {part}] == []


@pytest.mark.parametrize(("file", "name"), ON_CALL.items())
def test_what_is_imported_on_call_is_inside_a_function(file, name):
    body = ast.parse((PACKAGE / file).read_text()).body
    outside = [node for node in body if not isinstance(node, ast.FunctionDef)]
    assert (_part(PACKAGE / file), file, name) in imports()
    assert name not in [found for node in outside for inner in ast.walk(node) for found in _names(inner)]


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_stays_in_its_part(library):
    users = {(part, file) for part, file, name in imports() if name.split(".")[0] == library}
    assert sorted(file for part, file in users if part not in ONLY_IN[library]) == []


def test_outside_the_catalogue_astropy_is_a_table():
    names = {(part, file, name) for part, file, name in imports() if name.startswith("astropy.")}
    allowed = {"archive": ("astropy.table.", "astropy.io.votable")}  # an archive answers with VOTables
    outside = [(f, n) for p, f, n in names if p != "catalog" and not n.startswith(allowed.get(p, ("astropy.table.",)))]
    assert sorted(outside) == []


def test_the_checks_see_imports():
    found = imports()
    assert ("models", "models/base.py", "stream_mapper.data.Data") in found
    assert any(part == "training" and name.startswith("lightning") for part, _, name in found)
    assert any(part == "catalog" and name.startswith("astropy") for part, _, name in found)


@cache
def graph():
    """Every file of the package and the files it imports, inside functions too; an ``__init__`` is imported by none."""
    modules = {_module(path): path for path in FILES}
    inner = {name for name, path in modules.items() if path.name != "__init__.py"}
    edges = {name: set() for name in modules}
    for _, file, imported in imports():
        importer = _module(PACKAGE / file)
        target = imported if imported in modules else imported.rpartition(".")[0]
        edges[importer] |= {target} & inner - {importer}
    return edges


def _module(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def circle(edges):
    """The files of one circle of imports, in its order, or None."""
    finished = set()

    def search(name, way):
        if name in way:
            return way[way.index(name) :]
        if name in finished:
            return None
        found = next(filter(None, (search(target, [*way, name]) for target in sorted(edges.get(name, ())))), None)
        finished.add(name)
        return found

    return next(filter(None, (search(name, []) for name in sorted(edges))), None)


def test_no_files_import_each_other_in_a_circle():
    assert circle(graph()) is None


def test_the_check_sees_circles():
    line = {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}
    assert circle(line) is None
    assert circle({**line, "d": {"e"}, "e": {"c"}}) == ["d", "e", "c"]
    assert circle({"a": {"a"}}) == ["a"]
    edges = graph()
    assert "stream_mapper.errors" in edges["stream_mapper.catalog.columns"]
    assert "stream_mapper.catalog.columns" in edges["stream_mapper.catalog.sky.rotation"]
    assert not any("stream_mapper.catalog" in targets for targets in edges.values())


# Below the top of the catalogue, its folders -> the parts of the catalogue that these may import.
STOREYS = {
    "formats": {"files", "metadata", "formats"},
    "sky": {"surveys", "schema", "columns", "files", "io", "sky"},
}


@pytest.mark.parametrize("storey", STOREYS)
def test_storeys_of_the_catalogue(storey):
    inner = [(f, n) for _, f, n in imports() if f.startswith(f"catalog/{storey}/") and ".catalog." in n]
    assert inner
    assert [(file, name) for file, name in inner if name.split(".")[2] not in STOREYS[storey]] == []


# Parts whose import leaves every logger as it was; what libraries do to theirs is theirs, so they are imported first.
QUIET = ("catalog", "archive", "mock", "selection", "query", "results", "inference", "prediction", "fitted", "loading")
LOGGERS = """
import importlib, logging, sys
import astropy.coordinates, astropy.io.fits, astropy.io.votable, astropy.table
import jsonargparse, pyarrow.parquet, torch, zuko

def state():
    loggers = {"root": logging.getLogger()} | logging.root.manager.loggerDict
    kept = {name: logger for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
    return {n: (x.level, x.disabled, x.propagate, *x.handlers, *x.filters) for n, x in kept.items()}

logging.getLogger("stream_mapper")
before = state()
for statement in sys.argv[1:]:
    exec(statement)
print(*(name for name, now in state().items() if name in before and now != before[name]))
"""


def changed_loggers(*statements):
    """Names of the loggers that some statements change, in a process of their own."""
    command = [sys.executable, "-c", LOGGERS, *statements]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_importing_changes_no_logger():
    assert changed_loggers(*(f"import stream_mapper.{part}" for part in QUIET)) == []
    silenced = "logging.getLogger('astropy').setLevel(50)"
    filtered = "logging.getLogger('stream_mapper').addFilter(lambda record: False)"
    assert set(changed_loggers(silenced, filtered)) == {"astropy", "stream_mapper"}


def test_every_module_is_there_when_it_is_asked_for():
    """After the import of the package alone, as for one who types ``sml.errors.InputError``."""
    names = sorted(
        path.stem for path in PACKAGE.iterdir() if path.stem[0] not in "_." and (path / "__init__.py").exists()
    )
    names += sorted(path.stem for path in PACKAGE.glob("[a-z]*.py"))
    if find_spec("pandas") is None:
        names.remove("lsdb")  # whose extra is not installed
    code = f"import stream_mapper as sml; [getattr(sml, name) for name in {names}]; assert not hasattr(sml, 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"errors", "distributions", "catalog"} <= set(names)
