"""The tree is what ARCHITECTURE.md says it is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hack.suite import ALWAYS, AREAS, FIRST, MARKED_SERIAL, serial_files
from tests.support.repository import ROOT
from trainingjob_api import constants
from trainingjob_console import settings as console_settings
from trainingjob_operator.settings import variable_names
from trainingjob_records import settings as record_settings

STORES = {
    "jobs": (
        "eviction_order",
        "job_entry",
        "job_index",
        "manifest_cache",
        "pod_limit",
        "fair_queue",
    ),
    "kube": ("forbidden_lists",),
    "log_archive": ("log_queue",),
    "records": ("listed_jobs", "retry_cache"),
    "retention": ("policy_index",),
    "volume": ("identity",),
}
"""By room: what is only kept in memory."""
MODULES = sorted((ROOT / "operator").rglob("*.py"))


def imports(module: Path) -> set[str]:
    """The top-level names of what a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def importers(prefix: str) -> set[str]:
    """The modules that import something below this name, relative to `operator/`."""
    return {
        str(module.relative_to(ROOT / "operator"))
        for module in MODULES
        if any(name.split(".")[0] == prefix for name in imports(module))
    }


def test_no_package_shadows_the_standard_operator_module() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


QUESTIONS = {"How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_the_docstring_of_a_function_or_class_begins_with_a_verb_or_a_noun(module: Path) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.walk(ast.parse(module.read_text()))
    documented = [(n.name, ast.get_docstring(n)) for n in tree if isinstance(n, kinds)]
    assert [(name, doc) for name, doc in documented if doc and doc.split()[0] in QUESTIONS] == []


def test_imports_point_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_kube_imports_the_kubernetes_client() -> None:
    assert all(name.startswith("trainingjob_operator/kube/") for name in importers("kubernetes"))


@pytest.mark.parametrize(
    "package",
    ["trainingjob_console", "trainingjob_operator", "trainingjob_records", "trainingjob_web"],
)
def test_no_text_is_interned(package: str) -> None:
    # Early releases of CPython 3.12, like 3.12.1, never free one that was.
    for module in (ROOT / "operator" / package).rglob("*.py"):
        named = {
            n.attr for n in ast.walk(ast.parse(module.read_text())) if isinstance(n, ast.Attribute)
        }
        assert "intern" not in named, module


def test_only_the_edges_import_kopf() -> None:
    edges = ("trainingjob_operator/handlers/", "trainingjob_operator/runtime.py")
    assert all(name.startswith(edges) for name in importers("kopf"))


@pytest.mark.parametrize(
    ("command_name", "missing"),
    [
        *(
            ("records", name)
            for name in ("trainingjob_records", "sqlalchemy", "uvicorn", "aiosqlite")
        ),
        *(("console", name) for name in ("trainingjob_console", "starlette", "uvicorn")),
    ],
)
def test_without_its_extra_a_service_says_how_to_install_it(
    command_name: str, missing: str, tmp_path: Path
) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None; "
        f"from trainingjob_cli.main import main; sys.exit(main([{command_name!r}]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"pip install '.[{command_name}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_page_about_persistence_names_every_setting_of_the_record_service() -> None:
    page = (ROOT / "docs" / "persistence.md").read_text()
    assert sorted(name for name in record_settings.variable_names() if name not in page) == []


def test_the_page_about_the_console_names_every_setting_of_it() -> None:
    page = (ROOT / "docs" / "console.md").read_text()
    assert sorted(name for name in console_settings.variable_names() if name not in page) == []


DECIDES_OR_REMEMBERS = (
    "trainingjob_api",
    "trainingjob_operator/core",
    *(
        f"trainingjob_operator/{room}/{name}.py"
        for room, names in STORES.items()
        for name in names
    ),
)


def test_what_decides_and_what_remembers_does_no_io() -> None:
    forbidden = {"asyncio", "kopf", "kubernetes", "logging", "os", "time", "aiohttp"}
    for place in DECIDES_OR_REMEMBERS:
        path = ROOT / "operator" / place
        modules = [path] if path.suffix else sorted(path.rglob("*.py"))
        assert modules, place
        for module in modules:
            assert not {name.split(".")[0] for name in imports(module)} & forbidden, module


ENGINE = ROOT / "operator" / "trainingjob_operator" / "engine.py"
PLACES_OF_WIRING = ("operator/trainingjob_operator", "tests/support", "tests/bounds")


def constructed(module: Path) -> set[str]:
    """The classes of the operator that a module imports and makes an object of."""
    tree = ast.parse(module.read_text())
    ours = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("trainingjob_operator.")
        for alias in node.names
    }
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    # A queue is made as `WorkQueue[JobKey](...)`, too.
    names = (each.value if isinstance(each, ast.Subscript) else each for each in called)
    return {each.id for each in names if isinstance(each, ast.Name)} & ours


def test_the_parts_of_the_operator_are_put_together_in_one_place() -> None:
    # What is true of the operator that ships is what the tests have shown of this wiring. One part
    # alone may be made elsewhere, to be looked at by itself.
    parts = {name for name in constructed(ENGINE) if name[0].isupper()} - {"Bound", "Memory"}
    assert {"JobIndex", "WorkQueue", "Reconciler", "Housekeeper"} <= parts
    for place in PLACES_OF_WIRING:
        for module in sorted((ROOT / place).rglob("*.py")):
            wired = constructed(module) & parts
            assert module == ENGINE or len(wired) < 2, f"{module}: {sorted(wired)}"


UNIT = ROOT / "tests" / "unit"
TESTS_OF_MODULES = sorted(UNIT.glob("trainingjob_*/**/test_*.py"))


@pytest.mark.parametrize("test", TESTS_OF_MODULES, ids=lambda t: str(t.relative_to(UNIT)))
def test_a_unit_test_is_found_from_the_file_that_it_tests(test: Path) -> None:
    # `room/x.py` is tested in `test_x.py`, or in `test_x_....py` where one aspect fills a file.
    room = ROOT / "operator" / test.parent.relative_to(UNIT)
    words = test.stem.split("_")[1:]
    stems = ["_".join(words[:n]) for n in range(len(words), 0, -1)]
    assert [stem for stem in stems if (room / f"{stem}.py").exists()], (
        f"no {stems[0]}.py in {room}"
    )


def test_the_map_names_files_that_exist() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rows = page[page.index("## To change X, open Y") : page.index("## The life of one job")]
    paths = re.findall(r"`([a-z_]+/[\w./-]+)`", rows)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_map_has_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {
        str(init.parent.relative_to(ROOT / "operator" / "trainingjob_operator"))
        for init in (ROOT / "operator" / "trainingjob_operator").rglob("__init__.py")
    }
    assert [room for room in sorted(rooms - {"."}) if f"| `{room}/` |" not in page] == []


def test_the_tables_of_rooms_name_only_files_that_exist() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    for package, begin, end in (
        ("trainingjob_operator", "## The rooms of the operator", "## The rooms of the console"),
        ("trainingjob_console", "## The rooms of the console", "## To change X, open Y"),
    ):
        cells = re.findall(
            r"^\| (`[^|]+`) \|", page[page.index(begin) : page.index(end)], re.MULTILINE
        )
        named = [path for cell in cells for path in re.findall(r"`([\w./]+)`", cell)]
        assert len(named) > 10
        assert [path for path in named if not (ROOT / "operator" / package / path).exists()] == []


LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
SECTION_LINK = re.compile(r"\]\(([^)#:\s]*)#([^)\s]+)\)")
PAGES = [page for page in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(page.parts)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_sections_name_headings_that_exist(page: Path) -> None:
    links = SECTION_LINK.findall(page.read_text())
    assert [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors(page.parent / target if target else page)
    ] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


METRIC = re.compile(r"\btrainingjob_(?:operator|records|console)_\w+")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_pages_name_only_metrics_that_exist(page: Path) -> None:
    table = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(trainingjob_\w+)`", table, re.MULTILINE))
    # TLS handshakes are exported only with TLS; the parts of a histogram are in no row of their own.
    known |= {"trainingjob_console_handshakes"}
    named = {
        re.sub(r"_(bucket|sum|count)$", "", each) for each in METRIC.findall(page.read_text())
    }
    assert sorted(named - known) == []


def test_the_reference_names_every_setting_and_every_reason() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    names = set(variable_names()) | {
        value for name, value in vars(constants).items() if name.startswith("REASON_")
    }
    assert sorted(name for name in names if name not in reference) == []


def test_every_test_is_in_an_area_and_every_area_is_there() -> None:
    places = [ROOT / place for area in AREAS.values() for place in area]
    assert [place for place in places if not place.exists()] == []
    elsewhere = {
        ROOT / ALWAYS,
        *(ROOT / "tests/browser").iterdir(),
        *(ROOT / "tests/image").iterdir(),
        *(ROOT / "tests/e2e").iterdir(),
        *(ROOT / "tests/real").iterdir(),
    }
    tests = set((ROOT / "tests").rglob("test_*.py")) - elsewhere
    assert [test for test in tests if not {test, *test.parents} & set(places)] == []


def test_the_files_that_begin_first_are_there() -> None:
    assert [file for file in FIRST if not (ROOT / file).is_file()] == []


def test_what_measures_the_machine_is_marked_where_the_suite_looks_for_it() -> None:
    """Elsewhere it would be marked, and run neither alone nor beside the others."""
    marked = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("*.py")
        if MARKED_SERIAL.removeprefix("pytest.") in file.read_text()
    }
    assert marked == set(serial_files(["tests"])) != set()


def test_who_changes_something_reads_which_area_to_run() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert [area for area in AREAS if f"`make test AREA={area}`" not in guide] == []
