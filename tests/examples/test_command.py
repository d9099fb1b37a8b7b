"""The examples' command line: its help names how it is called, and an abbreviation is no option."""

import runpy
import sys

import pytest


def test_help_and_abbreviations(capsys, monkeypatch):
    for words in (["--help"], ["--ful"]):
        monkeypatch.setattr(sys, "argv", ["__main__.py", *words])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("examples.circle", run_name="__main__", alter_sys=True)
        assert bool(left.value.code) == (words == ["--ful"])
        found = capsys.readouterr()
        assert "usage: python -m examples.circle" in found.out + found.err
