"""For each rule that ships, a row that breaks it and one that does not."""

from __future__ import annotations

from typing import Any

from sluice.quality.columns import CATEGORIES, MISSING, NUMBERS
from sluice.quality.suites import Level

Row = dict[str, Any]

# A row of each level that breaks no rule.
SOUND: dict[Level, Row] = {
    "window": {"kind": "day", "expected": 1000, "received": 1000, "missing_share": 0.01, "unreadable_share": 0.0},
    "study": {
        "header": "indexed", "patient_id": "present", "accession_number": "present", "patient_ids": 1,
        "patient_id_variants": 1, "birth_dates_of_patient_id": 1, "sexes_of_patient_id": 1, "names_of_patient_id": 1,
        "study_date": "present", "days_outside_window": 0, "days_in_future": 0, "age_by_birth_date_years": 56.0,
        "age_difference_years": 0.2, "patient_sex": "F", "has_damaged_text": False, "instances_missing": 0,
    },
    "series": {
        "modality": "CT", "body_part_examined": "CHEST", "region_key": "CHEST", "is_paired_region": False,
        "scanner": "CT1", "manufacturer": "ACME", "series_days_after_study_date": 0, "uid_is_the_studys": False,
        "has_damaged_text": False, "instances_missing": 0, "studies": 1, "instances": 120,
        "instance_numbers_missing": 0, "instance_numbers_repeated": 0,
        "matrix_sizes": 1, "stored_minutes_after_acquired": 3, "is_localizer": False,
        "orientations": 1, "frames_of_reference": 1, "slices": 120, "slices_missing": 0, "slice_distance_varies": 0.0,
    },
    "instance": {
        "modality": "CT", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "is_image": True, "is_original": True,
        "is_localizer": False, "image_type": "ORIGINAL\\PRIMARY\\AXIAL", "manufacturer": "ACME",
        "study_agrees_with_series": True, "hierarchy_agrees_with_receipt": True, "hierarchy_agrees_with_pacs": True,
        "uid_is_a_parents": False, "patient_id": "present", "rows": 512, "columns": 512, "number_of_frames": 1,
        "bits_stored": 12, "photometric_interpretation": "MONOCHROME2", "pixel_spacing_row_mm": 0.7,
        "pixel_spacing_column_mm": 0.7, "slice_thickness_mm": 1.0, "exposure_time_ms": 500,
        "acquired_days_after_study_date": 0, "acquired_minutes_after_study": 4, "content_minutes_after_acquired": 0.1,
        "received_minutes_after_acquired": 9, "received_minutes_after_content": 9, "unreadable_dates": 0,
        "sop_class_fits_modality": True, "samples_fit_photometric": True, "bits_fit": True, "pixel_bytes": 524288,
        "pixel_bytes_off": 0, "same_pixels": 0, "same_pixels_other_patient": 0, "samples_per_pixel": 1,
        "bits_allocated": 16, "kvp": 120, "exposure_mas": 80, "rescale_slope": 1, "rescale_intercept": -1024,
        "rescale_type": "HU", "convolution_kernel": "B30f", "siemens_csa_image": False,
        "photometric_lut": False, "hologic_private_frames": False, "diffusion_sequence": False,
    },
    "scanner": {
        "is_new": False, "new_software": 0, "new_serials": 0, "new_manufacturers": 0, "exams_z": 0.5,
        **{f"{name}_divergence": 0.02 for name in CATEGORIES}, **{f"{name}_shift": 0.1 for name in NUMBERS},
        **{f"{name}_missing_more": 0.0 for name in MISSING}, **{f"{name}_missing_unusual": 9 for name in MISSING},
        **{f"{name}_unusual": 9 for name in (*CATEGORIES, *NUMBERS)},
    },
}  # fmt: skip

CR, DX, MG, MR, PT = (
    {"modality": name, "kvp": None, "pixel_spacing_row_mm": 0.14} for name in ("CR", "DX", "MG", "MR", "PT")
)
PHILIPS_MR = {
    "modality": "MR",
    "manufacturer": "Philips Healthcare",
    "rescale_slope": 2.3,
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4.1",
}
SIEMENS_MR = {"modality": "MR", "manufacturer": "SIEMENS", "image_type": "ORIGINAL\\PRIMARY\\DIFFUSION\\NONE"}
GE_MR = {"modality": "MR", "manufacturer": "GE MEDICAL SYSTEMS", "diffusion_sequence": True}
PHILIPS_PT = {
    "modality": "PT",
    "manufacturer": "Philips Medical Systems",
    "pet_units": "CNTS",
    "philips_suv_factor": 0.001,
}
PIXEL_SPACING = "pixel_spacing_row_mm"

# Rule -> (what its row needs beside a sound one, what breaks it, what does not).
CASES: dict[str, tuple[Row, Row, Row]] = {
    "window-mostly-missing": ({}, {"missing_share": 0.4}, {"missing_share": 0.4, "kind": "cohort"}),
    "window-mostly-unreadable": ({}, {"unreadable_share": 0.4}, {"unreadable_share": 0.4, "received": 20}),
    "study-incomplete": ({}, {"instances_missing": 2}, {}),
    "series-incomplete": ({}, {"instances_missing": 2}, {}),
    "study-date-missing": ({}, {"study_date": None}, {"study_date": "not indexed"}),
    "accession-number-missing": ({}, {"accession_number": None}, {"accession_number": None, "header": None}),
    "modality-missing": ({}, {"modality": None}, {}),
    "scanner-unknown": ({}, {"scanner": None}, {"scanner": None, "modality": "SR"}),
    "rows-missing": ({}, {"rows": None}, {"rows": None, "is_image": False}),
    "columns-missing": ({}, {"columns": None}, {"columns": None, "is_image": False}),
    "study-with-two-patients": ({}, {"patient_ids": 2}, {}),
    "patient-id-partly-missing": ({}, {"patient_id_variants": 2}, {}),
    "patient-id-missing": ({}, {"patient_id": None}, {"patient_id": None, "header": None}),
    "study-uid-invalid": ({}, {"study_instance_uid": "1.2.03"}, {}),
    "series-uid-invalid": ({}, {"series_instance_uid": "1.2.3."}, {}),
    "instance-uid-invalid": ({}, {"sop_instance_uid": "1.2." + "3" * 64}, {}),
    "series-in-two-studies": ({}, {"studies": 2}, {}),
    "hierarchy-differs-from-series": ({}, {"study_agrees_with_series": False}, {}),
    "hierarchy-differs-from-receipt": (
        {},
        {"hierarchy_agrees_with_receipt": False},
        {"hierarchy_agrees_with_receipt": None},
    ),
    "hierarchy-differs-from-pacs": ({}, {"hierarchy_agrees_with_pacs": False}, {}),
    "uid-of-a-parent": ({}, {"uid_is_a_parents": True}, {}),
    "series-uid-of-its-study": ({}, {"uid_is_the_studys": True}, {}),
    "uid-under-dicoms-root": ({}, {"sop_instance_uid": "1.2.840.10008.5.1"}, {"sop_instance_uid": "1.2.840.100089.5"}),
    "patient-id-of-two-people": ({"birth_dates_of_patient_id": 2}, {"names_of_patient_id": 2}, {}),
    "patient-id-with-two-birth-dates": (
        {},
        {"birth_dates_of_patient_id": 2},
        {"birth_dates_of_patient_id": 2, "names_of_patient_id": 2},
    ),
    "patient-id-with-two-sexes": ({}, {"sexes_of_patient_id": 2}, {}),
    "study-outside-window": ({}, {"days_outside_window": 1}, {"days_outside_window": None}),
    "birth-date-after-study": ({}, {"age_by_birth_date_years": -0.1}, {"age_by_birth_date_years": 0.0}),
    "age-implausible": ({}, {"age_by_birth_date_years": 126.0}, {"age_by_birth_date_years": 104.0}),
    "age-contradicts-birth-date": ({}, {"age_difference_years": 10}, {}),
    "study-date-contradicts-acquisition": (
        {},
        {"acquired_days_after_study_date": 3},
        {"acquired_days_after_study_date": 1},
    ),
    "series-date-contradicts-study": ({}, {"series_days_after_study_date": -2}, {"series_days_after_study_date": 1}),
    "rows-implausible": ({}, {"rows": 0}, {}),
    "columns-implausible": ({}, {"columns": 70000}, {}),
    "row-spacing-implausible": ({}, {PIXEL_SPACING: 0.0}, {PIXEL_SPACING: None}),
    "column-spacing-implausible": ({}, {"pixel_spacing_column_mm": 70.0}, {}),
    "slice-thickness-implausible": ({}, {"slice_thickness_mm": 0.0}, {"slice_thickness_mm": 0.0, "modality": "DX"}),
    "study-date-in-future": ({}, {"days_in_future": 2}, {"days_in_future": -3000}),
    "acquired-before-study": ({}, {"acquired_minutes_after_study": -200}, {"acquired_minutes_after_study": -30}),
    "content-before-acquisition": ({}, {"content_minutes_after_acquired": -5}, {"content_minutes_after_acquired": 400}),
    "content-in-future": ({}, {"received_minutes_after_content": -90}, {"received_minutes_after_content": -5}),
    "dates-unreadable": ({}, {"unreadable_dates": 1}, {}),
    "frames-implausible": ({}, {"number_of_frames": 0}, {"number_of_frames": None}),
    "stored-before-acquired": ({}, {"stored_minutes_after_acquired": -9}, {"stored_minutes_after_acquired": None}),
    "received-before-acquired": ({}, {"received_minutes_after_acquired": -9}, {}),
    "modality-unknown": ({}, {"modality": "XRAY"}, {"modality": "RTSTRUCT"}),
    "body-part-missing": ({"body_part_examined": None}, {"region_key": None}, {}),
    "body-part-unmapped": ({}, {"region_key": None}, {}),
    "laterality-unknown": ({}, {"laterality": "X"}, {"laterality": "L"}),
    "patient-sex-unknown": ({}, {"patient_sex": "W"}, {"patient_sex": None}),
    "modality-contradicts-class": ({}, {"sop_class_fits_modality": False}, {"sop_class_fits_modality": None}),
    "side-missing": ({"modality": "DX", "is_paired_region": True}, {"side": None}, {"side": "L"}),
    "text-damaged-in-study": ({}, {"has_damaged_text": True}, {}),
    "text-damaged-in-series": ({}, {"has_damaged_text": True}, {"has_damaged_text": None}),
    "slices-missing": ({}, {"slices_missing": 3}, {"slices_missing": 3, "modality": "MR"}),
    "slices-missing-in-mr": ({"modality": "MR"}, {"slices_missing": 3}, {}),
    "slice-distance-uneven": ({}, {"slice_distance_varies": 0.4}, {"slice_distance_varies": None}),
    "orientation-mixed": ({}, {"orientations": 3}, {"orientations": 3, "is_localizer": True}),
    "frame-of-reference-mixed": ({}, {"frames_of_reference": 2}, {"frames_of_reference": None}),
    "matrix-mixed": ({}, {"matrix_sizes": 2}, {"matrix_sizes": 2, "modality": "MR"}),
    "instance-numbers-missing": (
        {},
        {"instance_numbers_missing": 1},
        {"instance_numbers_missing": 1, "instances_missing": 1},
    ),
    "instance-numbers-repeated": (
        {},
        {"instance_numbers_repeated": 1},
        {"instance_numbers_repeated": 1, "modality": "MR"},
    ),
    "pixels-too-short": ({}, {"pixel_bytes_off": -2}, {"pixel_bytes_off": None}),
    "pixels-too-long": ({}, {"pixel_bytes_off": 2048}, {}),
    "compression-implausible": ({"pixel_bytes_off": None}, {"compression_ratio": 5000}, {"compression_ratio": 12}),
    "pixels-missing": ({}, {"pixel_bytes": 0}, {"pixel_bytes": None}),
    "samples-contradict-photometric": ({}, {"samples_fit_photometric": False}, {"samples_fit_photometric": None}),
    "photometric-unknown": ({}, {"photometric_interpretation": "GRAY"}, {"photometric_interpretation": "RGB"}),
    "photometric-missing": ({}, {"photometric_interpretation": None}, {}),
    "bits-contradict": ({}, {"bits_fit": False}, {"bits_fit": None}),
    "kvp-implausible": ({}, {"kvp": 0}, {"kvp": 0, "is_original": False}),
    "kvp-implausible-in-mammography": (MG, {"kvp": 120}, {"kvp": 28}),
    "exposure-implausible": ({}, {"exposure_mas": 50000}, {"exposure_mas": None}),
    "exposure-time-implausible": ({}, {"exposure_time_ms": 500000}, {"exposure_time_ms": None}),
    "spacing-implausible-in-ct": (
        {"pixel_spacing_column_mm": None},
        {PIXEL_SPACING: 7},
        {PIXEL_SPACING: 7, "is_localizer": True},
    ),
    "spacing-implausible-in-mr": (MR, {PIXEL_SPACING: 0.01}, {PIXEL_SPACING: 1.2}),
    "spacing-implausible-in-pet": (
        PT | {"pet_units": "BQML", "patient_weight_kg": 70},
        {PIXEL_SPACING: 40},
        {PIXEL_SPACING: 4},
    ),
    "spacing-implausible-in-radiography": (DX, {PIXEL_SPACING: 14}, {}),
    "pixels-not-square-in-ct": ({}, {"pixel_spacing_column_mm": 0.8}, {"pixel_spacing_column_mm": None}),
    "units-unknown-in-ct": ({}, {"rescale_type": "US"}, {"rescale_type": None}),
    "rescale-missing-in-ct": ({}, {"rescale_intercept": None}, {"rescale_intercept": None, "bits_allocated": None}),
    "units-unknown-in-pet": (PT | {PIXEL_SPACING: 4}, {"pet_units": "SUV"}, {"pet_units": "BQML"}),
    "units-missing-in-pet": (PT | {PIXEL_SPACING: 4}, {"pet_units": None}, {"pet_units": "GML"}),
    "echo-time-implausible": (MR, {"echo_time_ms": 9000}, {"echo_time_ms": 90}),
    "field-strength-implausible": (MR, {"field_strength_t": 15000}, {"field_strength_t": 3}),
    "pixels-of-another-patient": ({}, {"same_pixels_other_patient": 1}, {"same_pixels_other_patient": None}),
    "pixels-twice": ({}, {"same_pixels": 1}, {"same_pixels": None}),
    "scanner-new": ({}, {"is_new": True}, {}),
    "scanner-has-new-software": ({}, {"new_software": 1}, {"new_software": None}),
    "scanner-has-new-serial": ({}, {"new_serials": 1}, {"new_serials": None}),
    "scanner-has-new-make": ({}, {"new_manufacturers": 1}, {"new_manufacturers": None}),
    "drift-of-exams": ({}, {"exams_z": -8}, {"exams_z": None}),
    **{
        f"drift-of-{rule}": (
            {},
            {f"{column}": 1.4 if column.endswith("shift") else 0.6},
            {f"{column}": 1.4 if column.endswith("shift") else 0.6, f"{unusual}_unusual": 2},
        )
        for rule, column, unusual in (
            ("modalities", "modality_mix_divergence", "modality_mix"),
            ("regions", "regions_divergence", "regions"),
            ("protocols", "protocols_divergence", "protocols"),
            ("matrix", "matrix_divergence", "matrix"),
            ("hours", "hours_divergence", "hours"),
            ("pixel-spacing", "pixel_spacing_mm_shift", "pixel_spacing_mm"),
            ("slice-thickness", "slice_thickness_mm_shift", "slice_thickness_mm"),
            ("kvp", "kvp_shift", "kvp"),
            ("exposure", "exposure_mas_shift", "exposure_mas"),
            ("age", "age_years_shift", "age_years"),
            ("missing-body-part", "body_part_examined_missing_more", "body_part_examined_missing"),
            ("missing-protocol", "protocol_name_missing_more", "protocol_name_missing"),
            ("unknown-region", "region_missing_more", "region_missing"),
            ("missing-patient", "patient_id_missing_more", "patient_id_missing"),
        )
    },
    "philips-mr-scale-slope-missing": (PHILIPS_MR, {"philips_scale_slope": None}, {"philips_scale_slope": 0.004}),
    "philips-pet-suv-factor-missing": (
        PHILIPS_PT,
        {"philips_suv_factor": None},
        {"philips_suv_factor": None, "philips_activity_factor": 2.0},
    ),
    "siemens-mosaic": (SIEMENS_MR | {"siemens_csa_image": True}, {"image_type": "ORIGINAL\\PRIMARY\\M\\MOSAIC"}, {}),
    "siemens-diffusion-without-b-value": (SIEMENS_MR, {}, {"siemens_b_value": "1000"}),
    "ge-mr-not-magnitude": (GE_MR | {"ge_b_value": 4}, {"ge_raw_data_type": 3}, {"ge_raw_data_type": 0}),
    "ge-diffusion-without-b-value": (GE_MR, {"ge_b_value": 0}, {"ge_b_value": 4}),
    "inverse-presentation": (
        DX,
        {"presentation_lut_shape": "INVERSE"},
        {"presentation_lut_shape": "INVERSE", "photometric_interpretation": "MONOCHROME1"},
    ),
    "fuji-body-part-code": (
        {"modality": "CR", "manufacturer": "FUJIFILM Corporation"},
        {"body_part_examined": "LOW_EXM"},
        {"body_part_examined": "LOW_EXM", "manufacturer": "ACME"},
    ),
    "cr-log-pixels": (
        CR | {"manufacturer": "Agfa"},
        {"pixel_intensity_relationship": "DISP"},
        {"pixel_intensity_relationship": "LOG"},
    ),
    "hologic-tomosynthesis-in-private-form": (
        MG | {"kvp": 28, "manufacturer": "HOLOGIC, Inc.", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"},
        {"hologic_private_frames": True},
        {},
    ),
    "canon-toshiba-phases-in-one-series": (
        {"manufacturer": "TOSHIBA"},
        {"instance_numbers_repeated": 40},
        {"instance_numbers_repeated": 40, "manufacturer": "ACME"},
    ),
    "philips-enhanced-in-one-series": (PHILIPS_MR | {"rescale_slope": 1}, {"number_of_frames": 40}, {}),
    "ct-sharp-kernel-unnamed": (
        {"manufacturer": "SIEMENS"},
        {"convolution_kernel": None},
        {"convolution_kernel": None, "manufacturer": "ACME"},
    ),
    "pet-weight-missing": (
        PT | {PIXEL_SPACING: 4, "pet_units": "BQML"},
        {"patient_weight_kg": 70000},
        {"patient_weight_kg": 70},
    ),
}
