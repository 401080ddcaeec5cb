"""Volumes of the brain as sums of structures."""

from __future__ import annotations

from monai_mamba.labels import BRAIN, LabelTable, brain_measures, measure_brain


def test_measures_are_sums_and_need_all_of_their_structures():
    volumes = {entry.id: float(entry.id) for entry in LabelTable.load("subcortical", auxiliary=True)}
    measured = measure_brain(volumes)
    assert BRAIN in measured
    for measure in brain_measures():
        assert measured[measure.name] == sum(measure.ids)
    del volumes[brain_measures()[0].ids[0]]
    assert measure_brain(volumes) == {}
