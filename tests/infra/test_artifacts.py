from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.artifacts import (
    atomic_folder,
    atomic_write,
    check_folder,
    folder_digest,
    make_folder,
    require_free_space,
)
from infra.errors import UserError


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def fail_half_way() -> None:
        with atomic_folder(target) as scratch:
            (scratch / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(target) as scratch:
        (scratch / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == [target]


def test_second_writer_of_a_folder_changes_nothing(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "f") as scratch:
            (scratch / "file").write_text(text)
    assert (tmp_path / "f" / "file").read_text() == "first"


def test_atomic_write_replaces(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "file", b"one")
    atomic_write(tmp_path / "a" / "file", b"two")
    assert (tmp_path / "a" / "file").read_bytes() == b"two"
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_digest_sees_names_and_contents_but_not_the_model_card(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert folder_digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_digest(tmp_path) != before


def test_too_little_disk_is_said_before_work_begins(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GB free"):
        require_free_space(tmp_path, 10**18, "--run")


def test_a_folder_is_made_with_its_parents_and_may_be_there_already(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b", "--output")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300, "new/" + "x" * 300])
def test_a_folder_that_cannot_be_made_names_its_key(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file")
    for make in (make_folder, lambda path, key: require_free_space(path, 1, key)):
        with pytest.raises(UserError) as caught:
            make(tmp_path / name, "--output")
        assert caught.value.key == "--output"
        assert str(caught.value.value) == str(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may write anywhere
    with pytest.raises(UserError, match="cannot write"):
        check_folder(tmp_path / "new", "--run")
    assert not (tmp_path / "new").exists()
