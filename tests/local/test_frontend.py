"""Build of the web application, with the real npm and a small application without dependencies."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.frontend import Frontend
from local.frontend_inputs import build_key
from local.npm import FRONTEND
from local.paths import PROJECT
from local.process import ComponentFailedError
from tests.local.frontend_project import Project
from tests.support.waiting import wait_until


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)
    monkeypatch.setenv("BUILD_LOG", str(project.builds))
    return project


def test_first_start_builds_and_the_second_does_nothing(project: Project) -> None:
    steps: list[str] = []
    first = project.frontend()
    first.start(steps.append)
    assert (first.directory / "index.html").read_text() == "first"
    assert any("installing packages" in step for step in steps)
    assert any("compiling" in step for step in steps)
    steps.clear()
    second = project.frontend("other")
    began = time.monotonic()
    second.start(steps.append)
    assert time.monotonic() - began < 0.2
    assert (second.directory.resolve(), steps, project.count_builds()) == (first.directory.resolve(), [], 1)


def test_the_key_of_the_real_sources_is_made_quickly() -> None:
    began = time.monotonic()
    assert build_key(FRONTEND) == build_key(FRONTEND)
    assert time.monotonic() - began < 1


def test_changed_source_is_built_with_the_same_packages(project: Project) -> None:
    project.frontend().start()
    project.write("index.html", "second")
    changed = project.frontend()
    changed.start()
    assert (changed.directory / "index.html").read_text() == "second"
    assert (project.count_builds(), project.count_installations()) == (2, 1)
    project.write("index.html", "first")
    project.frontend().start()
    assert project.count_builds() == 2


def test_changed_lock_installs_again(project: Project) -> None:
    project.frontend().start()
    project.write("package-lock.json", json.dumps({"lockfileVersion": 3, "requires": True, "packages": {"": {}}}))
    project.frontend().start()
    assert (project.count_builds(), project.count_installations()) == (2, 2)


def test_removed_source_is_not_built(project: Project) -> None:
    project.write("src/old/page.ts", "old")
    project.frontend().start()
    (project.sources / "src" / "old" / "page.ts").unlink()
    (project.sources / "src" / "old").rmdir()
    project.frontend().start()
    assert not (project.packages / "frontend" / "workspace" / "src" / "old").exists()
    assert (project.packages / "frontend" / "workspace" / "src" / "main.ts").exists()


@pytest.mark.parametrize(
    "name",
    [
        "node_modules/vue/index.js",
        "dist/index.html",
        "tests/login.test.ts",
        "src/login.test.ts",
        "src/types/components.d.ts",
        "eslint.config.js",
        ".env.local",
    ],
)
def test_files_that_are_not_inputs_do_not_change_the_key(project: Project, name: str) -> None:
    key = build_key(project.sources)
    project.write(name, "other")
    assert build_key(project.sources) == key


@pytest.mark.parametrize("name", ["package-lock.json", ".npmrc", "index.html", "src/main.ts", "src/new.ts", "public/x"])
def test_inputs_change_the_key(project: Project, name: str) -> None:
    key = build_key(project.sources)
    project.write(name, "other")
    assert build_key(project.sources) != key


def test_sources_are_not_changed(project: Project) -> None:
    before = sorted(project.sources.rglob("*"))
    project.frontend().start()
    assert sorted(project.sources.rglob("*")) == before


def test_stacks_that_start_together_build_once(project: Project) -> None:
    frontends = [project.frontend(f"home-{number}") for number in range(3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(Frontend.start, frontends))
    assert len({frontend.directory.resolve() for frontend in frontends}) == 1
    assert project.count_builds() == 1


def test_failed_build_is_reported_with_npms_output(project: Project) -> None:
    project.write("index.html", "broken")
    with pytest.raises(ComponentFailedError, match=r"^frontend-build: ended with exit code 1$") as caught:
        project.frontend().start()
    assert "index.html is broken" in caught.value.log_end()
    project.write("index.html", "repaired")
    project.frontend().start()
    assert project.builds.read_text().splitlines()[-1] == "end"


def test_unreachable_registry_is_reported_and_the_next_start_installs_again(project: Project) -> None:
    lock = (project.sources / "package-lock.json").read_text()
    package = (project.sources / "package.json").read_text()
    project.write("package.json", json.dumps(json.loads(package) | {"dependencies": {"nothing-here": "1.0.0"}}))
    entry = {"version": "1.0.0", "integrity": "sha512-AAAA"}
    packages = {"": {"dependencies": {"nothing-here": "1.0.0"}}, "node_modules/nothing-here": entry}
    project.write("package-lock.json", json.dumps({"lockfileVersion": 3, "packages": packages}))
    with pytest.raises(ComponentFailedError, match=r"^frontend-install: ended with exit code") as caught:
        project.frontend().start()
    assert "ECONNREFUSED" in "\n".join(caught.value.log_end())
    assert project.count_builds() == 0
    project.write("package.json", package)
    project.write("package-lock.json", lock)
    project.frontend().start()
    assert (project.count_builds(), project.count_installations()) == (1, 2)


def test_build_without_a_page_is_an_error(project: Project) -> None:
    project.write("build.js", "")
    with pytest.raises(ComponentFailedError, match="did not write"):
        project.frontend().start()


def test_unwritable_cache_is_an_error(project: Project) -> None:
    (project.packages / "frontend").write_text("")
    with pytest.raises(ComponentFailedError, match=r"^frontend: cannot use its files"):
        project.frontend().start()


def test_stop_ends_the_build_and_the_wait_for_another(project: Project) -> None:
    building, waiting = project.frontend("home-1"), project.frontend("home-2")
    reports: list[str] = []
    with ThreadPoolExecutor() as pool:
        first = pool.submit(building.start)
        wait_until(lambda: project.count_builds() == 1)
        second = pool.submit(waiting.start, reports.append)
        wait_until(lambda: bool(reports))
        assert "waiting for another build" in reports[0]
        waiting.stop()
        with pytest.raises(ComponentFailedError, match="was stopped"):
            second.result()
        building.stop()
        with pytest.raises(ComponentFailedError):
            first.result()
    project.frontend().start()
    assert project.count_builds() == 2


def test_build_whose_starter_was_killed_is_waited_for(project: Project) -> None:
    """npm may run until the watchdog ends it, and writes to the workspace until then."""
    project.frontend()
    code = "import sys; from pathlib import Path; from local.frontend import Frontend; home, sources = sys.argv[1:]"
    start = f"{code}; Frontend(Path(home), {{}}, Path(sources)).start()"
    arguments = [str(project.packages.parent / "home"), str(project.sources)]
    with subprocess.Popen([sys.executable, "-c", start, *arguments], cwd=PROJECT) as starter:
        wait_until(lambda: project.count_builds() == 1)
        starter.send_signal(signal.SIGKILL)
    assert _is_locked(project.packages / "frontend" / "lock")
    project.frontend().start()
    assert project.builds.read_text().splitlines() == ["begin", "end", "begin", "end"]


def _is_locked(file: Path) -> bool:
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_builds_that_were_used_last_are_kept(project: Project) -> None:
    project.frontend().start()
    used = project.frontend()
    for number in range(6):
        old = project.packages / "frontend" / "builds" / f"old-{number}"
        old.mkdir()
        os.utime(old, (number, number))
    used.start()
    project.write("index.html", "second")
    project.frontend().start()
    kept = {build.name for build in (project.packages / "frontend" / "builds").iterdir()}
    assert kept == {used.directory.name, build_key(project.sources), "old-5", "old-4", "old-3"}


def test_finished_build_replaces_the_own(project: Project, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    with pytest.raises(ComponentFailedError, match=r"^frontend: FRONTEND_DIST=.* has no index.html$"):
        project.frontend(FRONTEND_DIST=str(dist)).start()
    (dist / "index.html").touch()
    frontend = project.frontend(FRONTEND_DIST=str(dist))
    frontend.start()
    assert (frontend.directory, project.count_builds()) == (dist, 0)
