"""The notebooks: without outputs in the repository, a sentence before each cell, and they run, with small settings."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))

SMALL = {"PER_CLASS": "20", "STEPS": "2", "EPOCHS": "1"}
"""Settings of the cell tagged ``parameters``, so that a notebook runs within minutes."""

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in read(path)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_each_cell_of_code_is_explained_in_one_sentence(path: Path) -> None:
    cells = read(path)["cells"]
    for before, cell in pairwise(cells):
        if cell["cell_type"] == "code":
            assert before["cell_type"] == "markdown"
            assert len(re.findall(r"[.:](?=\s|$)", "".join(before["source"]))) <= 2
            assert "".join(before["source"]).endswith(".")


def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    text = "".join("".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#:]+)", text):
        assert (path.parent / target).is_file(), target


@pytest.mark.slow(reason="it trains networks")
def test_a_notebook_runs_from_its_first_to_its_last_cell(path: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra notebook brings nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    for name, value in SMALL.items():
        settings.source, count = re.subn(rf"^{name} = \w+", f"{name} = {value}", settings.source, flags=re.MULTILINE)
        assert count == 1, name
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [each for each in printed if each.get("name") == "stderr"]
    assert any("image/png" in each.get("data", {}) for each in printed)
    assert "Verdict:" in "".join(each.get("text", "") for each in printed)
