"""Whether a cluster demands a token, by its own answer to a stranger. On a real cluster: test_joined.py."""

from __future__ import annotations

import logging
import os
import socket
import stat
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from streamb.cluster import ray_token
from streamb.cluster.ray_token import MODE, TOKEN, TOKEN_PATH, Protection, demand_token, protect_new_ray, protection_of
from streamb.errors import RayUnprotected, StartFailed, StorageFailed, error_classes


class Head(grpc.GenericRpcHandler):
    """Answers any call with a status, as a head node would."""

    def __init__(self, status: grpc.StatusCode) -> None:
        self.status = status

    def service(self, details):
        def answer(_request, context):
            if self.status is not grpc.StatusCode.OK:
                context.abort(self.status, "refused")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def head(status):
    with futures.ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[Head(status)])
        port = server.add_insecure_port("0.0.0.0:0")  # Ray looks for the head at this machine's address
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(10)


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """No variable about tokens is set, and Ray's own reading of them is put back."""
    ray_token._warn_once.cache_clear()
    with monkeypatch.context() as patched:
        for name in (MODE, TOKEN, TOKEN_PATH):
            patched.setenv(name, "")
            patched.delenv(name)
        yield
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Protection.TOKEN),
        (grpc.StatusCode.OK, Protection.NONE),
        (grpc.StatusCode.UNIMPLEMENTED, Protection.UNKNOWN),
        (grpc.StatusCode.PERMISSION_DENIED, Protection.UNKNOWN),
        (grpc.StatusCode.INTERNAL, Protection.UNKNOWN),
    ],
)
@pytest.mark.parametrize("environment", ["development", "staging", "production", "somewhere"])
def test_only_a_cluster_that_refuses_strangers_is_joined(status, expected, environment, caplog):
    caplog.set_level(logging.WARNING)
    with head(status) as address:
        assert protection_of(address)[0] is expected
        if expected is Protection.TOKEN:
            demand_token(address, environment)
            assert os.environ[MODE] == "token", "this process now sends its token"
            assert not caplog.records
        elif environment == "development":
            demand_token(address, environment)
            demand_token(address, environment)
            assert [record.levelname for record in caplog.records] == ["WARNING"], "told once"
        else:
            with pytest.raises(RayUnprotected, match=f"the environment {environment} joins no") as refused:
                demand_token(address, environment)
            assert refused.value.code == "ray_unprotected"
            assert error_classes()["ray_unprotected"] is RayUnprotected


def test_the_refusal_says_how_to_turn_it_on():
    with head(grpc.StatusCode.OK) as address, pytest.raises(RayUnprotected) as refused:
        demand_token(address, "production")
    for part in ("RAY_AUTH_MODE=token", "`ray get-auth-token --generate`", "RAY_AUTH_TOKEN_PATH", "every node"):
        assert part in refused.value.message


def test_an_address_that_does_not_tell_is_refused_with_one_that_does():
    with pytest.raises(RayUnprotected, match="use HOST:6379"):
        demand_token("ray://127.0.0.1:10001", "staging")


@pytest.mark.parametrize("environment", ["development", "production"])
def test_nobody_answers(environment):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(StartFailed, match="nothing answers") as failed:
            demand_token(f"127.0.0.1:{free.getsockname()[1]}", environment)
    assert failed.value.code == "start_failed"


class TestOurOwnRay:
    @pytest.fixture(autouse=True)
    def no_home(self, tmp_path, monkeypatch):
        """A home directory that cannot be written: nothing is kept there."""
        (tmp_path / "file").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "file"))

    def test_a_token_is_made_in_the_state_directory_that_only_its_owner_may_read(self, tmp_path):
        umask = os.umask(0)
        try:
            protect_new_ray(tmp_path / "a")
        finally:
            os.umask(umask)
        file = tmp_path / "a" / "keys" / "ray-token"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text()) == 64
        assert (os.environ[MODE], os.environ[TOKEN_PATH]) == ("token", str(file))

    def test_the_next_start_uses_the_same_token_and_another_platform_its_own(self, tmp_path):
        protect_new_ray(tmp_path / "a")
        made = (tmp_path / "a" / "keys" / "ray-token").read_text()
        protect_new_ray(tmp_path / "b")
        assert os.environ[TOKEN_PATH] == str(tmp_path / "b" / "keys" / "ray-token")
        protect_new_ray(tmp_path / "a")
        assert (tmp_path / "a" / "keys" / "ray-token").read_text() == made
        assert os.environ[TOKEN_PATH] == str(tmp_path / "a" / "keys" / "ray-token")

    def test_without_a_state_directory_the_token_stays_in_the_environment(self, tmp_path):
        protect_new_ray(tmp_path / "a")
        protect_new_ray()
        assert len(os.environ[TOKEN]) == 64
        assert TOKEN_PATH not in os.environ

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        with pytest.raises(StorageFailed, match="ray-token cannot be read or written"):
            protect_new_ray(tmp_path / "file")

    @pytest.mark.parametrize("name", [TOKEN, TOKEN_PATH])
    def test_a_token_that_was_given_is_used(self, name, tmp_path, monkeypatch):
        monkeypatch.setenv(name, str(tmp_path / "given"))
        protect_new_ray(tmp_path / "a")
        assert not (tmp_path / "a").exists()
        assert os.environ[name] == str(tmp_path / "given")

    def test_to_turn_it_off_is_refused(self, monkeypatch):
        monkeypatch.setenv(MODE, "disabled")
        with pytest.raises(RayUnprotected, match="unset RAY_AUTH_MODE"):
            protect_new_ray()
