"""What the trials of a sweep import: the files of its snapshot, under the names of the user's own."""

from __future__ import annotations

import importlib
import inspect
import json
import linecache
import os
import pickle
import pkgutil
import runpy
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from hpsearch.trainable import code_finder
from hpsearch.trainable.code_files import read_code
from hpsearch.trainable.code_finder import CodeFinder, install, installed, uninstall
from hpsearch.trainable.code_snapshot import child_environment, snapshot
from hpsearch.trainable.locate import TrainableSource, load

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(runpy, "run_path", runpy.run_path)
    modules, lines = set(sys.modules), set(linecache.cache)
    yield
    uninstall()
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in set(linecache.cache) - lines:
        del linecache.cache[name]
    importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture
def write(project: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


def taken(project: Path, start: str = "train_me.py") -> Path:
    source = TrainableSource(kind="file", module=Path(start).stem, function="train", file_path=project / start)
    return snapshot(project.parent / "sweep", read_code(source), name="0123456789ab")


def begin(project: Path, start: str = "train_me.py") -> CodeFinder:
    return install(taken(project, start))


def test_a_module_that_was_edited_is_imported_as_it_was(project, write):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "VALUE = 1")
    begin(project)
    helper.write_text("VALUE = 2")
    module = importlib.import_module("helper_me")
    assert module.VALUE == 1
    assert module.__file__ == str(helper) and module.__cached__ is None


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_name("renamed.py"))])
def test_a_module_that_is_gone_is_imported_as_it_was(project, write, lose):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "VALUE = 1")
    begin(project)
    lose(helper)
    assert importlib.import_module("helper_me").VALUE == 1


def test_a_package_that_is_gone_is_imported_as_it_was(project, write):
    write("train_me.py", "from package_me.inner import deep")
    write("package_me/__init__.py", "from . import other\nVALUE = 1")
    write("package_me/other.py", "VALUE = 2")
    write("package_me/inner/__init__.py", "")
    write("package_me/inner/deep.py", "from ..other import VALUE")
    begin(project)
    (project / "package_me").rename(project / "gone")
    deep = importlib.import_module("package_me.inner.deep")
    package = sys.modules["package_me"]
    assert (package.VALUE, deep.VALUE) == (1, 2)
    assert list(package.__path__) == [str(project / "package_me")]
    assert package.__spec__ is not None and package.__spec__.submodule_search_locations is not None
    assert deep.__package__ == "package_me.inner"


def test_a_package_comes_before_a_module_of_its_name(project, write):
    write("train_me.py", "import both_me")
    write("both_me.py", "VALUE = 'module'")
    write("both_me/__init__.py", "VALUE = 'package'")
    begin(project)
    (project / "both_me" / "__init__.py").unlink()
    assert importlib.import_module("both_me").VALUE == "package"


def test_a_namespace_package_is_found_in_all_its_places(project, write, tmp_path):
    write("train_me.py", "import spaced_me.one, spaced_me.two")
    one = write("spaced_me/one.py", "VALUE = 1")
    (tmp_path / "lib" / "spaced_me").mkdir(parents=True)
    two = tmp_path / "lib" / "spaced_me" / "two.py"
    two.write_text("VALUE = 2")
    sys.path.append(str(tmp_path / "lib"))
    begin(project)
    one.unlink()
    two.write_text("VALUE = 3")
    assert importlib.import_module("spaced_me.one").VALUE == 1
    assert importlib.import_module("spaced_me.two").VALUE == 2
    package = sys.modules["spaced_me"]
    assert package.__file__ is None and len(list(package.__path__)) == 2
    (tmp_path / "late" / "spaced_me").mkdir(parents=True)
    (tmp_path / "late" / "spaced_me" / "three.py").write_text("VALUE = 4")
    sys.path.append(str(tmp_path / "late"))
    assert importlib.import_module("spaced_me.three").VALUE == 4, "the search path may grow, as always"


def test_a_package_that_gets_an_init_file_meanwhile_stays_what_it_was(project, write):
    write("train_me.py", "import spaced_me.one")
    write("spaced_me/one.py", "VALUE = 1")
    begin(project)
    write("spaced_me/__init__.py", "raise RuntimeError")
    assert importlib.import_module("spaced_me.one").VALUE == 1


def test_the_first_entry_of_the_search_path_that_has_a_module_wins(project, write, tmp_path):
    write("train_me.py", "import json, helper_me")
    write("helper_me.py", "VALUE = 1")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "helper_me.py").write_text("VALUE = 'first'")
    finder = begin(project)
    spec = importlib.import_module("json").__spec__
    assert spec is not None and spec.origin == json.__file__
    sys.path.insert(0, str(tmp_path / "first"))
    assert importlib.import_module("helper_me").VALUE == "first"
    assert list(finder.outside) == [str(tmp_path / "first" / "helper_me.py")]


def test_libraries_and_hpsearch_are_left_to_the_other_finders(project, write):
    write("train_me.py", "import numpy")
    finder = begin(project)
    for name in ("numpy", "json", "os", "sys", "hpsearch", "email", "does_not_exist"):
        assert finder.find_spec(name) is None
    import email

    assert finder.find_spec("email.mime", email.__path__) is None
    assert finder.outside == {}


def test_what_only_says_that_it_is_a_module_is_none_of_the_users_files(project, write, monkeypatch):
    """As cffi's libraries do, which lie in `sys.modules`."""

    class Library:
        __slots__ = ()
        __class__ = property(lambda self: type(sys))

    write("train_me.py", "import numpy")
    finder = begin(project)
    monkeypatch.setitem(sys.modules, "library_me", Library())
    assert isinstance(sys.modules["library_me"], type(sys))
    assert finder.outside == {}


def test_what_is_not_in_the_snapshot_is_imported_and_noted_with_the_hash_of_what_ran(project, write):
    write("train_me.py", "")
    late = write("late_me.py", "VALUE = 1\n")
    write("plugins_me/one.py", "VALUE = 2\n")
    finder = begin(project)
    assert importlib.import_module("late_me").VALUE == 1
    late.write_text("VALUE = 3\n")
    assert importlib.import_module("plugins_me.one").VALUE == 2
    assert finder.outside == {
        str(late): sha256(b"VALUE = 1\n").hexdigest(),
        str(project / "plugins_me" / "one.py"): sha256(b"VALUE = 2\n").hexdigest(),
    }


def test_what_is_loaded_past_the_finder_is_noted_where_it_differs_from_the_snapshot(project, write):
    write("train_me.py", "import same_me, helper_me")
    for name in ("same_me", "helper_me", "new_me"):
        write(f"{name}.py", "VALUE = 1\n")
    finder = begin(project)
    write("helper_me.py", "VALUE = 2\n")
    for name in ("same_me", "helper_me", "new_me"):
        spec = importlib.util.spec_from_file_location(f"hooked_{name}", project / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    assert finder.outside.keys() == {str(project / "helper_me.py"), str(project / "new_me.py")}


def test_no_bytecode_file_beside_the_users_code_is_read_or_written(project, write, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "VALUE = 2")
    importlib.import_module("helper_me")
    cached = Path(importlib.util.cache_from_source(str(helper)))
    before = cached.read_bytes()
    del sys.modules["helper_me"]
    helper.write_text("VALUE = 1")
    os.utime(helper, (0, 0))
    cached.write_bytes(before[:8] + bytes(4) + (9).to_bytes(4, "little") + before[16:])
    begin(project)
    cached.write_bytes(cached.read_bytes())
    stamp = cached.stat().st_mtime_ns
    assert importlib.import_module("helper_me").VALUE == 1
    assert cached.stat().st_mtime_ns == stamp
    write("late_me.py", "")
    importlib.import_module("late_me")
    assert [path.name for path in (project / "__pycache__").iterdir()] == [cached.name]


def test_tracebacks_inspect_and_the_debugger_show_what_runs(project, write):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "def fail():\n    raise ValueError('as it was')\n")
    begin(project)
    module = importlib.import_module("helper_me")
    helper.write_text("# new\n# text\n")
    try:
        module.fail()
    except ValueError as error:
        shown = "".join(traceback.format_exception(error))
    assert f'File "{helper}", line 2, in fail' in shown and "raise ValueError('as it was')" in shown
    assert inspect.getsource(module.fail).startswith("def fail():\n    raise")
    helper.unlink()
    assert inspect.getsource(module) == "def fail():\n    raise ValueError('as it was')\n"
    assert inspect.getsourcefile(module.fail) == str(helper)
    assert module.fail.__code__.co_filename == str(helper)


def test_data_beside_the_code_is_read_from_the_users_folder(project, write):
    write("train_me.py", "import package_me")
    write("package_me/__init__.py", "")
    write("package_me/words.txt", "old")
    begin(project)
    write("package_me/words.txt", "new")
    importlib.import_module("package_me")
    assert pkgutil.get_data("package_me", "words.txt") == b"new"
    from importlib.resources import files

    assert (files("package_me") / "words.txt").read_text() == "new"


def test_what_is_pickled_is_found_again(project, write):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "class Thing:\n    value = 1")
    begin(project)
    text = pickle.dumps(importlib.import_module("helper_me").Thing())
    del sys.modules["helper_me"]
    helper.unlink()
    assert pickle.loads(text).value == 1


def test_a_module_can_be_loaded_again(project, write):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "VALUE = 1")
    begin(project)
    module = importlib.import_module("helper_me")
    helper.write_text("VALUE = 2")
    vars(module)["VALUE"] = 3
    assert importlib.reload(module).VALUE == 1


def test_everything_is_compiled_once(project, write, monkeypatch, recwarn):
    write("train_me.py", "import helper_me, broken_me, warns_me")
    write("helper_me.py", "VALUE = 1")
    write("broken_me.py", "def (:")
    write("warns_me.py", "VALUE = '\\d'")
    finder = begin(project)
    finder.precompile()
    assert not recwarn.list, "a file that warns does so when it is imported"
    monkeypatch.setattr(CodeFinder, "source", lambda *_: pytest.fail("read again"))
    assert importlib.import_module("helper_me").VALUE == 1
    assert linecache.getline(str(project / "helper_me.py"), 1) == "VALUE = 1\n"
    monkeypatch.undo()


def test_what_can_not_be_compiled_is_reported_by_the_import(project, write):
    write("train_me.py", "import broken_me")
    broken = write("broken_me.py", "def (:")
    finder = begin(project)
    finder.precompile()
    broken.write_text("VALUE = 1")
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("broken_me")
    assert (caught.value.filename, caught.value.text) == (str(broken), "def (:\n")


def test_a_damaged_copy_is_not_run(project, write):
    write("train_me.py", "import helper_me")
    write("helper_me.py", "VALUE = 1")
    folder = taken(project)
    (folder / "project" / "helper_me.py").write_text("VALUE = 9")
    install(folder)
    with pytest.raises(ImportError, match="is damaged"):
        importlib.import_module("helper_me")


def test_a_working_directory_that_is_a_link_is_the_same_folder(project, write, tmp_path):
    write("train_me.py", "import helper_me, package_me.inner")
    helper = write("helper_me.py", "VALUE = 1")
    write("package_me/inner.py", "VALUE = 2")
    begin(project)
    (tmp_path / "link").symlink_to(project)
    sys.path[:] = [str(tmp_path / "link"), *(entry for entry in sys.path if entry != str(project))]
    helper.write_text("VALUE = 3")
    module = importlib.import_module("helper_me")
    assert (module.VALUE, module.__file__) == (1, str(tmp_path / "link" / "helper_me.py"))
    assert importlib.import_module("package_me.inner").VALUE == 2


def test_a_file_that_is_a_link_is_imported_as_it_was(project, write, tmp_path):
    write("train_me.py", "import linked_me")
    (tmp_path / "shared.py").write_text("VALUE = 1")
    (project / "linked_me.py").symlink_to(tmp_path / "shared.py")
    begin(project)
    (tmp_path / "shared.py").write_text("VALUE = 2")
    (project / "linked_me.py").unlink()
    assert importlib.import_module("linked_me").VALUE == 1


def test_on_another_node_the_working_directory_may_lie_elsewhere(project, write, tmp_path):
    write("train_me.py", "import helper_me")
    write("helper_me.py", "VALUE = 1")
    folder = taken(project)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "helper_me.py").write_text("VALUE = 2")
    (elsewhere / "late_me.py").write_text("VALUE = 3")
    finder = install(folder, old_root=str(project), new_root=str(elsewhere))
    sys.path[:] = [str(elsewhere), *(entry for entry in sys.path if entry != str(project))]
    module = importlib.import_module("helper_me")
    assert (module.VALUE, module.__file__) == (1, str(elsewhere / "helper_me.py"))
    importlib.import_module("late_me")
    assert list(finder.outside) == [str(project / "late_me.py")], "as the driver knows it"


def test_an_extension_module_is_compared_by_its_hash(project, write):
    import _heapq

    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    source = Path(getattr(_heapq, "__file__", "") or "")
    if not source.is_file():
        pytest.skip("this Python has no extension modules in files")
    write("train_me.py", "import _heapq_me")
    compiled = project / f"_heapq_me{suffix}"
    compiled.write_bytes(source.read_bytes())
    folder = taken(project)
    assert not list(folder.rglob(f"*{suffix}")), "it is not copied"
    finder = install(folder)
    assert finder.find_spec("_heapq_me") is not None and finder.outside == {}
    compiled.write_bytes(source.read_bytes() + b"\0")
    finder = install(folder)
    assert finder.find_spec("_heapq_me") is not None and list(finder.outside) == [str(compiled)]


def test_a_distribution_to_be_edited_is_the_users_own(project, write, tmp_path, monkeypatch):
    write("train_me.py", "from editable_me import part")
    package = tmp_path / "src" / "editable_me"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 1")
    (package / "part.py").write_text("VALUE = 2")

    class Finder:  # as setuptools makes them
        @staticmethod
        def find_spec(fullname, path=None, target=None):
            init = package / "__init__.py"
            known = fullname == "editable_me" and init.exists()
            return importlib.util.spec_from_file_location(fullname, init) if known else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    begin(project)
    package.rename(package.with_name("gone"))
    assert importlib.import_module("editable_me.part").VALUE == 2
    assert sys.modules["editable_me"].VALUE == 1


def test_a_file_and_a_script_come_from_the_snapshot_too(project, write, capsys):
    write("train_me.py", "def train(config):\n    return 'old'")
    script = write("script_me.py", "print(__name__, 'old', __file__)\nraise SystemExit(0)")
    begin(project)
    write("train_me.py", "def train(config):\n    return 'new'")
    source = TrainableSource(kind="file", module="train_me", function="train", file_path=project / "train_me.py")
    function = load(source)
    assert function({}) == "old" and sys.modules["train_me"].__file__ == str(project / "train_me.py")
    begin(project, "script_me.py")
    script.write_text("print('new')")
    source = TrainableSource(kind="script", module="__main__", function="", file_path=script)
    with pytest.raises(SystemExit):
        load(source)({})
    assert capsys.readouterr().out == f"__main__ old {script}\n"


def test_there_is_one_finder_and_it_can_be_found(project, write):
    write("train_me.py", "")
    assert installed() is None
    first, second = begin(project), begin(project)
    assert first is not second and installed() is second
    assert sys.meta_path[0] is second and first not in sys.meta_path
    uninstall()
    assert installed() is None


# -- interpreters that a trial starts --------------------------------------------------------------------------------


def child(project: Path, code: list[str], **environment: str) -> str:
    """What a Python prints that a trial starts."""
    environ = {**os.environ, "PYTHONPATH": "", **environment}
    environ |= child_environment(project.parent / "sweep" / "code" / "0123456789ab", environ)
    done = subprocess.run(
        [sys.executable, *code], env=environ, cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_interpreter_that_a_trial_starts_imports_the_snapshot(project, write):
    write("train_me.py", "import helper_me")
    helper = write("helper_me.py", "VALUE = 1")
    taken(project)
    helper.write_text("VALUE = 2")
    assert child(project, ["-c", "import helper_me; print(helper_me.VALUE)"]) == "1\n"
    write("tool_me.py", "import helper_me; print(helper_me.VALUE)")
    assert child(project, ["tool_me.py"]) == "1\n"
    assert child(project, ["-m", "tool_me"]) == "1\n"


def test_the_users_sitecustomize_runs_too(project, write, tmp_path):
    write("train_me.py", "")
    taken(project)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('customized', __name__)")
    assert child(project, ["-c", "import sitecustomize"], PYTHONPATH=str(tmp_path / "site")) == (
        "customized sitecustomize\n"
    )


def test_a_snapshot_within_a_trial_takes_the_place_of_the_outer_one(project, write):
    write("train_me.py", "import helper_me")
    write("helper_me.py", "VALUE = 1")
    first = taken(project)
    environ = {"PYTHONPATH": os.pathsep.join([str(first / "site"), "/elsewhere"])}
    second = child_environment("/other", environ)["PYTHONPATH"]
    assert second == os.pathsep.join(["/other/site", "/elsewhere"])


def test_the_roots_reach_an_interpreter_that_a_trial_starts(project, write, tmp_path):
    write("train_me.py", "import helper_me")
    write("helper_me.py", "VALUE = 1")
    folder = taken(project)
    moved = tmp_path / "moved"
    project.rename(moved)
    (moved / "helper_me.py").write_text("VALUE = 2")
    environ = {**os.environ, "PYTHONPATH": ""}
    environ |= child_environment(folder, environ, old_root=str(project), new_root=str(moved))
    command = [sys.executable, "-c", "import helper_me; print(helper_me.VALUE)"]
    assert subprocess.check_output(command, env=environ, cwd=moved, text=True) == "1\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_spawned_process_has_the_main_file_and_the_modules_of_the_snapshot(project, write, method):
    write(
        "train_me.py",
        f"""
        import multiprocessing
        import pathlib
        import helper_me

        VALUE = 1

        def show(queue):
            queue.put((VALUE, helper_me.VALUE))

        if __name__ == "__main__":
            for name in ("helper_me.py", "train_me.py"):
                path = pathlib.Path(__file__).parent / name
                path.write_text(path.read_text().replace("VALUE = 1", "VALUE = 2"))
            context = multiprocessing.get_context("{method}")
            queue = context.Queue()
            process = context.Process(target=show, args=(queue,))
            process.start()
            print(queue.get(timeout=60))
            process.join()
        """,
    )
    write("helper_me.py", "VALUE = 1")
    taken(project)
    assert child(project, ["train_me.py"]) == "(1, 1)\n"


def test_the_finder_needs_nothing_but_the_standard_library():
    code = "import sys; sys.path.insert(0, 'trainable'); import code_finder; print('hpsearch' in sys.modules)"
    root = Path(code_finder.__file__).parents[1]
    assert subprocess.check_output([sys.executable, "-I", "-c", code], cwd=root, text=True) == "False\n"
