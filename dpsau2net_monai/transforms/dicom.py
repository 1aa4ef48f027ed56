"""Writing masks of DICOM series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, optional_import

from .. import __version__
from ..data.dicom import read_series
from ..data.labels import Labels
from ..data.reading import is_series, name_of
from ..errors import InputError
from ..files import whole_file

__all__ = ["SaveDicomSegd"]

highdicom, has_highdicom = optional_import("highdicom")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")

NAME = "DPSAU2-Net"
SCHEME = "99DPSAU2NET"  # of the codes of the classes; 99 marks a private scheme
LONGEST = 64  # characters of a name in DICOM


class SaveDicomSegd(MapTransform):
    """
    Write masks of DICOM series as DICOM Segmentation objects, with a segment for each class. The segments may overlap.
    They refer to the slices of the series, and belong to its patient and study. MONAI writes no DICOM.

    Args:
        keys: keys of the masks, each (1, x, y, slice) of codes, with the metadata of its series.
        output_dir: folder to write ``NAME.dcm`` to, where NAME is that of the series' folder.
        labels: the classes.

    Raises:
        InputError: highdicom is not installed, an image is not a DICOM series, or the series lacks what the standard
            demands.
    """

    def __init__(self, keys: KeysCollection, output_dir: str, labels: Labels | None = None) -> None:
        super().__init__(keys)
        if not has_highdicom:
            raise InputError("DICOM SEG is written by highdicom; pip install 'dpsau2net-monai[dicom]'")
        self.output_dir = Path(output_dir)
        self.labels = labels or Labels()

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        for key in self.key_iterator(data):
            folder = Path(data[key].meta[ImageMetaKey.FILENAME_OR_OBJ])
            if not is_series(folder):
                raise InputError(f"{folder}: is not a DICOM series, as DICOM SEG needs; set output_format to nifti")
            mask = torch.as_tensor(data[key][0]).cpu().numpy().astype(np.int64)
            classes = self.labels.table[mask].transpose(2, 1, 0, 3)  # (slice, row, column, class)
            try:
                segmentation = self._segmentation(folder, classes)
            except (AttributeError, TypeError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                text = f"{folder}: its mask cannot be DICOM SEG ({error}); set output_format to nifti"
                raise InputError(text) from error
            with whole_file(self.output_dir / f"{name_of(folder)}.dcm") as part:
                segmentation.save_as(part)
        return dict(data)

    def _segmentation(self, folder: Path, classes: np.ndarray) -> Any:
        algorithm = highdicom.AlgorithmIdentificationSequence(NAME, codes.DCM.ArtificialIntelligence, __version__)
        segments = [
            highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=name[:LONGEST],
                segmented_property_category=codes.SCT.Tissue,
                segmented_property_type=highdicom.sr.CodedConcept(str(number), SCHEME, name[:LONGEST]),
                algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
            )
            for number, name in enumerate(self.labels.names, 1)
        ]
        return highdicom.seg.Segmentation(
            source_images=read_series(folder, pixels=False),
            pixel_array=classes,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=highdicom.UID(),
            series_number=100,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=__version__,
            device_serial_number="0",
            series_description=f"{NAME} segmentation",
        )
