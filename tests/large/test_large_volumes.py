"""Masks of volumes that are read in bands are those of volumes that are read whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from samples import Interrupted

from dpsau2net_monai.data import Task, memory
from dpsau2net_monai.errors import root_input_error

zarr = pytest.importorskip("zarr", "3.1.5")

from dpsau2net_monai.large import LargeSegmenter, find_large_images  # noqa: E402
from dpsau2net_monai.large import saving as large_saving  # noqa: E402

CONFIG = str(Path(__file__).parents[2] / "bundle" / "configs" / "inference.yaml")
SIZE, SPACING = (37, 45, 52), [1.0, 0.5, 2.0]
TASK = Task(
    spatial_dims=3, in_channels=1, labels={"background": 0, "anterior": 5, "posterior": 300}, modality="mr",
    spacing=SPACING, roi_size=[16, 20, 24],
)  # fmt: skip


def voxels(channels: int = 1) -> np.ndarray:
    values = np.random.default_rng(0).normal(900, 300, (*SIZE, channels)) + np.arange(SIZE[2])[:, None] * 9
    return values.squeeze().astype(np.int16)


def write_nifti(path: Path, array: np.ndarray, axes: str = "RAS", tilt: float = 0, slope: float = 1) -> None:
    """Write a volume, which is given in RAS, with other axes. The voxels are ``SPACING``, in RAS."""
    affine = np.diag([*SPACING, 1.0])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    change = ornt_transform(io_orientation(np.eye(4)), axcodes2ornt(axes))
    stored = nibabel.orientations.apply_orientation(array, change)
    image = nibabel.Nifti1Image(stored, turn @ affine @ inv_ornt_aff(change, array.shape[:3]))
    image.set_qform(image.affine, 2)
    image.set_sform(image.affine, 1)
    image.header["descrip"] = b"a scanner"
    if slope != 1:
        image.header.set_slope_inter(slope, -3)
    nibabel.save(image, path)


def write_ome_zarr(path: Path, array: np.ndarray, version: str) -> None:
    """In micrometres, with the scale in two parts, and a coarse level that nobody asked for."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group["0"], group["1"] = array.T, array.T[..., ::2, ::2, ::2]
    names = "zyx" if array.ndim == 3 else "czyx"
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in names]
    ones = [1.0] * (array.ndim - 3)
    scale = [{"type": "scale", "scale": [*ones, *(size * 100 for size in SPACING[::-1])]}]
    tenfold = [{"type": "scale", "scale": [*ones, 10, 10, 10]}]
    image = {
        "version": version, "axes": axes, "coordinateTransformations": tenfold,
        "datasets": [{"path": "0", "coordinateTransformations": scale}, {"path": "1"}],
    }  # fmt: skip
    group.attrs.update({"multiscales": [image]} if version == "0.4" else {"ome": {"multiscales": [image]}})


def network(task: Task) -> dict:
    """Its output depends on the place in the window and on the axes, so that a shifted or turned window shows."""
    kernel = (3, 1, 5)[: task.spatial_dims]
    return {
        "_target_": f"torch.nn.Conv{task.spatial_dims}d", "in_channels": task.in_channels,
        "out_channels": task.out_channels, "kernel_size": kernel, "padding": [side // 2 for side in kernel],
    }  # fmt: skip


def module(task: Task) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = network(task)
    return getattr(torch.nn, settings.pop("_target_")[9:])(**settings)


def run(run_id: str, dataset_dir: Path, output_dir: Path, task: Task = TASK, **keys: object) -> None:
    """In this process, which is quicker than one of its own."""
    weights = output_dir.parent / "model.pt"
    task.write(output_dir.parent / "task.yaml")
    torch.save(module(task).state_dict(), weights)
    monai.bundle.run(
        run_id, config_file=CONFIG, bundle_root="bundle", dataset_dir=str(dataset_dir), output_dir=str(output_dir),
        ckpt_path=str(weights), network_def=network(task), sw_batch_size=3,
        **{"precision": "float32", **keys},  # auto may take bfloat16 for one of two runs
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "folders", "keys"),
    [
        (TASK, [""], {}),
        (replace(TASK, labels=["a", "b"], in_channels=2, spacing=None), ["a", "b"], {"overlap": 0.6}),
        (replace(TASK, spatial_dims=2, roi_size=[16, 20, 1], labels="organ"), [""], {}),
        (replace(TASK, spatial_dims=2, roi_size=[1, 20, 24], labels={"#ff0000": "a", "#00ff00": "b"}), [""], {}),
        (
            replace(TASK, modality="ct", intensity={"low": 500, "high": 2000, "mean": 900, "std": 300}),
            [""],
            {"runtime": "torch"},
        ),
    ],
    ids=["classes", "channels", "slices", "sagittal", "ct"],
)
def test_masks_are_those_of_volumes_in_memory(task, folders, keys, monkeypatch, tmp_path):
    monkeypatch.setattr(large_saving, "SIDE", 20)
    monkeypatch.setattr(large_saving, "SMALLEST", 40)
    monkeypatch.setattr("dpsau2net_monai.large.segmenter.PIECE", 9999)
    array = voxels(task.in_channels)
    whole, large = tmp_path / "whole", tmp_path / "large"
    for folder in (whole, large):
        folder.mkdir()
        write_nifti(folder / "oblique_0000.nii", array, "LPS", tilt=0.3, slope=0.7)
        write_nifti(folder / "sagittal.nii.gz", array, "AIL")
    for name, version in (("old", "0.4"), ("new", "0.5")):
        write_nifti(whole / f"{name}.nii.gz", array)
        write_ome_zarr(large / f"{name}.ome.zarr", array, version)
    run("segmenting", whole, whole / "masks", task, **keys)
    run("segmenting_large", large, large / "masks", task, **keys)
    assert len(list((large / "masks").rglob("*.nii"))) == 2 * len(folders)
    assert not list(large.rglob("*part*"))
    for folder in folders:
        for path in (whole / "masks" / folder).glob("*.nii.gz"):
            expected = nibabel.load(path)
            values = np.asarray(expected.dataobj)
            name = path.name[:-7]
            assert len(np.unique(values)) == (3 if task.labels.form == "values" else 2)
            if name in ("old", "new"):
                group = zarr.open_group(large / "masks" / folder / f"{name}.ome.zarr", mode="r")
                image = group.attrs.get("ome", group.attrs)["multiscales"][0]
                scales = [one["coordinateTransformations"][0]["scale"][-3:] for one in image["datasets"]]
                np.testing.assert_allclose(scales, [np.array(SPACING[::-1]) * 1000 * step for step in (1, 2)])
                stored = group["0"][:].T
                np.testing.assert_array_equal(stored, values, err_msg=name)
                np.testing.assert_array_equal(group["1"][:].T, stored[::2, ::2, ::2])
                assert group["0"].metadata.zarr_format == (2 if name == "old" else 3)
            else:
                mask = nibabel.load(large / "masks" / folder / f"{name}.nii")
                np.testing.assert_array_equal(np.asarray(mask.dataobj), values, err_msg=name)
                assert mask.header == expected.header


def test_a_killed_run_goes_on(tmp_path):
    write_nifti(tmp_path / "image.nii.gz", voxels(), "LPI")
    (item,) = find_large_images(tmp_path / "image.nii.gz", tmp_path / "masks", TASK)

    def segment(folder: str, last: float) -> int:
        counting = Interrupted(module(TASK), last)
        LargeSegmenter(TASK, counting, tmp_path / folder, tmp_path / "none", sw_batch_size=1)(item)
        return counting.windows

    windows = segment("whole", np.inf)
    with pytest.raises(KeyboardInterrupt):
        segment("killed", 0.8 * windows)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["image.part.zarr"]
    assert segment("killed", np.inf) < windows
    masks = [nibabel.load(tmp_path / folder / "image.nii").get_fdata() for folder in ("whole", "killed")]
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    ("name", "task", "keys", "reason"),
    [
        ("a.nii", replace(TASK, spacing=[1, 1, 2]), {}, "1 x 0.5 x 2 mm, but the network takes 1 x 1 x 2 mm"),
        ("a.zarr", replace(TASK, spacing=[1, 1, 2]), {}, "mrgrid IMAGE regrid -voxel 1,1,2 OUTPUT.nii"),
        ("a.nii.gz", Task(in_channels=1), {}, "is a volume, but the network takes pictures"),
        ("a.zarr", Task(in_channels=1), {}, "save one plane of it"),
        ("a.png", TASK, {}, "is a picture, but the network takes volumes"),
        ("a.nii", TASK, {"level": 1}, "set it to 0 to 0"),
        ("a.nii", TASK, {"instances": True}, "has no instances of volumes"),
        ("a.nii", replace(TASK, in_channels=2), {}, "has 1 channels, but the network takes 2"),
        ("a.nii", TASK, {"output_dir": "images", "overwrite": True}, "set output_dir to another folder"),
    ],
)
def test_bad_input_ends_in_one_line(name, task, keys, reason, tmp_path):
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / name
    if name.endswith(".zarr"):
        write_ome_zarr(path, voxels(), "0.5")
    elif name.endswith(".png"):
        path.touch()
    else:
        write_nifti(path, voxels())
    output_dir = tmp_path / keys.get("output_dir", "masks")
    with pytest.raises(Exception) as caught:  # MONAI wraps it
        run("segmenting_large", tmp_path / "images", task=task, **{**keys, "output_dir": output_dir})
    message = str(root_input_error(caught.value))
    assert reason in message and "\n" not in message
    assert not [one for one in tmp_path.rglob("*.part*")]


def test_segmenting_names_segmenting_large_for_a_volume_larger_than_memory(monkeypatch, tmp_path):
    (tmp_path / "images").mkdir()
    write_nifti(tmp_path / "images" / "volume.nii.gz", voxels())
    monkeypatch.setattr(memory, "available_memory", lambda: 40_000)
    with pytest.raises(Exception) as caught:
        run("segmenting", tmp_path / "images", tmp_path / "masks")
    message = str(root_input_error(caught.value))
    assert "37 x 45 x 52 and needs about 0.0 GB of memory" in message and "run segmenting_large" in message
