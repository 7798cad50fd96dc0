"""What makes a fresh Colab runtime, or any machine, ready: the fastest selective scan that is proven to be right.

``setup`` is what the first cell of every notebook calls: it asks ``machine`` what is there, takes candidates from
``wheels`` (whose table is ``wheels.json``), has ``install`` put one in place and ``verify`` prove it, and says in four
lines what came of it. ``build`` compiles upstream's source, if asked. Whatever can hang or crash runs in a process of
its own, through ``steps``. ``links`` writes the first cell and the badges. ``report`` is for an issue.

``gpu`` and ``gpu_parts`` are something else: they do all that needs a GPU, on a machine that has one for minutes.
``at_home`` runs every page in a runtime made to resemble Colab's.
"""
