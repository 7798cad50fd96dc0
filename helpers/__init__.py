"""The code that more than one notebook needs, in the order in which data flows through it.

``mnist`` makes sequences of pixels. ``simd``, ``jit`` and ``threads`` are what the CPU kernels are made of,
``triton_math`` what the GPU kernels are; ``detect`` tries whether they work, and ``derivatives`` gives PyTorch what
else it may ask of them. ``scan`` runs the selective scan, ``ssd`` Mamba-2's, and ``conv`` the short convolution;
``testing`` says what they are held against. ``layers`` carry information from position to position. ``checkpoint``
saves and loads, ``models`` are classifiers and generator, ``copying`` a task of any length, ``experiments`` reads what
was trained and measured before. ``train`` fits and evaluates, ``inspect`` looks inside, ``plots`` draws, ``benchmark``
measures, and ``exercises`` checks what readers write. ``files``, ``timing``, ``machine`` and ``cuda_graph`` serve them
all. Imports only point backwards.
"""

import os
import sys

if "torch" not in sys.modules:
    # torch's idle OpenMP threads spin. Where another process is busy they take the time in which others could work: a
    # training step then takes 10 to 50 times as long. Letting them sleep costs a little where nothing else runs. OpenMP
    # reads this once, when torch is loaded, so the first cell of every page imports helpers before torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
