"""The book: every page and notebook of this repository as a static site (Sphinx, MyST-NB).

Built by `make book` from a copy in build/book/source, laid out as the repository is, so that the
same relative links hold on GitHub and here.
"""

project = "Safety after fine-tuning, grounded in capability"
author = "The contributors"
copyright = "The contributors, CC-BY-4.0"  # noqa: A001
extensions = ["myst_nb"]
nb_execution_mode = "off"  # pages show what was committed
nb_mime_priority_overrides = [("html", "image/png", 0)]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
root_doc = "README"
html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"use_download_button": True, "use_fullscreen_button": False}
html_last_updated_fmt = None
html_show_sphinx = False
linkcheck_timeout = 20
