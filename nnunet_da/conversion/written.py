"""Write a NIfTI file and see that all of it reached the disk."""

from pathlib import Path

import SimpleITK as sitk

from nnunet_da.conversion.images import native_stderr_silenced
from nnunet_da.conversion.nifti_voxels import refuse_damaged_nifti
from nnunet_da.errors import UserError


def write_nifti(image: sitk.Image, file: Path) -> None:
    """Write an image as compressed NIfTI and read it to its end: on a full disk ITK cuts the file short and raises nothing.

    Args:
        image: its metadata are dropped, they may be another format's header.
        file: ends in .nii.gz; what is there is replaced, so give a temporary name and rename.

    Raises:
        OSError: the file could not be written as a whole.
    """
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with native_stderr_silenced():
            sitk.WriteImage(image, str(file), useCompression=True)
            reader.ReadImageInformation()
        refuse_damaged_nifti(file, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})
    except (RuntimeError, UserError):
        raise OSError(f"{file.name} was cut short: is the disk full?") from None
