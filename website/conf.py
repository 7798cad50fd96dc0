"""How Sphinx makes the pages. ``build.py`` gathers what it reads and calls it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import about  # noqa: E402

project = "Mamba, one pixel at a time"
author = 'The authors of "Mamba, one pixel at a time"'
copyright = "the authors"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_codeautolink",
    "pages",
    "mathml",
]
templates_path = [str(Path(__file__).parent / "_templates")]

# What a notebook shows is what it printed when it was executed.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = []
# The Triton kernels can be read where Triton cannot be installed.
try:
    import triton  # noqa: F401
except ImportError:
    autodoc_mock_imports.append("triton")
codeautolink_concat_default = True
nitpicky = False

html_theme = "furo"
html_title = project
html_baseurl = about.address()
html_css_files = ["style.css"]
html_js_files = [("scroll.js", {"defer": "defer"})]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # it would be fetched, which a page opened from the disk may not do
html_domain_indices = False
html_use_index = False
copybutton_exclude = ".linenos, .gp, .go"
