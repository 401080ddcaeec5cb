"""What the tests try as unusual input, and the page that says what happens to it.

`python tests/unusual_input.py` writes docs/unusual_input.md again. A new kind of input is a table of cases beside its
test (what it is -> ..., what is said of it) and a section here; what a test shows by itself is a line made of its name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "unusual_input.md"
WORDS = 7  # shown of a sentence
REFUSED, WARNED, USED, GRADED = "refused", "used, with a warning", "used", "graded as said"

INTRODUCTION = """\
# What happens to unusual input

This holds for all bundles, trainings, evaluations, tools and the report. "Refused" means: one sentence that says what
was found in which file, what was expected and what to do; no result file; a non-zero exit status. Other scans are still
processed. Sentences are shown in part; N is a number. Every line is tested, and `python tests/unusual_input.py` makes
this page from the tests.

- **Content.** Files are read whole. The checksums of gzip and of weights and the length that the header promises are
  verified, and that the scan has not changed when its results are written. Plain `.nii` and `.mgh` files have no
  checksum.
- **Place.** The sform is used if its code is set, else the qform, else the voxel sizes with the axes of the Analyze
  format. The rest of the header must agree: voxel sizes within 3 %, the sides, the axes within 45 degrees. Smaller
  differences give a warning, from 0.5 % or 1 mm on.
- **MONAI first.** Configs and options that MONAI itself cannot read end in its traceback, whose last lines name them.
  `python -m monai_mamba run` checks more. Write `./%name` for a file whose name begins with `%`.
- **Machines.** `HOME` may be read-only. Without an entry in `passwd` (some containers) MONAI needs `USER` and `HOME`.
"""


class Section(NamedTuple):
    """A kind of input.

    Attributes:
        title: heading.
        tables: tables of a test module, with what becomes of their cases. A case is a name and what the test needs,
            of which the last part, if it is a text, is (a pattern of) the sentence that the test expects.
        tests: tests of one case each, whose names say what happens.
    """

    title: str
    tables: tuple[tuple[Mapping[str, object], str], ...] = ()
    tests: tuple[Callable[..., None], ...] = ()


def sections() -> list[Section]:
    """All kinds of input that are tried."""
    for folder in (
        TESTS,
        *(
            TESTS / name
            for name in (
                "bundles",
                "data",
                "engines",
                "faults",
                "handlers",
                "inferers",
                "malformed",
                "report",
                "transforms",
            )
        ),
    ):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    import test_aseg as aseg
    import test_bids as bids
    import test_brats_malformed as tumor
    import test_cases as cases
    import test_check_image as check_image
    import test_checkpoint as checkpoint
    import test_checks as checks
    import test_dicom as dicom
    import test_dicom_files as dicom_files
    import test_errors as errors
    import test_faults as faults
    import test_files as files
    import test_geometry as geometry
    import test_headers as headers
    import test_hippocampus as hippocampus
    import test_integrity as integrity
    import test_itk_image as itk_image
    import test_label_values as label_values
    import test_main as own_command
    import test_malformed as malformed
    import test_modality_doubts as modalities
    import test_nonsense as nonsense
    import test_not_finite as not_finite
    import test_odd_files as odd
    import test_options as options
    import test_other_options as other_options
    import test_pairs as pairs
    import test_quality as quality
    import test_restore_labels as restore_labels
    import test_results as report_results
    import test_scaled_label_maps as label_maps
    import test_scan_evaluator as scan_evaluator
    import test_scan_table as scan_table
    import test_scans as scans
    import test_subcortical_inference as subcortical
    import test_to_training_labels as training_labels
    import test_typed_options as bundle_options
    import test_unknown_options as unknown_options

    return [
        Section(
            "Files that are no scan",
            ((malformed.BAD, REFUSED), (odd.REFUSED, REFUSED)),
            (check_image.test_a_mask_is_no_image,),
        ),
        Section(
            "DICOM",
            ((dicom.REFUSED, REFUSED),),
            (
                dicom.test_places_come_from_the_positions_of_the_slices,
                dicom.test_values_are_scaled_as_each_slice_says,
                dicom_files.test_compressed_slices_are_read,
                dicom_files.test_an_unknown_compression_is_refused_when_voxels_are_read,
                dicom_files.test_frames_lie_where_each_of_them_says,
                dicom_files.test_frames_that_are_no_volume_are_refused,
                dicom.test_of_a_study_the_t1_weighted_series_is_taken,
                dicom.test_of_several_t1_weighted_series_the_user_chooses,
                dicom.test_the_only_volume_is_taken_whatever_it_is_called,
                dicom.test_a_series_that_changes_after_its_voxels_were_read_is_refused,
            ),
        ),
        Section("NRRD, MetaImage and Analyze", ((itk_image.REFUSED, REFUSED), (itk_image.USED, USED))),
        Section(
            "Damaged files",
            ((integrity.DAMAGED, REFUSED), (integrity.WHOLE, USED)),
            (
                integrity.test_a_file_that_changes_while_it_is_read_is_refused,
                integrity.test_a_scan_that_changes_between_reading_and_writing_is_refused,
                integrity.test_every_reader_refuses_a_damaged_file,
                integrity.test_the_report_refuses_a_damaged_label_map,
            ),
        ),
        Section(
            "Headers that contradict themselves",
            ((headers.CONTRADICTIONS, REFUSED), (headers.DOUBTS, WARNED)),
            (
                malformed.test_a_header_without_orientation_is_read_as_analyze,
                headers.test_an_mgh_file_without_orientation_is_warned_of_and_the_result_claims_none,
                geometry.test_a_label_map_that_contradicts_itself_stops_a_training,
            ),
        ),
        Section(
            "Results, and how they are graded",
            (
                (nonsense.NONSENSE, "segmented, and graded `look` or `fail`"),
                (quality.HIPPOCAMPI, GRADED),
                (quality.TUMORS, GRADED),
            ),
            (
                nonsense.test_results_that_are_probably_wrong_say_so_and_with_strict_end_in_an_error,
                quality.test_what_is_no_finite_number_is_no_pass_and_no_limit,
                quality.test_a_head_of_another_size_is_to_be_looked_at,
                restore_labels.test_structures_that_the_border_cuts_off_are_named,
                subcortical.test_what_was_not_scanned_and_filled_up_cuts_structures_off,
                subcortical.test_scans_in_the_space_of_a_template_are_doubtful,
            ),
        ),
        Section(
            "Odd but usable files",
            ((odd.USED, USED), (odd.GEOMETRY, USED)),
            (check_image.test_a_few_voxels_far_below_all_others_are_clipped,),
        ),
        Section(
            "Label maps",
            (),
            (
                label_maps.test_labels_that_a_scale_has_rounded_are_what_they_were,
                label_values.test_labels_that_arithmetic_has_rounded_are_what_they_were,
                label_maps.test_labels_that_the_scale_does_not_explain_are_refused,
                label_maps.test_a_step_of_more_than_one_label_is_refused,
                training_labels.test_numbers_of_segments_in_the_place_of_ids_are_refused,
                training_labels.test_left_and_right_exchanged_are_refused,
                hippocampus.test_hippocampi_of_another_head_are_refused,
                pairs.test_a_label_map_of_two_scans_is_warned_of,
                label_values.test_a_scan_in_the_place_of_a_label_map_is_refused,
            ),
        ),
        Section("Weights", ((not_finite.WEIGHTS, REFUSED), (not_finite.NAMED, "used, with one line in the log"))),
        Section(
            "Networks whose output is not finite",
            ((not_finite.HIPPOCAMPAL, "the scan fails"),),
            (
                not_finite.test_a_window_that_is_not_finite_fails_its_scan_and_the_others_go_on,
                not_finite.test_an_infinite_logit_of_the_tumor_bundle_fails_its_case,
            ),
        ),
        Section(
            "Surroundings",
            (),
            (
                faults.test_a_terminal_that_knows_ascii_only_and_a_home_that_cannot_be_written_do_no_harm,
                faults.test_no_space_for_a_result_leaves_none,
                faults.test_code_in_weights_is_not_run,
                faults.test_names_of_files_stay_names,
                faults.test_killing_a_run_twenty_times_loses_nothing,
                malformed.test_a_write_that_breaks_off_leaves_no_half_file,
                malformed.test_a_run_that_is_stopped_while_it_writes_leaves_whole_files,
                errors.test_a_log_that_cannot_be_written_gives_no_tracebacks,
                errors.test_a_signal_to_stop_ends_in_one_sentence_and_its_status,
            ),
        ),
        Section(
            "Folders",
            (),
            (
                scans.test_label_maps_of_any_name_are_left_out_and_listed,
                scans.test_a_freesurfer_subject_is_one_scan,
                scans.test_values_on_surfaces_are_no_scans,
                scans.test_two_scans_must_not_share_a_result,
                scans.test_one_scan_under_two_names_is_noticed,
                scans.test_names_that_are_too_long_for_results_are_refused,
                scans.test_results_of_another_scan_are_not_taken_for_those_of_this_one,
                other_options.test_results_of_other_weights_or_options_are_not_taken_for_those_of_this_run,
                report_results.test_results_of_other_settings_among_the_rest_are_warned_of,
                aseg.test_a_label_map_of_another_scan_is_refused,
                scans.test_images_of_other_formats_are_listed,
                files.test_folders_that_cannot_be_read_are_named,
                files.test_paths_that_cannot_be_looked_at_are_refused,
                scans.test_a_damaged_result_is_made_again,
                bids.test_of_parts_and_echoes_one_is_taken_and_every_run_and_acquisition,
                bids.test_bidsignore_is_respected,
            ),
        ),
        Section(
            "Brain tumor cases",
            ((tumor.BAD, REFUSED), (modalities.EXCHANGED, "segmented, and graded `look`")),
            (
                modalities.test_modalities_in_the_place_of_another_one_and_copies_are_noticed,
                modalities.test_modalities_of_two_people_and_a_skull_are_noticed,
                tumor.test_results_without_a_modality_that_has_come_since_are_not_taken_for_finished,
                cases.test_a_folder_for_each_modality,
                cases.test_folders_of_modalities_without_names_in_common_are_refused,
                cases.test_two_cases_of_one_name_are_an_error,
                cases.test_a_label_map_is_no_modality,
                cases.test_edema_within_the_core_is_warned_of,
            ),
        ),
        Section(
            "Options",
            (
                (unknown_options.UNKNOWN, REFUSED),
                (options.OUT_OF_RANGE, REFUSED),
                (checks.WINDOWS, REFUSED),
                (options.NO_PYTHON, REFUSED),
                (
                    own_command.FILES,
                    "refused by `python -m monai_mamba run`; `python -m monai.bundle run` shows MONAI's traceback",
                ),
                (unknown_options.MONAI_ITSELF, "an error of MONAI, with its traceback"),
            ),
            (
                bundle_options.test_folders_are_those_that_were_typed,
                bundle_options.test_options_of_another_config_are_not_passed_over,
                unknown_options.test_a_reference_to_no_entry_is_refused,
                options.test_an_option_given_twice_is_refused,
                options.test_names_are_taken_as_they_are,
                options.test_texts_from_python_that_monai_has_changed_are_refused,
                options.test_an_empty_name_is_refused,
                options.test_an_option_without_a_value_is_refused,
                scan_evaluator.test_strict_without_limits_is_refused,
                scan_table.test_leaving_out_what_is_not_there_is_refused,
                options.test_a_number_where_a_name_is_due_is_refused,
                unknown_options.test_unknown_ids_are_refused,
                unknown_options.test_options_of_tracking_without_tracking_are_refused,
            ),
        ),
        Section(
            "Continued trainings",
            (),
            (
                checkpoint.test_a_continued_training_takes_its_own_learning_rate_and_weight_decay,
                checkpoint.test_fewer_epochs_than_are_complete_are_refused_and_as_many_change_nothing,
                checkpoint.test_a_checkpoint_that_does_not_fit_is_refused,
                checkpoint.test_other_data_are_warned_of,
                checkpoint.test_a_fold_whose_scans_were_trained_on_is_refused,
                checkpoint.test_a_checkpoint_that_two_trainings_write_is_refused,
                checkpoint.test_initial_weights_that_would_not_be_used_are_refused,
            ),
        ),
    ]


def page() -> str:
    """The text of the page."""
    parts = [INTRODUCTION]
    for section in sections():
        parts.append(f"## {section.title}\n")
        for outcome in dict.fromkeys(outcome for _, outcome in section.tables):
            cases = [case for table, result in section.tables if result == outcome for case in table.items()]
            parts.append(f"{outcome[0].upper()}{outcome[1:]}:\n\n" + "\n".join(_lines(cases)) + "\n")
        if section.tests:
            names = [test.__name__.removeprefix("test_").replace("_", " ") for test in section.tests]
            parts.append("\n".join(f"- {name[0].upper()}{name[1:]}." for name in names) + "\n")
    return "\n".join(parts)


def _lines(cases: Sequence[tuple[str, object]]) -> list[str]:
    """One line for all cases of which the same is said."""
    names: dict[str, list[str]] = {}
    for name, case in cases:
        names.setdefault(_said(case), []).append(name)
    return [f"- {'; '.join(same)}{': ' * bool(said)}{said}" for said, same in names.items()]


def _said(case: object) -> str:
    text = case[-1] if isinstance(case, tuple) and isinstance(case[-1], str) else ""
    text = re.sub(r"\[1-9\]\\d\*|\\[dw]\+", "N", text).replace(".*", " ... ")
    words = re.sub(r"\\(.)", r"\1", text).split()
    return f"`{' '.join(words[:WORDS])}{' ...' * (len(words) > WORDS)}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
