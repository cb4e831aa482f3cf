"""What MONAI's bundles report in one line."""

from __future__ import annotations

import sqlite3

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from monai_advenc.bundle import refusal as module
from monai_advenc.bundle.refusal import refusal_in, refuses_in_one_line
from monai_advenc.errors import DatasetError, OutputError

LOCKED = OperationalError("INSERT INTO runs", {"name": "x"}, sqlite3.OperationalError("database\nis locked"))


@pytest.mark.parametrize("error", [LOCKED, MlflowException("database is locked")])
def test_an_error_of_the_tracking_store_is_one_line(error: Exception) -> None:
    wrapped = RuntimeError("of MONAI")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        refusal = refusal_in(each)
        assert isinstance(refusal, OutputError)
        assert str(refusal) == "cannot track: database is locked; check the tracking store, or leave --tracking out"


def test_another_error_is_a_defect() -> None:
    assert refusal_in(ValueError("x")) is None


def test_names_from_elsewhere_command_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @refuses_in_one_line
    def refuse() -> None:
        raise DatasetError("class '\x1b]0;owned\x07\u202egpj' has\nno image")

    monkeypatch.setattr(module, "_is_monai_command", lambda: True)
    with pytest.raises(SystemExit):
        refuse()
    assert capsys.readouterr().err == "error: class '\\u001b]0;owned\\u0007\\u202egpj' has no image\n"
