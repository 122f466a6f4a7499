"""Tests for L{burrow.protocols.files.tree}: nothing outside the folder is opened, whatever is asked."""

import os
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import pytest

from burrow.protocols.files import tree
from burrow.protocols.files.tree import Forbidden, Missing, Root, names_of


@pytest.fixture
def root():
    outside = Path(os.path.realpath(mkdtemp()))
    (outside / "secret").write_text("secret")
    folder = outside / "site"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("b")
    (folder / ".env").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("hidden")
    return Root(folder)


def read(root, path):
    """What a request for C{path} would be sent; "/" for a folder."""
    names, _ = names_of(path.encode())
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    descriptor = None
    try:
        descriptor, _status = root.open(names)
        return "/" if os.path.isdir(f"/proc/self/fd/{descriptor}") else os.read(descriptor, 100).decode()
    finally:
        if descriptor is not None:
            os.close(descriptor)
        if before:
            assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"


def test_files_and_folders(root):
    assert [read(root, path) for path in ("/", "/a.txt", "/sub/", "/sub/b.txt", "/%61.txt")] == [
        "/",
        "a",
        "/",
        "b",
        "a",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/%2E%2e/secret",
        "/..%2fsecret",
        "/sub%2fb.txt",
        "/..%5csecret",
        "/..\\secret",
        "/sub\\b.txt",
        "//secret",
        "/sub//b.txt",
        "/./a.txt",
        "/a.txt%00",
        "/%00",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/sub/.../",
        "a.txt",
        "*",
        "",
        "/none",
        "/a.txt/b",
        "/" + "x" * 300,
        "/" + "sub/" * 3000,
    ],
)
def test_what_is_not_there(root, path):
    with pytest.raises(Missing):
        read(root, path)


def test_links_inside(root):
    os.symlink("a.txt", root.path / "relative")
    os.symlink(root.path / "sub" / "b.txt", root.path / "absolute")
    os.symlink("../a.txt", root.path / "sub" / "up")
    os.symlink("sub", root.path / "folder")
    os.symlink(root.path, root.path / "sub" / "deep" / "root")
    os.symlink("relative", root.path / "twice")
    wanted = {
        "/relative": "a",
        "/absolute": "b",
        "/sub/up": "a",
        "/folder/b.txt": "b",
        "/folder/up": "a",
        "/sub/deep/root/sub/b.txt": "b",
        "/twice": "a",
    }
    assert {path: read(root, path) for path in wanted} == wanted


def test_links_out_and_to_what_is_hidden(root):
    targets = {
        "up": "../secret",
        "over": "sub/../../secret",
        "absolute": str(root.path.parent / "secret"),
        "beside": str(root.path) + "x",
        "passwd": "/etc/passwd",
        "root": "/",
        "parent": "..",
        "back": "../site/a.txt",  # leaves the folder, though it comes back
        "hidden": ".env",
        "dangling": "nothing",
        "loop": "loop",
        "through": "a.txt/x",
    }
    (root.path.parent / "sitex").write_text("secret")
    for name, target in targets.items():
        os.symlink(target, root.path / name)
    for name in targets:
        for path in (f"/{name}", f"/{name}/secret", f"/{name}/etc/passwd"):
            with pytest.raises(Missing):
                read(root, path)


def test_the_root_itself_may_be_a_link_that_changes(root):
    link = root.path.parent / "current"
    os.symlink("site", link)
    served = Root(link)
    assert read(served, "/a.txt") == "a"
    (root.path.parent / "next").mkdir()
    (root.path.parent / "next" / "a.txt").write_text("new")
    link.unlink()
    os.symlink("next", link)
    assert read(served, "/a.txt") == "new"


def test_a_folder_that_is_replaced_by_a_link_on_the_way(root):
    """Between the look at a name and its opening, the name becomes a link that leads out."""
    (root.path.parent / "b.txt").write_text("secret")
    real = os.stat

    def replacing(name, **options):
        status = real(name, **options)
        if name == "sub":
            os.rename(root.path / "sub", root.path / "moved")
            os.symlink("..", root.path / "sub")
        return status

    with patch.object(tree.os, "stat", replacing), pytest.raises(Missing):
        root.open(["sub", "b.txt"])


def test_a_file_that_is_replaced_by_a_link_or_a_fifo_on_the_way(root):
    real = os.stat
    for make in (lambda path: os.symlink("../secret", path), os.mkfifo):
        (root.path / "c").write_text("c")

        def replacing(name, make=make, **options):
            status = real(name, **options)
            if name == "c":
                os.unlink(root.path / "c")
                make(root.path / "c")
            return status

        with patch.object(tree.os, "stat", replacing), pytest.raises(Missing):
            root.open(["c"])
        os.unlink(root.path / "c")


def test_what_is_no_file(root):
    os.mkfifo(root.path / "fifo")
    os.symlink("/dev/zero", root.path / "zero")
    for path in ("/fifo", "/zero"):
        with pytest.raises(Missing):
            read(root, path)


def test_what_may_not_be_read(root):
    with patch.object(tree.os, "open", side_effect=PermissionError(13, "no")), pytest.raises(Forbidden):
        root.open(["a.txt"])


def test_one_file_alone(root):
    only = Root(root.path, "a.txt")
    assert read(only, "/a.txt") == "a"
    for path in ("/sub/b.txt", "/sub/", "/a.txt/a.txt"):
        with pytest.raises(Missing):
            read(only, path)
