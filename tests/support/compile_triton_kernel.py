"""Compile the kernels of helpers.scan and helpers.conv for GPUs that are not there, and say what they would occupy.

``python tests/support/compile_triton_kernel.py [75 80 ...]`` launches scan and convolution as on a GPU, takes down what
the kernels are called with, and hands that to Triton's compiler for each compute capability. One line for each:
registers and bytes of spilled registers (stack and local memory) a lane, bytes of shared memory a program,
instructions; those of the longest loop (of a scan: over chunks), all and for the special function units; warps that one
multiprocessor can hold at once; and how many instructions of the PTX compute in bfloat16.

Not under TRITON_INTERPRET=1: Triton's interpreter and its compiler cannot share a process.
"""

import contextlib
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from helpers.conv import triton_kernel as convolution
from helpers.scan import triton_kernel, triton_passes

# Per multiprocessor: programs, warps, shared memory (KiB). CUDA C++ Programming Guide, technical specifications.
LIMITS = {75: (16, 32, 64), 80: (32, 64, 164), 89: (24, 48, 100), 90: (32, 64, 228), 100: (32, 64, 228)}
TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}
INSTRUCTION = r"^\s+/\*[0-9a-f]{4,}\*/\s+[^/\s]"
COLUMNS = (
    "triton sm kernel variant registers spilled shared instructions loop special warps_per_sm bf16_arithmetic".split()
)


class Recorder:
    """Takes a kernel's place and puts itself, with what it is launched with, on a list of launches."""

    def __init__(self, name, kernel, launches):
        self.name, self.kernel, self.launches = name, kernel, launches

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **named):
        launched = Recorder(self.name, self.kernel, self.launches)
        names = self.kernel.arg_names
        launched.options = {name: value for name, value in named.items() if name not in names}
        launched.arguments = dict(zip(names, arguments, strict=False)) | {n: x for n, x in named.items() if n in names}
        self.launches.append(launched)

    def source(self):
        """What Triton makes of these arguments: None, 1 and multiples of 16 are known to the compiler."""
        constants, attributes = {}, {}

        def declare(path, value, constant):
            if isinstance(value, tuple):
                return tuple(declare((*path, i), x, False) for i, x in enumerate(value))
            if constant or value is None or (isinstance(value, int) and value == 1):
                constants[path] = value
                return "constexpr"
            if isinstance(value, torch.Tensor) or value % 16 == 0:
                attributes[path] = [["tt.divisibility", 16]]
            return TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32"

        signature = {
            parameter.name: declare((i,), self.arguments[parameter.name], parameter.is_constexpr)
            for i, parameter in enumerate(self.kernel.params)
        }
        return ASTSource(self.kernel, signature, constants, attributes)


@contextlib.contextmanager
def recording(module, prefix=""):
    """Within it, kernels of ``module`` are not run; gives the list of their launches, named after them."""
    launches = []
    kernels = {name: kernel for name, kernel in vars(module).items() if name.endswith("_kernel")}
    recorders = {name: Recorder(prefix + name.removesuffix("_kernel"), k, launches) for name, k in kernels.items()}
    with mock.patch.multiple(module, **recorders):
        yield launches


def sequence(batch, length, n, dtype, channels_last):
    """``(batch, n, length)``, zero."""
    if channels_last:
        return torch.zeros(batch, length, n, dtype=dtype).transpose(1, 2)
    return torch.zeros(batch, n, length, dtype=dtype)


def record(dtype=torch.float32, minimal=False, channels_last=True, batch=4, dim=128, length=784, d_state=16, groups=1):
    """The scan's kernels as they are launched, forward and backward, for the arguments described."""
    u, delta, z = (sequence(batch, length, dim, dtype, channels_last).requires_grad_() for _ in range(3))
    A, D, delta_bias, state = (torch.zeros(n) for n in ((dim, d_state), dim, dim, (batch, dim, d_state)))
    B, C = (sequence(batch, length, groups * d_state, dtype, channels_last) for _ in "BC")
    B, C = (x.unflatten(1, (groups, d_state)) for x in (B, C))
    options = (None, None, None, None, False) if minimal else (D, z, delta_bias, state, True)
    with recording(triton_passes) as launches:
        y, last_state = triton_kernel.scan(u, delta, A, B, C, *options)
        torch.autograd.grad([y, last_state][: 1 if minimal else 2], u, [y, last_state][: 1 if minimal else 2])
    return launches


def record_convolution(dtype=torch.float32, minimal=False, channels_last=True, batch=16, dim=128, length=784, width=4):
    """The same for the convolution."""
    x = sequence(batch, length, dim, dtype, channels_last).requires_grad_()
    weight, bias, states = torch.zeros(dim, width), torch.zeros(dim), torch.zeros(batch, dim, width - 1)
    with recording(convolution, "convolution-") as launches:
        y = convolution.causal_conv1d(x, weight, *((None, None, None) if minimal else (bias, states, "silu")))
        torch.autograd.grad(y, x, y)
    return launches


def tool(name, *arguments):
    path = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout


def longest_loop(code):
    """The instructions of the longest loop in disassembled code: that over chunks, for a sequence that has some."""
    labels, lines, longest = {}, [], []
    for line in code.splitlines():
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = len(lines)
        elif re.match(INSTRUCTION, line):
            lines.append(line)
            jump = re.search(r"\bBRA.*\((\.L_\w+)\)", line)
            if jump and len(lines) - labels.get(jump[1], len(lines)) > len(longest):
                longest = lines[labels[jump[1]] :]
    return longest


def resources(kernel, sm):
    """Compile for one compute capability; the columns after the variant."""
    compiled = triton.compile(kernel.source(), target=GPUTarget("cuda", sm, 32), options=kernel.options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(compiled.asm["cubin"])
        usage = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", tool("cuobjdump", "--dump-resource-usage", cubin)))
        code = tool("nvdisasm", "-c", cubin)
    instructions, loop = len(re.findall(INSTRUCTION, code, re.M)), longest_loop(code)
    registers, shared, warps = int(usage["REG"]), compiled.metadata.shared, kernel.options["num_warps"]
    programs, most_warps, memory = LIMITS[sm]
    of_a_warp = math.ceil(registers * 32 / 256) * 256  # registers are handed out by the 256, to 4 schedulers with 16 K
    programs = min(programs, most_warps // warps, 16384 // of_a_warp * 4 // warps)
    if shared:
        programs = min(programs, memory * 1024 // (shared + (1024 if sm >= 80 else 0)))
    # What computes in bfloat16: not conversions (cvt), moves, nor an add.rn.f32.bf16, which is a float32 addition.
    arithmetic = r"^\s*(?:@\S+ )?(?:fma|add|sub|mul|div|neg|abs|min|max|ex2|tanh|set|setp)(?:\.(?!f32)\w+)*\.bf16"
    bf16 = re.findall(arithmetic, compiled.asm["ptx"], re.M)
    spilled = int(usage["STACK"]) + int(usage["LOCAL"])
    special = sum("MUFU" in line for line in loop)
    return registers, spilled, shared, instructions, len(loop), special, programs * warps, len(bf16)


def variants(sm):
    """Every option, in float32 and in half precision; and on the oldest target all that may compile differently.

    With a batch of 4 the length is split, with 64 it is one segment.
    """
    yield "all", {}
    yield "half", {"dtype": torch.bfloat16 if sm >= 80 else torch.float16}
    if sm == min(LIMITS):
        yield "channels-first", {"batch": 64, "channels_last": False}
        yield "minimal", {"batch": 64, "minimal": True}
        yield "one", {"batch": 1, "dim": 1, "length": 1, "d_state": 1}
        yield "odd", {"batch": 3, "dim": 6, "length": 9, "d_state": 3, "groups": 2}
        yield "d_state=4", {"batch": 64, "d_state": 4}
        yield "d_state=64", {"batch": 1, "d_state": 64}


def convolution_variants(sm):
    yield "all", {}
    yield "half", {"dtype": torch.bfloat16 if sm >= 80 else torch.float16}
    if sm == min(LIMITS):
        yield "channels-first", {"channels_last": False}
        yield "minimal", {"minimal": True}
        yield "one", {"batch": 1, "dim": 1, "length": 1, "width": 1}


def main(targets):
    print(*COLUMNS)
    for sm in targets:
        for recorded, cases in ((record, variants(sm)), (record_convolution, convolution_variants(sm))):
            for variant, options in cases:
                for kernel in recorded(**options):
                    print(triton.__version__, sm, kernel.name, variant, *resources(kernel, sm), flush=True)


if __name__ == "__main__":
    main([int(x) for x in sys.argv[1:]] or list(LIMITS))
