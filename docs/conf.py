"""Settings of Sphinx: ``make docs``, from the repository's top; no network is needed."""

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

from sphinx.util.nodes import make_refnode  # noqa: E402

import api_pages  # noqa: E402
import floors_figure  # noqa: E402
import laplace_nn  # noqa: E402

project = "laplace_nn"
author = "The laplace_nn developers"
copyright = author
version = release = laplace_nn.__version__
language = "en-GB"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_ext", "_templates", "gallery", "**/sg_execution_times.rst"]
templates_path = ["_templates"]
root_doc = "index"
default_role = "py:obj"  # single backticks in docstrings are names of the package

# Markdown: links to headings, and to files that are pages here under another name (see below).
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

# The reference: one page a class or function, from numpydoc docstrings.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "laplace_nn"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "secondary_sidebar_items": ["page-toc"],
    "use_edit_page_button": False,
}
html_sidebars: dict[str, list[str]] = {page: [] for page in ("index", "quickstart", "changelog")}

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "run_stale_examples": True,  # the package may have changed where a script has not
    "backreferences_dir": "api/examples",
    "doc_module": ("laplace_nn",),
    "reference_url": {"laplace_nn": None},
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10_000,
    "remove_config_comments": True,
}

# Pages that hold a file of the repository's top, and gallery pages by their scripts: a link is
# written to the file, as a code host shows it, and leads to the page here.
TOP_FILES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}


def pages_for_files(app: Any, docname: str, source: list[str]) -> None:
    """Put the top's files in their pages' place, and turn links to files into links to pages."""
    up = "../" * docname.count("/")
    if docname in TOP_FILES:
        text = (DOCS.parent / TOP_FILES[docname]).read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\(docs/", "](", text)
    for page, name in TOP_FILES.items():
        source[0] = re.sub(rf"\]\((\.\./)*{re.escape(name)}", f"]({up}{page}.md", source[0])
    for script, page in ((r"(plot_\w+)\.py", r"\1.rst"), (r"README\.md", "index.rst")):
        link = rf"\]\((?:\.\./)*gallery/{script}\)"
        source[0] = re.sub(link, rf"]({up}auto_gallery/{page})", source[0])
    source[0] = re.sub(
        r"\[([^\]]+)\]\(((?:\.\./)+experiments/[^)]+\.md)\)", r"{download}`\1 <\2>`", source[0]
    )


def by_last_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Find a name of the package in single backticks that is written without its module."""
    target = node.get("reftarget", "").removeprefix("laplace_nn.").split(".")[-1]
    if node.get("refdomain") != "py" or not target:
        return None
    found = env.get_domain("py").find_obj(env, None, None, target, None, searchmode=1)
    found = [(name, entry) for name, entry in found if not entry.aliased]
    if len(found) != 1:
        return None
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def formulas_as_text(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep |x| in docstrings an absolute value: in reStructuredText bars name substitutions."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]*`+)", line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[index] = "".join(parts)


def setup(app: Any) -> None:
    """Write what is made from the sources, and hook in."""
    api_pages.write()
    floors_figure.write()
    app.connect("source-read", pages_for_files)
    app.connect("missing-reference", by_last_name)
    app.connect("autodoc-process-docstring", formulas_as_text, priority=100)
