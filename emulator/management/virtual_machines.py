"""Sizes of virtual machines, as far as the emulator decides by them."""

from __future__ import annotations

import re

# Sizes whose name does not say their virtual CPUs (the v2 and older series count sizes, not CPUs).
_NAMED = {
    "standard_d1_v2": 1,
    "standard_d2_v2": 2,
    "standard_d3_v2": 4,
    "standard_d4_v2": 8,
    "standard_d5_v2": 16,
    "standard_d11_v2": 2,
    "standard_d12_v2": 4,
    "standard_d13_v2": 8,
    "standard_d14_v2": 16,
    "standard_a1_v2": 1,
    "standard_a2_v2": 2,
    "standard_a4_v2": 4,
    "standard_a8_v2": 8,
}


def virtual_cpus(size: str) -> int:
    """Virtual CPUs of a size such as ``Standard_D4s_v3`` (https://aka.ms/azureml-vm-details).

    A size that neither the table nor its own name explains counts as 1.
    """
    known = _NAMED.get(size.lower().replace("ds", "d"))
    if known is not None:
        return known
    match = re.match(r"(?:standard_)?[a-z]+(\d+)", size.lower())
    return int(match.group(1)) if match else 1


SIZES = ("Standard_D2_v2", "Standard_D3_v2", "Standard_D4_v2", "Standard_D2s_v3", "Standard_D4s_v3", "Standard_D8s_v3")
