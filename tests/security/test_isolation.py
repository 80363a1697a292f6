"""The boundary itself: what it leaves out, as which user, and that it is never weaker than asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.config import bare_environment
from streamb.errors import IsolationUnavailable
from streamb.security import enter, isolation
from streamb.security.isolation import Boundary, Cage, IsolatedProcess, around, check_isolation, free_uid, own_folder

TIMEOUT_S = 120


@pytest.fixture
def place(tmp_path):
    folder = own_folder("test", tmp_path)
    (folder / "home").mkdir()
    return folder / "home"


@pytest.mark.skipif(os.geteuid() != 0, reason="it is tried as the user of the tests then")
def test_a_user_who_is_not_root_has_a_boundary_too(place):
    """The platform of another user, played by a process that is none of root's any more."""
    if check_isolation() is not Boundary.USER:
        pytest.skip("root may not become another user here")
    outer = IsolatedProcess([sys.executable, "-m", "tests.security.as_a_user"], Cage(write=(str(place),)))
    said = outer.process.communicate(timeout=TIMEOUT_S)[0].decode().strip().splitlines()
    uid = str(outer.uid)
    assert said[-1] == f"landlock {uid} ['{uid}', 'PermissionError', 'PermissionError']", said


def test_what_runs_is_never_less_than_a_boundary(place, monkeypatch):
    """Where the launcher cannot do a part of it, the program does not run at all."""
    monkeypatch.setattr(isolation, "_known", {sys.executable: Boundary.LANDLOCK})
    marker = place / "ran"
    command = [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]
    broken = [Cage(write=(str(place),), tcp=(70_000,)), Cage(write=(str(place),), limits={"NO_SUCH_LIMIT": 1})]
    for cage in broken:
        process = IsolatedProcess(command, cage).process
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode != 0
        assert not marker.exists()


LOOK = """
import os, sys
artifact, home, secret = sys.argv[1:]
print(open(artifact + "/manifest").read())
open(home + "/own", "w").write("x")
try:
    print("read", open(secret).read())
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    "closed", [(), ("",), (".state",), (".state/scratch",), ("", ".state"), ("", ".state/scratch")]
)
def test_closed_folders_may_lie_around_and_in_what_is_needed(tmp_path, monkeypatch, closed):
    """As where a platform is started in the folder from which Python imports, and keeps its state in there."""
    project = tmp_path / "project"
    artifact, home, secret = (project / ".state" / name for name in ("scratch/artifact", "scratch/home", "secret"))
    artifact.mkdir(parents=True)
    home.mkdir()
    (artifact / "manifest").write_text("what it needs")
    secret.write_text("of the platform")
    secret.chmod(0o644)
    for folder in (project, project / ".state", project / ".state" / "scratch"):
        folder.chmod(0o755)
    for name in closed:
        (project / name).chmod(0o700)
    monkeypatch.setattr(sys, "path", [*sys.path, str(project)])
    command = [sys.executable, "-c", LOOK, str(artifact), str(home), str(secret)]
    cage = Cage(read=(str(artifact),), write=(str(home),), hidden=(str(secret),))
    said = IsolatedProcess(command, cage).process.communicate(timeout=TIMEOUT_S)[0].decode().splitlines()
    assert said[0] == "what it needs", said
    assert said[1:] in (["PermissionError"], ["FileNotFoundError"])
    assert (home / "own").read_text() == "x"


@pytest.mark.parametrize(("abi", "filters", "root"), [(0, True, False), (7, False, False)])
def test_a_machine_without_the_means_refuses(monkeypatch, abi, filters, root):
    monkeypatch.setattr(isolation, "_known", {})
    monkeypatch.setattr(isolation.os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(enter, "landlock_abi", lambda: abi)
    monkeypatch.setattr(enter, "filters", lambda: filters)
    with pytest.raises(IsolationUnavailable, match="cannot isolate own code"):
        check_isolation()


def test_root_who_may_not_mount_and_has_no_landlock_refuses(monkeypatch):
    monkeypatch.setattr(isolation, "_known", {})
    monkeypatch.setattr(isolation.os, "geteuid", lambda: 0)
    monkeypatch.setattr(enter, "landlock_abi", lambda: 0)
    monkeypatch.setattr(isolation, "free_uid", lambda: 1_999_999_999)

    def refused(*_arguments, **_options):
        return subprocess.Popen(
            [sys.executable, "-c", "print('it cannot make a mount namespace'); raise SystemExit(97)"],
            stdout=subprocess.PIPE,
        )

    monkeypatch.setattr(isolation, "_start", refused)
    with pytest.raises(IsolationUnavailable, match=r"mount namespace.*Landlock"):
        check_isolation()


NAMES = st.sampled_from(["a", "b", "state"])


@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=8), st.lists(NAMES, min_size=1, max_size=3)
)
def test_nothing_hidden_is_in_what_is_left(tmp_path_factory, folders, hidden):
    root = tmp_path_factory.mktemp("around")
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    kept = str(root.joinpath(*hidden))
    left = around(str(root), [kept])
    for path in left:
        assert not kept.startswith(f"{path}/"), (path, kept)
        assert path != kept
        assert not path.startswith(f"{kept}/")
    for folder in folders:
        path = str(root / folder)
        covered = any(path == one or path.startswith(f"{one}/") for one in left)
        assert covered or path.startswith(kept) or kept.startswith(path), path


def test_a_link_does_not_lead_to_what_is_hidden(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link").symlink_to(tmp_path / "state")
    assert around(str(tmp_path / "project" / "link"), [str(tmp_path / "state")]) == []


def test_the_users_are_free_and_differ():
    found = {free_uid() for _ in range(20)}
    assert len(found) > 15
    assert 0 not in found
    assert os.getuid() not in found


def test_no_secret_is_among_the_variables_that_pass(monkeypatch):
    for name in (
        "ML_API_KEY",
        "RAY_AUTH_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "NVIDIA_API_KEY",
        "MKL_TOKEN",
        "DATABASE_URL",
    ):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    passed = bare_environment(HOME="/nowhere")
    assert "secret" not in passed.values()
    assert passed["OMP_NUM_THREADS"] == "1"
    assert passed["HOME"] == "/nowhere"
