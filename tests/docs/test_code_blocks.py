"""Every ```python block of README.md and docs/ runs as written, without a warning.

The blocks of a page run from top to bottom in one namespace, as a reader would run them; each page starts afresh in an
empty folder. A ```text block right below a ```python block is the exact output of that block. A traceback names
the page and its line.
"""

import contextlib
import importlib.util
import io
import itertools
import re
from pathlib import Path

import pytest
from as_users import settings_of_users  # noqa: F401  (used by every test here)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "bash", "text", "toml", "math"}  # a misspelt one would hide a block from the test
INTEGRATIONS = {
    "lightning",
    "torchmetrics",
    "transformers",
}  # optional packages: blocks that import a missing one are skipped
IMPORT = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)
FENCE = re.compile(r"^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```\s*$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_blocks(page: str) -> list[tuple[str, int, str]]:
    """The language, the line number of the first line and the code of every fenced block."""
    return [
        (match["language"].strip(), page.count("\n", 0, match.start("code")) + 1, match["code"])
        for match in FENCE.finditer(page)
    ]


def blocks_with_output(page: str) -> list[tuple[int, str, str | None]]:
    """The line, the code and the expected output, if any, of every ```python block."""
    blocks = code_blocks(page)
    found = []
    for (language, line, code), following in itertools.zip_longest(blocks, blocks[1:], fillvalue=("", 0, "")):
        next_language, next_line, text = following
        if language == "python":
            # the code is followed by its closing fence, an empty line and the opening fence
            is_output = next_language == "text" and next_line - (line + code.count("\n")) == 3
            found.append((line, code, text if is_output else None))
    return found


def can_run(code: str) -> bool:
    return all(importlib.util.find_spec(name) for name in INTEGRATIONS & set(IMPORT.findall(code)))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code, output in blocks_with_output(path.read_text()):
        if not can_run(code):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # the empty lines before the code make the line numbers of a traceback those of the page
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
        if output is not None:
            assert printed.getvalue().rstrip() == output.rstrip(), f"what line {line} of {path.name} prints"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_names_its_language(path):
    text = path.read_text()
    blocks = code_blocks(text)
    assert {language for language, _, _ in blocks} <= LANGUAGES
    fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
    assert fences == 2 * len(blocks), "an indented or unclosed fence"


def test_readme_shows_both_frameworks():
    code = "".join(code for language, _, code in code_blocks(PAGES[0].read_text()) if language == "python")
    assert "import imbalanced_torch" in code or "from imbalanced_torch" in code
    assert "import imbalanced_jax" in code or "from imbalanced_jax" in code


def test_blocks_are_found_with_their_lines():
    page = "# Title\n\n```python\na = 1\nb = 2\n```\ntext\n```bash\nls\n```\n"
    assert code_blocks(page) == [("python", 4, "a = 1\nb = 2\n"), ("bash", 9, "ls\n")]


def test_output_belongs_to_the_block_right_above():
    page = "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\npass\n```\n\nprose\n\n```text\n2\n```\n"
    assert blocks_with_output(page) == [(2, "print(1)\n", "1\n"), (10, "pass\n", None)]


def test_pages_in_folders_are_found():
    assert {"docs/README.md", "docs/losses/smooth_ap.md"} <= {name_of(page) for page in PAGES}
