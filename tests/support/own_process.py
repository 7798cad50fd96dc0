"""Tests that need a process of their own, each a case in the one run of pytest.

A test marked ``own_process(NAME="value", ...)`` runs in another pytest, which has these environment variables. One such
process runs all the selected tests of one environment, as soon as the first of them is due, and notes pytest's reports
on them. Here they are given out again, case by case: passed, skipped or failed, with text and duration.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

RECORD = "TESTS_RECORD_REPORTS_IN"  # in the other process: the file for its reports


def inside() -> bool:
    """Whether this is such a process."""
    return RECORD in os.environ


class Process:
    """The tests of one environment; they run when the first report is asked for."""

    def __init__(self, session, environment):
        self.session, self.environment = session, environment

    @functools.cached_property
    def result(self):
        """``({test: {phase: report}}, what was printed)``."""
        tests = [item.nodeid for item in self.session.items if getattr(item, "process", None) is self]
        config, reports = self.session.config, {}
        with tempfile.TemporaryDirectory() as folder:
            record, arguments = Path(folder, "reports"), Path(folder, "tests")
            record.touch()
            arguments.write_text("\n".join(tests), encoding="utf-8")
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:nbval", f"@{arguments}"]
            environment = {**os.environ, **self.environment, RECORD: str(record)}
            run = subprocess.run(command, cwd=config.rootpath, env=environment, capture_output=True, text=True)
            for line in record.read_text(encoding="utf-8").splitlines():
                report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
                if report.skipped and isinstance(report.longrepr, list):  # a tuple, before it was JSON
                    report.longrepr = tuple(report.longrepr)
                reports.setdefault(report.nodeid, {})[report.when] = report
        return reports, (run.stdout + run.stderr)[-5000:]


class Elsewhere(pytest.Item):
    """A test that runs in another process, and is reported here."""

    def __init__(self, original, process, **options):
        super().__init__(**options)
        self.original, self.process, self.own_markers = original, process, original.own_markers
        self.keywords.update(original.keywords)

    def reportinfo(self):
        return self.original.reportinfo()

    def report(self, phase):
        return self.process.result[0].get(self.nodeid, {}).get(phase)

    def setup(self):
        self._expect("setup")

    def runtest(self):
        self._expect("call")

    def _expect(self, phase):
        if self.report(phase) is None:
            pytest.fail(f"The process ended before this test was done.\n{self.process.result[1]}", pytrace=False)


@pytest.hookimpl(trylast=True)  # when it is settled which tests are selected
def pytest_collection_modifyitems(session, items):
    processes = {}
    for number, item in enumerate(items):
        mark = item.get_closest_marker("own_process")
        if mark and not inside():
            process = processes.setdefault(str(mark.kwargs), Process(session, mark.kwargs))
            items[number] = Elsewhere.from_parent(item.parent, name=item.name, original=item, process=process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if inside():
        data = item.config.hook.pytest_report_to_serializable(config=item.config, report=report)
        with open(os.environ[RECORD], "a", encoding="utf-8") as record:
            record.write(json.dumps(data) + "\n")
    elif isinstance(item, Elsewhere) and not call.excinfo:
        report = item.report(call.when) or report
    return report
