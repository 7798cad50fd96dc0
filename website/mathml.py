"""Math as MathML, made when the pages are built: the browser draws it, with nothing to load but a font."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def mathml(tex: str, display: str) -> str:
    """A formula in TeX as a ``<math>`` element; ``display`` is ``"inline"`` or ``"block"``."""
    found = convert(tex, display=display)
    # A prime is a raised character already, and a minus behind another operator is a sign.
    found = re.sub(
        r"<msup>(<mi>\w</mi>)<mi>(&#x02032;)</mi></msup>", r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', found
    )
    found = re.sub(
        r"(<mo[^>]*>(?!&#x00029;)[^<]*</mo>(?:<mspace[^>]*>)?<mo)(>&#x02212;</mo>)", r'\1 form="prefix"\2', found
    )
    # Plus or minus is an operator, and a bar sits close to its letter.
    found = found.replace("<mi>&#x000B1;</mi>", "<mo>&#x000B1;</mo>")
    found = re.sub(r'<mover>(<mi>\w</mi>)<mo stretchy="true">&#x000AF;', r'<mover accent="true">\1<mo>&#x000AF;', found)
    # Names of functions keep their distance from what they are applied to, unless it is in parentheses.
    found = re.sub(
        r"<mi>(log|ln|exp|cos|sin)</mi>(?!<mo[^>]*>&#x00028;)", r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', found
    )
    return found.replace(r"\_", "_")


def inline(self, node):
    self.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def block(self, node):
    self.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
