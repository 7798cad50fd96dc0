"""A step of the set-up has a time limit, and is ended with all that it started."""

import os
import select

import pytest

from colab import steps

posix = pytest.mark.skipif(os.name != "posix", reason="needs the commands of a Unix system")


@pytest.mark.slow
@posix
def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    code = f"""if True:
        import subprocess, time
        with open({str(tmp_path / "pipe")!r}, "wb", 0) as pipe:
            subprocess.Popen(["sleep", "99"], stdout=pipe)
            pipe.write(b"begun")
        time.sleep(99)
    """
    with pytest.raises(steps.TooSlow, match="it took longer than 3 s"):
        steps.run(steps.python("-c", code), steps.Deadline(100), 3)
    assert os.read(pipe, 9) == b"begun"
    assert select.select([pipe], [], [], 10)[0] and os.read(pipe, 9) == b"", (
        "what it started is gone: the pipe has ended"
    )
    os.close(pipe)
    with pytest.raises(steps.TooSlow, match="no time was left for it"):
        steps.run(["true"], steps.Deadline(-1), 3)
