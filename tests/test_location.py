"""Where something lies: paths stay paths, addresses stay whole and keep secrets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from napari_blindspot.errors import InputError
from napari_blindspot.location import (
    Address,
    absolute,
    as_location,
    as_path,
    without_secrets,
)
from napari_blindspot.streaming.worker import Share


@pytest.mark.parametrize("text", ["a/b.zarr", "/a/b.zarr", "C:\\a.zarr", "~/a", "a:b"])
def test_a_path_is_a_path(text: str) -> None:
    assert as_location(text) == Path(text)


def test_an_address_keeps_its_slashes() -> None:
    where = as_location("S3://Bucket/deep/name.ome.zarr/")
    assert isinstance(where, Address)
    assert where.url == str(where) == "s3://Bucket/deep/name.ome.zarr"
    assert (where.scheme, where.name, where.suffix) == ("s3", "name.ome.zarr", ".zarr")
    assert str(where / "run") == "s3://Bucket/deep/name.ome.zarr/run"
    assert str(where.with_name("x.zarr")) == "s3://Bucket/deep/x.zarr"
    assert as_location(where) is where
    assert absolute(where) is where


def test_a_bucket_has_no_name() -> None:
    assert as_location("s3://bucket.zarr") == Address("s3://bucket.zarr")
    assert as_location("s3://bucket.zarr").name == ""


def test_a_file_address_is_a_path() -> None:
    assert as_location("file:///data/a%20b.zarr") == Path("/data/a b.zarr")


def test_what_lies_inside_another() -> None:
    outer, other = Address("s3://b/a.zarr"), Address("s3://b/a.zarr.old")
    assert (outer / "0").is_inside(outer)
    assert outer.is_inside(outer)
    assert not other.is_inside(outer)


def test_secrets_open_and_are_never_shown() -> None:
    where = as_location("https://me:pass@host.org:81/a@b.zarr")
    assert isinstance(where, Address)
    assert where.has_secret
    assert where.url == "https://me:pass@host.org:81/a@b.zarr"
    for shown in (str(where), repr(where), f"{where}", repr([where / "0"])):
        assert "pass" not in shown
        assert "host.org:81/a@b.zarr" in shown
    assert pickle.loads(pickle.dumps(where)).url == where.url
    assert not as_location("https://host.org/a@b.zarr").has_secret


def test_text_of_others_loses_secrets() -> None:
    text = "no https://me:p@h/x, nor s3://k:s@b/y; but a@b stays"
    assert without_secrets(text) == "no https://h/x, nor s3://b/y; but a@b stays"


@pytest.mark.parametrize(
    "text",
    ["https://h/a.zarr?key=secret", "https://h/a.zarr#1", "zip://a.zarr::s3://b/c.zip"],
)
def test_what_nothing_can_be_appended_to_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no chunk can be named") as told:
        as_location(text)
    assert "secret" not in str(told.value)


def test_an_address_that_became_a_path_is_refused() -> None:
    with pytest.raises(InputError, match=r"'s3:/bucket/a\.zarr' was an address"):
        as_location(Path("s3://bucket/a.zarr"))


def test_what_workers_are_told_shows_no_secret() -> None:
    where = as_location("https://me:pass@host.org/a.zarr")
    share = Share(where, "{}", where / "0", run="r", samples=1)
    assert "pass" not in repr(share)
    assert "host.org/a.zarr" in repr(share)


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_no_name(text: str) -> None:
    with pytest.raises(InputError, match="names no file or folder; give a path"):
        as_location(text)


@pytest.mark.parametrize("given", [5, None, b"a.tif", ["a.tif"]])
def test_what_is_no_path_is_refused_in_a_sentence(given: Any) -> None:
    with pytest.raises(InputError, match="a path is needed; give it as text"):
        as_location(given)


def test_a_path_of_this_machine_is_no_address() -> None:
    assert as_path("a/b.safetensors") == Path("a/b.safetensors")
    with pytest.raises(InputError, match=r"'s3://b/a\.x' is an address"):
        as_path("s3://b/a.x")
