"""The code that more than one notebook needs, in the order in which data flows through it.

``mnist`` makes sequences of pixels, ``scan`` runs the selective scan over them (on a CPU with what ``cpu`` offers),
``conv`` the short convolution. ``mamba`` builds the block around both, ``s4d`` its ancestor, ``models`` classifiers.
``train`` fits and evaluates them, ``checkpoint`` keeps what comes of it, ``runs`` are the trainings that are reported.
``plots`` draws. ``benchmark`` measures: ``contenders`` are what it compares, ``measure`` is how, ``record`` what is
written down. ``files`` writes whole files or none.
"""

import os
import sys

if "torch" not in sys.modules:
    # torch's OpenMP threads spin between two operations. Where another process is busy, or where there are fewer cores
    # than threads, they spin away the time in which the others could work: a training step then takes 10 to 50 times as
    # long. Sleeping costs a little where nothing else runs. The setting is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
