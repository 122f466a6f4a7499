"""Tests for L{burrow.allocator}: a C library that is not there, and those that refuse or take the options."""

import ctypes
import gc
import sys

import pytest

from burrow import allocator


class Library:
    """A C library. @ivar options: what was set. @ivar kept: bytes that each trim of the heap is to keep."""

    def __init__(self, answer):
        self.options = {}
        self.kept = []
        self._answer = answer

    def malloc_trim(self, kept):
        self.kept.append(kept)
        return self._answer

    def mallopt(self, option, value):
        self.options[option] = value
        return self._answer


@pytest.fixture
def keep(monkeypatch):
    monkeypatch.setattr(allocator, "_keeps", False)
    monkeypatch.setattr(allocator, "_trim", None)
    monkeypatch.setattr(sys, "platform", "linux")

    def run(library):
        monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
        allocator.keep_freed_memory()
        return allocator.large_buffers_are_cheap()

    return run


def test_a_library_that_keeps_freed_memory(keep):
    library = Library(1)
    assert keep(library)
    assert all(value > allocator.LARGE for value in library.options.values())
    assert len(library.options) == 2


def test_free_pages_are_given_back_but_for_what_large_buffers_take(keep):
    allocator.give_back_free_pages()  # nothing yet
    library = Library(1)
    assert keep(library)
    allocator.give_back_free_pages()
    (kept,) = library.kept
    assert kept > allocator.LARGE


def test_a_library_that_refuses(keep):
    assert not keep(Library(0))


def test_a_library_without_the_options(keep):
    assert not keep(object())
    allocator.give_back_free_pages()


def test_another_system_is_left_alone(keep, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    library = Library(1)
    assert not keep(library)
    assert library.options == {}


def test_python_looks_for_cycles_less_often_and_leaves_out_what_exists():
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        allocator.look_for_cycles_less_often()
        assert gc.isenabled()
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
