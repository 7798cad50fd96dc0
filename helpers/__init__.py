"""The code that more than one notebook needs, in the order in which data flows through it.

``mnist`` makes sequences of pixels, ``scan`` runs the selective scan over them, ``mamba`` builds the block around the
scan, ``models`` the classifiers, ``train`` fits and evaluates them, ``plots`` draws, ``benchmark`` measures.
"""
