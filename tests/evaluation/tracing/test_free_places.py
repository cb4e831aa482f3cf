"""Where a trace would write is refused before its work: what is there, what is shared, and queries of another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_advenc.cli.trace.report import Asked
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.tracing.queries import PROBE_TABLE, require_new


def asked_for(out: Path) -> Asked:
    return Asked(keys=out.parent, commitment=None, out=out, insecure_key_permissions=False, json=False)


def test_a_page_or_table_that_is_there_is_refused_also_as_a_link_to_nothing(tmp_path: Path) -> None:
    asked_for(tmp_path / "trace.html").require_free(table=True)
    (tmp_path / "trace.csv").symlink_to(tmp_path / "gone")
    asked_for(tmp_path / "trace.html").require_free()
    with pytest.raises(OutputError, match=r"trace\.csv exists already"):
        asked_for(tmp_path / "trace.html").require_free(table=True)
    (tmp_path / "trace.html").touch()
    with pytest.raises(OutputError, match=r"trace\.html exists already"):
        asked_for(tmp_path / "trace.html").require_free()


def test_a_page_in_a_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"software": "monai-advenc"}')
    with pytest.raises(OutputError, match="an encrypted data set, which is shared"):
        asked_for(tmp_path / "trace.html").require_free()


def test_probes_of_other_queries_are_refused(tmp_path: Path) -> None:
    require_new(tmp_path / "queries", tmp_path)
    (tmp_path / PROBE_TABLE).touch()
    with pytest.raises(OutputError, match=r"probes\.json is of other queries; give another --private"):
        require_new(tmp_path / "queries", tmp_path)
