"""The README names what is there, and all that name a version name the same."""

import re

from repository import ROOT


def test_readme_names_the_commands_and_files_that_are_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run\n" in readme and "make test\n" in readme
    for link in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / link).exists(), link


def test_one_version():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1]
    changed = re.search(r"^## (\S+):", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert declared == cited == changed
