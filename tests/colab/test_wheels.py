"""Which prebuilt wheels fit which machine."""

import itertools
import re

import pytest
from fake_wheels import NO_GPU, gpu

from colab import wheels

BUILT_FOR = ("python", "torch", "cuda", "abi", "processor")


def test_the_table_is_well_formed():
    table = wheels.table()
    assert re.fullmatch(r"20\d\d-\d\d", table["checked"])
    release = r"mamba_ssm-[\w.]+\+cu\d\dtorch2\.\d+cxx11abi(TRUE|FALSE)-cp(3\d+)-cp\2-linux_(x86_64|aarch64)\.whl"
    listed = r"mamba_ssm-[\w.]+\+cu\.\d\d\.\d\.torch\.2\.\d+-cp(3\d+)-cp\1-\*linux\*_(x86_64|aarch64)\.whl"
    for entry in table["wheels"]:
        assert set(entry) - {"address", "index"} == {"source", "name", "sha256", *BUILT_FOR}
        assert ("address" in entry) != ("index" in entry)
        assert (entry.get("address") or entry["index"]).startswith("https://")
        for values in itertools.product(*(entry[key] for key in BUILT_FOR)):
            name = entry["name"].format(version=table["version"], **dict(zip(BUILT_FOR, values, strict=True)))
            assert re.fullmatch(release if "address" in entry else listed, name), name
        assert all(re.fullmatch("[0-9a-f]{64}", hash) for hash in (entry["sha256"] or {}).values())


@pytest.mark.parametrize(
    "here, expected",
    [
        # Colab's runtime 2026.04: the release wheel fits exactly.
        ({"python": "3.12.13", "torch": "2.10.0+cu128"}, ["cu12torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"]),
        # 2026.07 and 2026.08: no release for torch 2.11, but a prebuilt one, and an older one that is said to work.
        (
            {"python": "3.13.15", "torch": "2.11.0+cu128"},
            ["cu.12.8.torch.2.11-cp313-cp313-*linux*_x86_64", "cu12torch2.10cxx11abiTRUE-cp313-cp313-linux_x86_64"],
        ),
        (
            {"python": "3.12.1", "torch": "2.12.1+cu130", "cuda": "13.0"},
            ["cu13torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"],
        ),
        (
            {"python": "3.10.1", "torch": "2.6.0", "cuda": "11.8", "abi": False, "processor": "aarch64"},
            ["cu11torch2.6cxx11abiFALSE-cp310-cp310-linux_aarch64"],
        ),
        ({"python": "3.9.1"}, []),
        ({"python": "3.12.1", "torch": "2.15.0+cu132", "cuda": "13.2"}, []),
        ({"cuda": None}, []),
        ({"system": "Windows"}, []),
        (NO_GPU, []),
    ],
)
def test_which_wheels_fit(here, expected):
    assert [wheel.name for wheel in wheels.fitting(gpu(**{"processor": "x86_64", **here}))] == [
        f"mamba_ssm-2.3.2.post1+{n}.whl" for n in expected
    ]
