"""Sizes of virtual machines, as far as the emulator decides by them."""

from __future__ import annotations

import re

# The D series, versions 1 and 2, number their sizes and not their virtual CPUs; so do the first A and the G series.
_D = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 11: 2, 12: 4, 13: 8, 14: 16, 15: 20}
_A = {0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 2, 6: 4, 7: 8, 8: 8, 9: 16, 10: 8, 11: 16}
_G = {1: 2, 2: 4, 3: 8, 4: 16, 5: 32}
_NUMBERED = ((r"ds?(\d+)(_v2)?(_promo)?", _D), (r"a(\d+)", _A), (r"gs?(\d+)", _G))


def virtual_cpus(size: str) -> int:
    """Virtual CPUs of a size such as ``Standard_D4s_v3`` (https://aka.ms/azureml-vm-details).

    A constrained size such as ``Standard_E4-2s_v3`` has the second number. A size that says nothing counts as 1.
    """
    name = re.sub(r"^(standard|basic)_", "", size.lower())
    for pattern, cpus in _NUMBERED:
        match = re.fullmatch(pattern, name)
        if match and int(match.group(1)) in cpus:
            return cpus[int(match.group(1))]
    match = re.match(r"[a-z]+(\d+)(?:-(\d+))?", name)
    return int(match.group(2) or match.group(1)) if match else 1


def family(size: str) -> str:
    """The family by which Azure counts quota: ``standardDSv3Family`` of ``Standard_D4s_v3``."""
    match = re.fullmatch(r"standard_([a-z]+)\d+(?:-\d+)?([a-z]*)(?:_(v\d+))?(?:_promo)?", size.lower())
    series, features, version = match.groups() if match else (size, "", "")
    return f"standard{(series + features).upper()}{version or ''}Family"


SIZES = ("Standard_D2_v2", "Standard_D3_v2", "Standard_D4_v2", "Standard_D2s_v3", "Standard_D4s_v3", "Standard_D8s_v3")
