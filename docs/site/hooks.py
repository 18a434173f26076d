"""What the site shows other than a Markdown viewer does: the start page, formulas, tabs of the two frameworks."""

import ast
import re
import zlib
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = r"```python\n(?:.*\n)*?```\n(?:\n```text\n(?:.*\n)*?```\n)?"
_BOTH = re.compile(rf"(## PyTorch and JAX\n\n)({_CODE})\n({_CODE})")
_LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s]+)(\))")


def on_files(files, config):
    """README.md is the start page; CHANGELOG.md has a page."""
    for source, page in (("README.md", "index.md"), ("CHANGELOG.md", "changelog.md")):
        text = _LINK.sub(lambda m: m[1] + m[2].removeprefix("docs/") + m[3], (ROOT / source).read_text())
        files.append(File.generated(config, page, content=text.replace("](README.md)", "](index.md)")))
    return files


def on_page_markdown(markdown, page, **_):
    """Formulas become MathML, which browsers draw by themselves; the code of both frameworks becomes tabs."""
    if page.file.src_uri != "index.md":
        markdown = re.sub(
            r"\]\((?:\.\./)+README\.md", "](" + "../" * page.file.src_uri.count("/") + "index.md", markdown
        )
    markdown = _FORMULA.sub(
        lambda m: f'<div class="formula">{convert(m[1].replace("{aligned}", "{align*}"), display="block")}</div>',
        markdown,
    )
    return _BOTH.sub(lambda m: m[1] + _tab("PyTorch", m[2]) + _tab("JAX", m[3]), markdown)


def _tab(title, code):
    return f'=== "{title}"\n\n' + re.sub(r"^(?=.)", "    ", code, flags=re.MULTILINE) + "\n"


def on_post_build(config):
    """Fails if a public name of the packages has no entry in the API pages, which is where a search leads."""
    text = (Path(config.site_dir) / "objects.inv").read_bytes()
    known = {line.split(" ")[0] for line in zlib.decompress(text.split(b"\n", 4)[4]).decode().splitlines()}
    for package in ("imbalanced_torch", "imbalanced_torch.functional", "imbalanced_jax", "imbalanced_jax.nnx"):
        tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
        lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
        missing = [name for name in ast.literal_eval(lists[0]) if not any(n.endswith("." + name) for n in known)]
        if missing:
            raise PluginError(f"docs/api: no entry for {', '.join(missing)} of {package}")
