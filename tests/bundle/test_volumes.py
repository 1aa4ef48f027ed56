"""Volumes as scanners give them: oblique, flipped, with permuted axes and thick slices. The right answer is a phantom
of ellipsoids, which is known in world coordinates."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import highdicom
import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
import yaml
from running import CONFIGS
from scipy.spatial.transform import Rotation
from series import write_series

from dpsau2net_monai.data.dicom import find_series, read_series

# centre and radii in mm, and class; the last one crosses the border of most volumes
WHOLE = [((-8, 3, 2), (13, 10, 9), 1), ((12, -10, -5), (6, 9, 7), 2), ((11, 12, 8), (5, 4, 5.5), 1)]
ELLIPSOIDS = [*WHOLE, ((-9, -32, -9), (6, 10, 7), 2)]
VALUES = (0, 3, 7)  # of the background and of both classes in masks
INTENSITY = {0: 100, 1: 200, 2: 0}  # of the background and of both classes
TASK = {
    "spatial_dims": 3,
    "in_channels": 1,
    "labels": dict(zip(("background", "vessel", "tumour"), VALUES)),
    "modality": "ct",
    "spacing": [1, 1, 1],
    "intensity": {"low": 0, "high": 200, "mean": 0, "std": 1},  # leaves the intensities as they are
    "roi_size": [40, 40, 40],
}
NETWORK = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}
OBLIQUE = Rotation.from_euler("xy", [20, 20], degrees=True).as_matrix()
SIZE = np.array([60, 68, 56])  # mm, along the axes of the array

# the matrix of the affine, and the codes of sform and qform
VOLUMES = {
    "canonical": (np.eye(3), 1, 1),
    "oblique": (OBLIQUE, 1, 1),
    "lps": (np.diag([-1, -1, 1]), 2, 0),
    "left_handed_x": (np.diag([-1, 1, 1]), 0, 1),
    "left_handed_z": (np.diag([1, 1, -1]), 4, 2),
    "all_flipped": (np.diag([-1, -1, -1]), 1, 1),
    "permuted": (np.eye(3)[[2, 0, 1]], 1, 1),
    "transposed": (np.eye(3)[[1, 0, 2]] * 1.2, 1, 0),
    "thick_slices": (np.diag([0.7, 0.7, 3]), 1, 1),
    "sagittal": (OBLIQUE @ np.diag([1, -1, -1]) @ np.eye(3)[[2, 0, 1]] @ np.diag([0.7, 0.7, 3]), 1, 1),
}


def to_surface(affine, shape, centre, radii):
    """Signed distance of each voxel's centre from the surface of an ellipsoid, in voxels, to first order."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    scaled = (index @ affine[:3, :3].T + affine[:3, 3] - centre) / radii
    norm = np.linalg.norm(scaled, axis=-1) + 1e-9
    gradient = scaled / norm[..., None] / radii  # of the norm, in the world
    return (norm - 1) / np.linalg.norm(gradient @ affine[:3, :3], axis=-1)


def affine_of(matrix, shape):
    """The affine that puts the middle of the array near the middle of the phantom."""
    return nibabel.affines.from_matvec(matrix, (1.3, -2.7, 4.1) - matrix @ (np.array(shape) - 1) / 2)


def phantom(affine, shape):
    """The image, whose intensity passes over an ellipsoid's surface within the thickness of a slice, and its mask."""
    image, mask = np.full(shape, float(INTENSITY[0])), np.zeros(shape, np.uint8)
    for centre, radii, number in ELLIPSOIDS:
        inside = np.clip(0.5 - to_surface(affine, shape, centre, radii) / 2, 0, 1)
        image += inside * (INTENSITY[number] - INTENSITY[0])
        mask[inside > 0.5] = VALUES[number]
    return image, mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """images/, masks/, datalist.json, and model.pt with its task.yaml."""
    root = tmp_path_factory.mktemp("volumes")
    for name, (matrix, sform, qform) in VOLUMES.items():
        shape = np.ceil(SIZE / np.linalg.norm(matrix, axis=0)).astype(int)
        affine = affine_of(matrix, shape)
        for kind, array in zip(("images", "masks"), phantom(affine, shape)):
            volume = nibabel.Nifti1Image(array.astype(np.int16 if kind == "images" else np.uint8), affine)
            volume.set_sform(affine, sform)
            volume.set_qform(affine, qform)
            (root / kind).mkdir(exist_ok=True)
            nibabel.save(volume, root / kind / f"{name}.nii.gz")
    pairs = [{"image": f"images/{name}.nii.gz", "label": f"masks/{name}.nii.gz"} for name in VOLUMES]
    (root / "datalist.json").write_text(json.dumps({"training": pairs, "validation": pairs[:1], "test": pairs}))
    # the logits of background, vessel (over 150) and tumour (under 50)
    slopes, biases = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-50.0, -200.0, 0.0])
    torch.save({"weight": slopes.view(3, 1, 1, 1, 1), "bias": biases}, root / "model.pt")
    (root / "task.yaml").write_text(yaml.safe_dump(TASK, sort_keys=False))
    return root


def run(run_id, configs, **keys):
    """In this process, which is quicker than one of its own."""
    keys = {"bundle_root": "bundle", "network_def": NETWORK, **keys}
    monai.bundle.run(run_id, config_file=[str(CONFIGS / name) for name in configs], **keys)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tta"])
def masks(request, folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("segmented")
    run(
        "segmenting", ["inference.yaml"],
        dataset_dir=str(folder / "images"), ckpt_path=str(folder / "model.pt"), output_dir=str(output),
        tta=request.param,
    )  # fmt: skip
    return output


def assert_on_phantom(mask, affine):
    """The surfaces of all ellipsoids in the mask are right to half a voxel, and nothing is beside them."""
    beside = np.full(mask.shape, True)
    for centre, radii, number in ELLIPSOIDS:
        distance = to_surface(affine, mask.shape, centre, radii)
        near, inside = distance < 1.5, mask == VALUES[number]
        assert (distance < -1).any()
        assert np.abs(distance[near & (inside != (distance < 0))]).max(initial=0) < 0.5
        if (centre, radii, number) in WHOLE:
            found = nibabel.affines.apply_affine(affine, np.argwhere(inside & near)).mean(0)
            assert np.abs(np.linalg.solve(affine[:3, :3], found - centre)).max() < 0.25
        beside &= ~near
    assert not mask[beside].any()


@pytest.mark.parametrize("name", VOLUMES)
def test_a_mask_lies_on_the_phantom_in_world_coordinates(name, folder, masks):
    image, mask = nibabel.load(folder / "images" / f"{name}.nii.gz"), nibabel.load(masks / f"{name}.nii.gz")
    assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
    for code in ("sform_code", "qform_code", "pixdim"):
        np.testing.assert_array_equal(mask.header[code], image.header[code])
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-6)

    assert_on_phantom(np.asarray(mask.dataobj), mask.affine)


def test_evaluation_compares_in_the_voxels_of_the_image(folder, tmp_path):
    run(
        "evaluating", ["train.yaml", "evaluate.yaml"],
        dataset_dir=str(folder / "datalist.json"), ckpt_path=str(folder / "model.pt"), output_dir=str(tmp_path),
        save_overlay=False,
    )  # fmt: skip
    with open(tmp_path / "val_mean_dice_raw.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(VOLUMES)
    assert all(float(row[name]) > 0.95 for row in rows for name in ("class0", "class1"))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder with an oblique DICOM series of the phantom, and the affine of its array to RAS."""
    shape = (75, 76, 22)
    lps = affine_of(OBLIQUE @ np.diag([0.8, 0.9, 2.5]), shape)
    ras = np.diag([-1, -1, 1, 1]) @ lps
    root = tmp_path_factory.mktemp("dicom")
    write_series(root / "1.2.840.7", phantom(ras, shape)[0], lps)
    return root, ras


def test_a_dicom_series_gives_a_nifti_mask_in_its_place(series, folder, tmp_path):
    root, affine = series
    run(
        "segmenting", ["inference.yaml"],
        dataset_dir=str(root), ckpt_path=str(folder / "model.pt"), output_dir=str(tmp_path), save_objects=True,
    )  # fmt: skip
    mask = nibabel.load(tmp_path / "1.2.840.7.nii.gz")
    assert mask.header["sform_code"] == mask.header["qform_code"] == 1
    np.testing.assert_allclose(mask.affine, affine, atol=1e-4)
    assert_on_phantom(np.asarray(mask.dataobj), affine)
    assert (tmp_path / "objects" / "1.2.840.7.csv").exists()


def test_a_dicom_series_gives_a_dicom_segmentation(series, folder, tmp_path):
    root, _ = series
    run(
        "segmenting", ["inference.yaml"],
        dataset_dir=str(root / "1.2.840.7"), ckpt_path=str(folder / "model.pt"), output_dir=str(tmp_path),
        output_format="dicom_seg",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.840.7.dcm"]
    copied = Path(shutil.copytree(root / "1.2.840.7", tmp_path / "both"))
    shutil.copytree(tmp_path, copied / "masks", ignore=shutil.ignore_patterns("both"))
    shutil.copy(tmp_path / "1.2.840.7.dcm", copied)
    assert find_series(copied) == [copied] and len(read_series(copied)) == len(read_series(root / "1.2.840.7"))
    segmentation = highdicom.seg.segread(tmp_path / "1.2.840.7.dcm")
    names = [segmentation.get_segment_description(number).segment_label for number in (1, 2)]
    volume = segmentation.get_volume(combine_segments=True)
    assert names == ["vessel", "tumour"]
    assert_on_phantom(np.array(VALUES)[volume.array], np.diag([-1, -1, 1, 1]) @ volume.affine)


@pytest.mark.parametrize("window", [[40, 40, 1], [1, 40, 40]], ids=["axial", "sagittal"])
def test_a_2d_network_segments_slice_by_slice(window, folder, tmp_path):
    weights = torch.load(folder / "model.pt")
    torch.save({"weight": weights["weight"].squeeze(-1), "bias": weights["bias"]}, tmp_path / "model.pt")
    task = {**TASK, "spatial_dims": 2, "roi_size": window}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    run(
        "segmenting", ["inference.yaml"],
        dataset_dir=[str(folder / "images" / f"{name}.nii.gz") for name in ("canonical", "sagittal")],
        ckpt_path=str(tmp_path / "model.pt"), output_dir=str(tmp_path / "masks"), tta=True,
        network_def={**NETWORK, "_target_": "torch.nn.Conv2d"},
    )  # fmt: skip
    for name in ("canonical", "sagittal"):
        mask = nibabel.load(tmp_path / "masks" / f"{name}.nii.gz")
        assert_on_phantom(np.asarray(mask.dataobj), mask.affine)


def test_a_2d_network_is_trained_on_slices_of_volumes(folder, tmp_path):
    run(
        "training", ["train.yaml"],
        dataset_dir=str(folder / "datalist.json"), task_path=str(folder / "task.yaml"), ckpt_dir=str(tmp_path),
        output_dir=str(tmp_path / "log"), spatial_dims=2, roi_size=[32, 32, 1], batch_size=4, max_epochs=1,
        num_workers=0, device="$torch.device('cpu')", network_def={
            "_target_": "dpsau2net_monai.networks.DPSAU2NetLite", "spatial_dims": "$@task.spatial_dims",
            "in_channels": 1, "out_channels": 3,
        },
    )  # fmt: skip
    task = yaml.safe_load((tmp_path / "task.yaml").read_text())
    assert (task["spatial_dims"], task["roi_size"], task["strides"]) == (2, [32, 32, 1], None)
    assert torch.load(tmp_path / "model.pt")["entries.0.conv.weight"].ndim == 4
    with open(tmp_path / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1
