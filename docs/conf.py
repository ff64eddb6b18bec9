"""The documentation site: `make docs` builds it from the pages of this repository and the docstrings.

The root of the repository is its source, so that a page links to what stands beside docs/ as it does in the
repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import infoplane  # noqa: E402

project = "infoplane"
author = copyright = "The infoplane developers"
version = release = infoplane.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/gallery/*.rst", "benchmarks/*.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = ["docs/README.md"]
# Tables of studies are pages that others link to, not chapters.
suppress_warnings = ["toc.not_included", "myst.header"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
autoclass_content = "both"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "docs/gallery",
    "filename_pattern": r"\.py$",
    "download_all_examples": False,
    "show_memory": False,
}
html_theme = "furo"
html_title = "infoplane"
html_static_path: list[str] = []


def leave_folders(app: Sphinx, tree: nodes.document) -> None:
    """Leaves the words of a link to a folder of the repository, which the site does not have."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(tree.findall(addnodes.pending_xref)):
        if (here / str(link["reftarget"])).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", leave_folders)
