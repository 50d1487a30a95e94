"""What a worker is told at its birth, and what cannot be told."""

from __future__ import annotations

import os
import pickle
import sys

import pytest

from gateway.errors import ConfigError
from gateway.process.handover import Handover
from gateway.settings import Settings, load


def test_a_handover_is_the_same_on_the_other_side(tmp_path):
    settings = load(
        argv_values={"app": "main:app", "mount": ["/api=api:app"], "header": ["x-a: b"]},
        environ={},
        cwd=tmp_path,
    ).settings
    handover = Handover(settings=settings, index=3, sockets=(5, 6), dump=7, failure="line 1")
    again = Handover.unpack(handover.pack())
    assert again == handover
    assert [each.key for each in again.settings.mounts] == ["/", "/api"]


def test_a_handover_names_the_process_it_comes_from():
    handover = Handover(settings=Settings(), index=0, sockets=(), dump=-1)
    assert (handover.parent, list(handover.path)) == (os.getpid(), sys.path)
    assert list(handover.argv) == sys.argv
    assert handover.failure == ""


@pytest.mark.parametrize(
    "thing",
    [lambda scope: None, (each for each in ()), open],
    ids=["lambda", "generator", "opened"],
)
def test_what_cannot_leave_the_process_is_an_error_of_the_configuration(thing, tmp_path):
    value = thing(tmp_path / "f", "w") if thing is open else thing
    handover = Handover(settings=Settings(app=value), index=0, sockets=(), dump=-1)
    try:
        with pytest.raises(ConfigError) as caught:
            handover.pack()
    finally:
        if thing is open:
            value.close()
    first, second = str(caught.value).splitlines()
    assert first.startswith("workers are processes of their own, and a setting cannot go there: ")
    assert second == "  give import strings, text and numbers instead of Python objects"


def test_what_is_no_handover_is_refused():
    with pytest.raises(TypeError):
        Handover.unpack(pickle.dumps({"index": 0}))
