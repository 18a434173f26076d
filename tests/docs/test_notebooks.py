"""The notebooks of docs/ run from top to bottom and reproduce their stored output."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from as_users import settings_of_users  # noqa: F401  (used by every test here)

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"\d+\.\d+")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    names = {"__name__": "__main__"}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        printed, shown = io.StringIO(), [o["text"] for o in cell["outputs"] if o["output_type"] == "stream"]
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), path.name, "exec"), names)
        for now, then in zip(printed.getvalue().splitlines(), "".join(map("".join, shown)).splitlines(), strict=True):
            assert NUMBER.sub("#", now) == NUMBER.sub("#", then)
            # training amplifies rounding differences between processors
            assert [float(x) for x in NUMBER.findall(now)] == pytest.approx(
                list(map(float, NUMBER.findall(then))), abs=0.05
            )
    plt.close("all")
