"""What each way to run a selective scan, or a layer, costs in time and memory: ``python -m helpers.benchmark --help``.

``contenders`` are what is compared, ``measure`` is how memory is measured and cost is forecast, ``report`` decides what
is timed and writes down what was found.
"""
