"""Runs to begin with: each can be carried out as it is written."""

import pytest

from ftlab.presets import presets


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.title)
def test_each_is_a_configuration_with_one_sentence(preset):
    assert preset.config.to_dict()["method"]["kind"]
    assert preset.about.endswith(".") and preset.about.count(". ") == 0 and len(preset.about) <= 110


def test_no_two_are_alike_and_most_methods_are_there():
    configs = [preset.config for preset in presets()]
    assert (
        len({config.to_json() for config in configs})
        == len({preset.title for preset in presets()})
        == len(configs)
    )
    assert len({config.method.kind for config in configs}) >= 8
