"""Every ```python block of README.md and docs/*.md runs, without a warning, as it stands on the page.

The blocks of one page run from top to bottom in one namespace, as a reader tries them; every page starts afresh, in an
empty folder. A traceback names the page and its line.
"""

import re
from pathlib import Path

import pytest
from as_users import settings_of_users  # noqa: F401  (used by every test here)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "bash", "text", "toml"}  # a misspelt one would hide a block from the test
FENCE = re.compile(r"^```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```\s*$", re.MULTILINE)


def code_blocks(page: str) -> list[tuple[str, int, str]]:
    """The language, the line number of the first line and the code of every fenced block."""
    return [
        (match["language"].strip(), page.count("\n", 0, match.start("code")) + 1, match["code"])
        for match in FENCE.finditer(page)
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for language, line, code in code_blocks(path.read_text()):
        if language == "python":
            # the empty lines before the code give a traceback the line numbers of the page
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
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
