"""What README.md and docs/ refer to exists: links, images, headings, files named in the text, public names."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import imbalanced_jax
import imbalanced_torch
from imbalanced_jax import nnx
from imbalanced_torch import functional

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```.*\n(?:.*\n)*?```\s*$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
NAMED_FILE = re.compile(r"\b(?:docs|examples|tests|imbalanced_(?:core|torch|jax))/[\w/.]*\w\.(?:py|md|png)\b")
MODULES_WITH_NAMES = {
    imbalanced_torch: imbalanced_torch.__all__,
    imbalanced_jax: imbalanced_jax.__all__,
}
NAMES_IN_SUBMODULES = (
    "all_gather_no_grad",
    "all_gather_with_grad",
    "check_queues_equal",
    "gather_rows",
    "LossWarmupCallback",
    "LossWarmupTrainerCallback",
    "WarmupLossFunction",
    "queue_specs",
    "soft_counts_above",
    "soft_counts_at",
)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def links(page: Path) -> list[str]:
    without_code = re.sub(r"`[^`\n]*`", "", prose(page))
    return [match["target"] for match in LINK.finditer(without_code)]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as the usual Markdown hosts generate them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in links(page):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        assert not file.startswith("/"), f"{target} is not relative"
        path = page.parent / file if file else page
        assert path.exists(), f"{target} is not there"
        if anchor and path.exists():
            assert anchor in anchors(path), f"{target} names no heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_in_the_text_are_there(page):
    named = set(NAMED_FILE.findall(page.read_text()))
    assert not [file for file in named if not file.startswith("examples/output/") and not (ROOT / file).exists()]


def test_every_page_is_on_the_site():
    """The strict build of the site fails on a page that its navigation leaves out."""
    navigation = (ROOT / "docs/site/mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"]
    assert not [page for page in pages if not re.search(rf"[ :]{re.escape(page)}$", navigation, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_two_headings_share_a_name(page):
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    assert len(headings) == len(set(headings))


def test_the_index_lists_every_guide():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    assert {page.resolve() for page in PAGES[1:]} - {index.resolve()} <= listed


def test_every_image_is_shown_on_a_page():
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    images = {path.resolve() for path in (ROOT / "docs").rglob("*.png")}
    assert images <= shown


@pytest.mark.parametrize("module", MODULES_WITH_NAMES, ids=lambda module: module.__name__)
def test_every_public_name_is_explained(module):
    text = "\n".join(page.read_text() for page in PAGES[1:])
    missing = [name for name in MODULES_WITH_NAMES[module] if not re.search(rf"\b{name}\b", text)]
    assert not missing


@pytest.mark.parametrize("module", [*MODULES_WITH_NAMES, functional, nnx], ids=lambda module: module.__name__)
def test_every_public_name_is_there(module):
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", NAMES_IN_SUBMODULES)
def test_names_in_submodules_are_explained(name):
    assert any(re.search(rf"\b{name}\b", page.read_text()) for page in PAGES[1:])


@pytest.fixture(scope="module")
def make_plots():
    spec = importlib.util.spec_from_file_location("make_plots", ROOT / "docs" / "make_plots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_plot_of_the_guides_is_drawn_by_the_script(make_plots):
    images = {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    from_programs = {name for name in images if name.startswith(("demo_", "study_"))}
    assert images - from_programs == set(make_plots.PLOTS)


def test_the_script_draws_the_plots_that_are_named(make_plots, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["make_plots.py", "sigmoid_focal", "warmup", "--folder", str(tmp_path / "new")])
    make_plots.main()
    drawn = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in drawn] == ["sigmoid_focal.png", "warmup.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    monkeypatch.setattr(sys, "argv", ["make_plots.py", "no_such_plot"])
    with pytest.raises(SystemExit):
        make_plots.main()
    assert "no_such_plot" in capsys.readouterr().err


def test_what_the_helpers_see(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title, `code`!\n[a](b.md#c) ![d](e.png) `[no](f.md)`\n```text\n[no](g.md)\n```\n")
    assert links(page) == ["b.md#c", "e.png"]
    assert anchors(page) == {"a-title-code"}


def test_the_versions_script_names_tests_that_exist():
    named = re.findall(r"(tests/\S+\.py)(?:::(\w+))?", (ROOT / "tests" / "versions.sh").read_text(encoding="utf-8"))
    assert any(test for _, test in named)
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else (ROOT / file).exists()
