"""What our CPU kernels are made of: vectors of sixteen numbers, and the functions that are computed on them.

Numba compiles a loop over numbers; whether LLVM turns it into vector instructions is LLVM's guess. Here the vector is
a type of its own, ``LANES`` floats that are loaded, computed with and stored together, and LLVM maps it to whatever the
processor has: one AVX-512 register, two of AVX2, four of Arm's NEON.
"""

import math
import operator

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model
from numpy.polynomial import Chebyshev, Polynomial

LANES = 16
CONTRACT = {"contract"}  # a * b + c in one instruction; nothing else may be reordered, so that a result is one result


# --- a vector of numbers ---------------------------------------------------------------------------------------------


class Lanes(types.Type):
    """``LANES`` numbers of type ``real``, in one register or several."""

    def __init__(self, real):
        super().__init__(f"{LANES} x {real}")
        self.real = real


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.real).get_value_type(), LANES))


# NumPy and Numba have no bfloat16: an array of it is passed as the integers that have its bits.
BFLOAT16 = types.uint16


def array(tensor):
    """A contiguous tensor on the CPU as a NumPy array for the kernels, which shares its memory."""
    tensor = tensor.contiguous()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def tensor(array):
    """The inverse of :func:`array`."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def _pointer(context, builder, array, data, offset):
    address = builder.gep(context.make_array(array)(context, builder, data).data, [offset])
    return builder.bitcast(address, context.get_value_type(Lanes(array.dtype)).as_pointer())


@intrinsic
def load(typing, array, offset):
    """The ``LANES`` numbers of a contiguous array from a flat ``offset`` on; of a bfloat16 array as float32."""

    def build(context, builder, signature, values):
        found = builder.load(_pointer(context, builder, array, *values), align=array.dtype.bitwidth // 8)
        if array.dtype != BFLOAT16:
            return found
        integers, floats = (ir.VectorType(kind, LANES) for kind in (ir.IntType(32), ir.FloatType()))
        return builder.bitcast(builder.shl(builder.zext(found, integers), ir.Constant(integers, [16] * LANES)), floats)

    return Lanes(types.float32 if array.dtype == BFLOAT16 else array.dtype)(array, types.intp), build


@intrinsic
def store(typing, array, offset, value):
    """Write ``value`` into a contiguous array, from a flat ``offset`` on; into a bfloat16 array rounded to nearest."""

    def build(context, builder, signature, values):
        data, offset, value = values
        if array.dtype == BFLOAT16:
            value = _rounded(builder, value)
        builder.store(value, _pointer(context, builder, array, data, offset), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), build


def _rounded(builder, floats):
    """The upper half of every float32, after rounding to the nearest, to the even one of two as near."""
    integers = ir.VectorType(ir.IntType(32), LANES)
    bits = builder.bitcast(floats, integers)
    sixteen, one, half, nan = (ir.Constant(integers, [value] * LANES) for value in (16, 1, 0x7FFF, 0x7FC0))
    odd = builder.and_(builder.lshr(bits, sixteen), one)
    upper = builder.lshr(builder.add(bits, builder.add(odd, half)), sixteen)
    upper = builder.select(builder.fcmp_unordered("uno", floats, floats), nan, upper)
    return builder.trunc(upper, ir.VectorType(ir.IntType(16), LANES))


@intrinsic
def prefetch(typing, array, offset):
    """Ask for the cache line at a flat ``offset``, which may lie outside of the array: nothing is read."""

    def build(context, builder, signature, values):
        data = context.make_array(array)(context, builder, values[0]).data
        address = builder.bitcast(builder.gep(data, [values[1]]), ir.IntType(8).as_pointer())
        integer = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, integer, integer, integer])
        function = builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        builder.call(function, [address, integer(0), integer(3), integer(1)])  # for reading, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@intrinsic
def load_broadcast(typing, array, offset):
    """The one number at a flat ``offset`` of a contiguous array, in every lane."""

    def build(context, builder, signature, values):
        data = context.make_array(array)(context, builder, values[0]).data
        return _splat(builder, builder.load(builder.gep(data, [values[1]])))

    return Lanes(array.dtype)(array, types.intp), build


@intrinsic
def splat(typing, number):
    """The same number in every lane."""

    def build(context, builder, signature, values):
        return _splat(builder, values[0])

    return Lanes(number)(number), build


def _splat(builder, number):
    vector = ir.VectorType(number.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


@intrinsic
def sum_lanes(typing, array, offset):
    """The sums over the lanes of ``LANES`` vectors that follow one another from a flat ``offset`` on: a sum a lane.

    Neighboring lanes of two vectors are added, and their sums are one vector: then there are half as many vectors. The
    order of additions is fixed. One vector at a time would take three times as many operations.
    """

    def build(context, builder, signature, values):
        data, offset = values
        rows = []
        for row in range(LANES):
            place = builder.add(offset, ir.Constant(offset.type, row * LANES))
            pointer = _pointer(context, builder, array, data, place)
            rows.append(builder.load(pointer, align=array.dtype.bitwidth // 8))
        lanes = ir.VectorType(ir.IntType(32), LANES)
        even, odd = (ir.Constant(lanes, list(range(first, 2 * LANES, 2))) for first in (0, 1))
        while len(rows) > 1:
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [builder.fadd(*(builder.shuffle_vector(x, y, which) for which in (even, odd))) for x, y in pairs]
        return rows[0]

    return Lanes(array.dtype)(array, types.intp), build


def _elementwise(build_one):
    """An intrinsic of two arguments, at least one a vector; a number is put into every lane."""

    @intrinsic
    def function(typing, x, y):
        kind = x if isinstance(x, Lanes) else y

        def build(context, builder, signature, values):
            x, y = (
                v if isinstance(given, Lanes) else _splat(builder, v)
                for given, v in zip(signature.args, values, strict=True)
            )
            return build_one(builder, x, y)

        arguments = (given if isinstance(given, Lanes) else kind.real for given in (x, y))
        return kind(*arguments), build

    return function


# It keeps a NaN in the first argument: every comparison with one is false.
maximum = _elementwise(lambda builder, x, y: builder.select(builder.fcmp_ordered("<", x, y), y, x))


def _define(symbol, build_one):
    function = _elementwise(build_one)

    @overload(symbol)
    def _(x, y):
        if isinstance(x, Lanes) or isinstance(y, Lanes):
            return lambda x, y: function(x, y)


_define(operator.add, lambda builder, x, y: builder.fadd(x, y, flags=["contract"]))
_define(operator.sub, lambda builder, x, y: builder.fsub(x, y, flags=["contract"]))
_define(operator.mul, lambda builder, x, y: builder.fmul(x, y, flags=["contract"]))
_define(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))


# --- exp, softplus and the sigmoid, on vectors -----------------------------------------------------------------------


def _integers(floats):
    """Integers of the same size as ``floats``, and the number of bits below a float's exponent."""
    bits, mantissa = (32, 23) if floats.element == ir.FloatType() else (64, 52)
    return ir.VectorType(ir.IntType(bits), LANES), mantissa


def _scale(builder, p, k):
    """``p * 2**k``, where the lowest bits of a float hold the integer k: add it to the exponent of p."""
    integers, mantissa = _integers(p.type)
    shift = ir.Constant(integers, [mantissa] * LANES)
    scaled = builder.add(builder.bitcast(p, integers), builder.shl(builder.bitcast(k, integers), shift))
    return builder.bitcast(scaled, p.type)


def _at_most(builder, x, high):
    """The smaller of x and a positive number, compared as integers, for which the processor has units to spare.

    A positive NaN counts as a large number.
    """
    integers, _ = _integers(x.type)
    smaller = builder.icmp_signed("<", builder.bitcast(x, integers), builder.bitcast(high, integers))
    return builder.select(smaller, x, high)


_scale, _at_most = _elementwise(_scale), _elementwise(_at_most)


def _through(function, degree, low, high):
    """The coefficients, highest first, of the polynomial that meets ``function`` at the Chebyshev nodes."""
    return Chebyshev.interpolate(function, degree, domain=[low, high]).convert(kind=Polynomial).coef[::-1]


def _slope(x):
    """(exp(x) - 1) / x, which is 1 at 0."""
    x = np.where(x == 0, 1e-300, x)
    return np.expm1(x) / x


def _functions(real, mantissa, bias, exp_degree, log_degree):
    exp_coefficients = tuple(
        real(c) for c in _through(lambda r: math.log(2) * _slope(r * math.log(2)), exp_degree - 1, -0.5, 0.5)
    )
    log_coefficients = tuple(
        real(c) for c in _through(lambda q: 2 * np.arctanh(np.sqrt(q)) / np.sqrt(q), log_degree, 0, 1 / 9)
    )
    rounds = real(1.5 * 2**mantissa)  # so large that adding it leaves no room for a fraction
    low, high = real(-bias), real(bias + 1)  # here the scaling gives exactly 0, and exactly infinity
    zero, one, two, minus_log2e = real(0), real(1), real(2), real(-1 / math.log(2))

    @njit(fastmath=CONTRACT)
    def exp2(x):
        x = maximum(_at_most(x, high), low)
        k = x + rounds
        r = x - (k - rounds)  # between -1/2 and 1/2, and k holds the integer
        p = splat(exp_coefficients[0])
        for c in exp_coefficients[1:]:
            p = p * r + c
        return _scale(p * r + one, k)

    @njit(fastmath=CONTRACT)
    def log1p(x):
        s = x / (x + two)
        q = s * s
        p = splat(log_coefficients[0])
        for c in log_coefficients[1:]:
            p = p * q + c
        return p * s

    @njit(fastmath=CONTRACT)
    def softplus(x):
        return maximum(x, zero) + log1p(exp2(maximum(x, zero - x) * minus_log2e))

    @njit(fastmath=CONTRACT)
    def sigmoid(x):
        return one / (one + exp2(x * minus_log2e))

    return {"exp2": exp2, "softplus": softplus, "sigmoid": sigmoid}


_FUNCTIONS = {
    types.float32: _functions(np.float32, 23, 127, 5, 3),
    types.float64: _functions(np.float64, 52, 1023, 12, 11),
}


def exp2(x):
    """2 to the power of every lane. A NaN gives infinity or NaN, never a finite number."""


def softplus(x):
    """log(1 + exp(x)), for x of any size."""


def sigmoid(x):
    """1 / (1 + exp(-x)): the slope of softplus, and silu's gate."""


def _choose(function):
    @overload(function)
    def _(x):
        chosen = _FUNCTIONS[x.real][function.__name__]
        return lambda x: chosen(x)


for _function in (exp2, softplus, sigmoid):
    _choose(_function)
