"""What each way to run a selective scan, or a layer, costs in time and memory: ``python -m helpers.benchmark --help``.

``contenders`` are what is compared, ``measure`` is how memory is measured and cost is foreseen, ``report`` writes down
what was found.
"""
