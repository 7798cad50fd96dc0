"""What a figure shows, as data: which axes it has, and what a reader finds in them by the legend."""

import matplotlib.pyplot as plt


def drawn():
    """The visible axes of the one figure that is open, after it was drawn."""
    (number,) = plt.get_fignums()
    figure = plt.figure(number)
    figure.canvas.draw()
    return [axes for axes in figure.axes if axes.get_visible()]


def data(line):
    """``(x, y)`` of a line, two lists."""
    return [[float(number) for number in numbers] for numbers in line.get_data()]


def curves(axes, legend):
    """``{entry of the legend: (x, y)}``, of the one line of the axes that looks like the entry."""

    def look(line):
        return line.get_color(), line.get_marker(), line.get_linestyle()

    found = {}
    for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        same = [line for line in axes.lines if look(line) == look(handle)]
        if same:
            (line,) = same
            found[text.get_text()] = data(line)
    return found


def texts(artists):
    """What they say, in order."""
    return [text.get_text() for text in artists]


def ticks(axis):
    """``{label: place}`` of the major ticks of an axis."""
    return {label.get_text(): label.get_position()[axis.axis_name == "y"] for label in axis.get_majorticklabels()}


def says(axis, value):
    """What the axis writes at a value."""
    return axis.get_major_formatter()(value, 0)
