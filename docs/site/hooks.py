"""How the site differs from a Markdown viewer: the start page, formulas, tabs for the two frameworks."""

import json
import re
from pathlib import Path

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
_FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = r"```python\n(?:.*\n)*?```\n(?:\n```text\n(?:.*\n)*?```\n)?"
_BOTH = re.compile(rf"(## PyTorch and JAX\n\n)({_CODE})\n({_CODE})")
_TAG = re.compile(r"<[^>]*>")
_LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s]+)(\))")


def on_files(files, config):
    """Makes README.md the start page and adds a page for CHANGELOG.md."""
    for source, page in (("README.md", "index.md"), ("CHANGELOG.md", "changelog.md")):
        text = _LINK.sub(lambda m: m[1] + m[2].removeprefix("docs/") + m[3], (ROOT / source).read_text())
        files.append(File.generated(config, page, content=text.replace("](README.md)", "](index.md)")))
    return files


def on_page_markdown(markdown, page, **_):
    """Turns formulas into MathML, which browsers render natively, and the code of both frameworks into tabs."""
    if page.file.src_uri != "index.md":
        markdown = re.sub(
            r"\]\((?:\.\./)+README\.md", "](" + "../" * page.file.src_uri.count("/") + "index.md", markdown
        )
    markdown = _FORMULA.sub(lambda m: _formula(m[1].replace("{aligned}", "{align*}")), markdown)
    return _BOTH.sub(lambda m: m[1] + _tab("PyTorch", m[2]) + _tab("JAX", m[3]), markdown)


def _formula(tex):
    """Converts a formula; search excludes it, since its letters without their layout are not useful text."""
    return f'<div class="formula" data-search-exclude>{convert(tex, display="block")}</div>'


def _tab(title, code):
    return f'=== "{title}"\n\n' + re.sub(r"^(?=.)", "    ", code, flags=re.MULTILINE) + "\n"


@event_priority(-100)  # after the plugin that writes the index
def on_post_build(config):
    """Fails if a public name or one of its options is missing from the search entries of the API pages."""
    index = json.loads((Path(config.site_dir) / "search" / "search_index.json").read_text())
    entries = {e["location"].partition("#")[2]: e["text"] for e in index["docs"] if e["location"].startswith("api/")}
    text = _TAG.sub(" ", " ".join(entries.values()))
    words = set(re.split(index["config"]["separator"], text))  # "option:" in code does not count
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    loader.load("imbalanced_core")
    for package in ("imbalanced_torch", "imbalanced_torch.functional", "imbalanced_jax", "imbalanced_jax.nnx"):
        public = loader.load(package)
        for name in public.exports:
            options = {p.name for p in getattr(public[name], "parameters", ()) if "variadic" not in p.kind.value}
            missing = sorted(options - words - {"self"})
            if missing or not {f"{package}.{name}", f"{package}.{name}.{name}"} & set(entries):
                raise PluginError(f"docs/api: the search finds no {', '.join(missing) or 'entry'} of {package}.{name}")
