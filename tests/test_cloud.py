"""A real object store, S3 as moto serves it, and a web server, over real sockets."""

from __future__ import annotations

import base64
import logging
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fsspec.config import conf

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.errors import Cancelled, InputError, OutputExistsError, RunError
from napari_blindspot.io import remote
from napari_blindspot.location import Address
from stores import assert_same, predict, write_stack

s3fs = pytest.importorskip("s3fs", reason="the extra 'cloud' is not installed")
moto = pytest.importorskip("moto.server", reason="moto is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Sockets and event loops of drivers and of dask are closed when the process ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SOURCE, OUT = "s3://bucket/stack.zarr", "s3://bucket/deep/out.ome.zarr"
BESIDE = "s3://bucket/deep/out.uncertainty.ome.zarr"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An object store on a port of its own."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def _environment(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "visitor")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture
def bucket(_environment: None, rng: np.random.Generator) -> Iterator[Any]:
    """A bucket with a stack in it."""
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir("bucket", acl="public-read")
    write_stack(SOURCE, rng.poisson(20, (8, 64, 300)).astype(np.uint16))
    yield system
    system.rm("bucket", recursive=True)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Four blocks of two planes each.
    monkeypatch.setattr(
        "napari_blindspot.streaming.plan.block_shape",
        lambda shape, **_: (2, *shape[1:]),
    )


@pytest.fixture
def whole(tmp_path: Path, bucket: Any) -> Path:
    """What a run on this machine writes."""
    predict(tmp_path / "out.ome.zarr", SOURCE)
    return tmp_path / "out.ome.zarr"


def test_s3_to_s3_is_what_a_path_gets(whole: Path, bucket: Any) -> None:
    result = predict(OUT, SOURCE)
    assert_same(whole, OUT)
    assert_same(whole.with_name("out.uncertainty.ome.zarr"), BESIDE)
    assert not [key for key in bucket.find("bucket") if "/run" in key]
    assert nb.open_stack(OUT).shape == result.image.shape
    with pytest.raises(OutputExistsError, match="exists already"):
        predict(OUT, SOURCE)


def test_a_cancelled_run_is_gone_on_with(whole: Path, bucket: Any) -> None:
    with pytest.raises(Cancelled, match="go on with --resume"):
        predict(OUT, SOURCE, 2)
    with pytest.raises(OutputExistsError, match=r"ended early.*--resume.*--overwrite"):
        predict(OUT, SOURCE)
    predict(OUT, SOURCE, resume=True)
    assert_same(whole, OUT)
    assert_same(whole.with_name("out.uncertainty.ome.zarr"), BESIDE)


def test_a_source_that_was_written_anew_is_not_gone_on_with(bucket: Any) -> None:
    known = remote.stamp(Address(SOURCE))
    assert list(known) == ["zarr.json"]
    with pytest.raises(Cancelled):
        predict(OUT, SOURCE, 2)
    described = bucket.cat(f"{SOURCE}/zarr.json")
    bucket.pipe(f"{SOURCE}/zarr.json", described + b"\n")
    with pytest.raises(InputError, match=r"changed since \(its metadata\)"):
        predict(OUT, SOURCE, resume=True)


def test_workers_read_and_write_by_themselves(whole: Path, bucket: Any) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        nb.predict(
            random_teacher(), SOURCE, OUT, client=client, threads=1, uncertainty=True
        )
    assert_same(whole, OUT)
    assert_same(whole.with_name("out.uncertainty.ome.zarr"), BESIDE)
    assert not [key for key in bucket.find("bucket") if "/run" in key]


@pytest.mark.parametrize("where", ["s3://nobucket/x.ome.zarr", "s3://bucket/x.zarr"])
def test_what_is_not_there_is_told(bucket: Any, where: str) -> None:
    with pytest.raises(InputError, match=f"there is no Zarr at {where}; check the nam"):
        nb.open_stack(where)


def test_an_output_without_its_bucket_is_told(bucket: Any) -> None:
    with pytest.raises(RunError, match=r"bucket does not exist.*names of bucket"):
        predict("s3://nobucket/out.ome.zarr", SOURCE)


def test_a_store_without_credentials_is_told(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setitem(conf, "s3", {"default_cache_type": "none"})  # a new driver
    with pytest.raises(RunError, match=r"Unable to locate credentials.*AWS_ACCESS_KEY"):
        nb.open_stack(SOURCE)


def test_a_store_may_be_read_without_credentials_where_that_is_said(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in bucket.find(SOURCE):
        bucket.chmod(key, acl="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setitem(conf, "s3", {"anon": True})
    assert nb.open_stack(SOURCE).read({"Z": 0}).any()


def test_a_closed_port_is_told_and_does_not_hang(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RunError, match=r"stack\.zarr could not be reached .*endpoint"):
        nb.open_stack(SOURCE)


class Guarded(SimpleHTTPRequestHandler):
    """Files of a folder, for one user alone."""

    def send_head(self) -> Any:
        given = self.headers.get("Authorization", "")
        if given != "Basic " + base64.b64encode(b"me:hush").decode():
            self.send_error(401)
            return None
        return super().send_head()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path, rng: np.random.Generator) -> Iterator[str]:
    """Host and port of a server of this machine, with a stack."""
    stack = rng.poisson(20, (8, 64, 300)).astype(np.uint16)
    write_stack(str(tmp_path / "stack.zarr"), stack)
    handler = partial(Guarded, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_web_server_is_read_from_and_its_password_not_shown(
    tmp_path: Path, web: str
) -> None:
    source, out = f"http://me:hush@{web}/stack.zarr", tmp_path / "out.ome.zarr"
    predict(out, source)
    predict(tmp_path / "here.ome.zarr", tmp_path / "stack.zarr")
    assert_same(out, tmp_path / "here.ome.zarr")
    for file in out.rglob("zarr.json"):
        assert "hush" not in file.read_text()
    with pytest.raises(InputError, match="no Zarr at http://127") as told:
        nb.open_stack(f"http://me:hush@{web}/none.zarr")
    assert "hush" not in str(told.value)
    with pytest.raises(RunError, match="knows no such user") as told:
        nb.open_stack(f"http://me:wrong@{web}/stack.zarr")
    assert "wrong" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_server_that_stays_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/stack.zarr"
        with pytest.raises(RunError, match="did not answer in time"):
            nb.open_stack(address)
