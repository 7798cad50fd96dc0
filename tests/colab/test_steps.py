"""A step of the set-up has a time limit, and is ended with all that it started."""

import os
import subprocess

import pytest

from colab import steps

posix = pytest.mark.skipif(os.name != "posix", reason="needs the commands of a Unix system")


@pytest.mark.slow
@posix
def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = f"""if True:
        import subprocess, time
        with open({str(tmp_path / "id")!r}, "w") as file:
            file.write(str(subprocess.Popen(["sleep", "99"]).pid))
        time.sleep(99)
    """
    with pytest.raises(steps.TooSlow, match="it took longer than 3 s"):
        steps.run(steps.python("-c", code), steps.Deadline(100), 3)
    child = (tmp_path / "id").read_text()
    state = subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True, text=True).stdout.strip()
    assert state == "" or state.startswith("Z"), "gone, or dead and not yet buried"
    with pytest.raises(steps.TooSlow, match="no time was left for it"):
        steps.run(["true"], steps.Deadline(-1), 3)
