"""The code that more than one notebook needs, in the order in which data flows through it.

``mnist`` makes sequences of pixels. ``scan`` runs the selective scan over them and ``conv`` the short convolution;
``simd`` and ``threads`` are what their CPU kernels are made of. ``layers`` carry information from position to position,
``models`` are the classifiers around them. ``train`` fits and evaluates, ``checkpoint`` saves and loads,
``experiments`` reads what was trained and measured before. ``plots`` draws, ``benchmark`` measures.
"""

import os
import sys

if "torch" not in sys.modules:
    # torch's idle OpenMP threads spin. Where another process is busy they spin away the time in which the others could
    # work: a training step then takes 10 to 50 times as long. Asked to sleep they cost a little where nothing else
    # runs. OpenMP reads this once, when torch is loaded: so the first cell of every page imports helpers before torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
