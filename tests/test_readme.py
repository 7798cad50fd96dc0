"""The README names what is there."""

import re

from repository import ROOT


def test_readme_names_the_commands_and_files_that_are_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run\n" in readme and "make test\n" in readme
    for link in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / link).exists(), link
