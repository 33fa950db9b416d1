"""Virtual CPUs of machine sizes, by which the emulator refuses small production clusters."""

from __future__ import annotations

import pytest

from emulator.management.virtual_machines import virtual_cpus

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("size", "cpus"),
    [
        ("Standard_D3_v2", 4),
        ("STANDARD_D3_V2", 4),
        ("Standard_DS3_v2", 4),
        ("Standard_D2_v2_Promo", 2),
        ("Standard_D3", 4),
        ("Standard_D12_v2", 4),
        ("Standard_DS11-1_v2", 1),
        ("Standard_D2s_v3", 2),
        ("Standard_D3_v3", 3),
        ("Standard_D4ds_v5", 4),
        ("Standard_D16as_v4", 16),
        ("Standard_E4-2s_v3", 2),
        ("Standard_F8s_v2", 8),
        ("Standard_A3", 4),
        ("Basic_A1", 1),
        ("Standard_A4m_v2", 4),
        ("Standard_G3", 8),
        ("Standard_NC6", 6),
        ("Standard_NC24ads_A100_v4", 24),
        ("Standard_B2ms", 2),
        ("gigantic", 1),
    ],
)
def test_virtual_cpus_follow_from_the_name_of_a_size(size: str, cpus: int) -> None:
    assert virtual_cpus(size) == cpus
