"""The panel in napari's window: from an image to a trained network."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from bright_network import Bright
from PIL import Image
from samples import AFFINES, write_untrained
from skimage.draw import disk

from dpsau2net_monai.data import Task, name_of, synthesize
from dpsau2net_monai.errors import InputError

pytest.importorskip("napari.layers")
from napari._qt.qthreading import wait_for_workers_to_quit  # noqa: E402
from napari.layers import Labels  # noqa: E402
from npe2 import PluginManifest  # noqa: E402
from npe2.manifest.utils import import_python_name  # noqa: E402
from qtpy.QtWidgets import QMessageBox  # noqa: E402

import dpsau2net_monai.napari  # noqa: E402
from dpsau2net_monai.napari.annotating import Annotator, Queue, annotate  # noqa: E402
from dpsau2net_monai.napari.segmenting import Settings, open_segmenter  # noqa: E402
from dpsau2net_monai.napari.widgets import Panel  # noqa: E402

pytestmark = pytest.mark.napari
MINUTE = 60_000
TASKS = {
    "picture": Task(labels="nucleus", roi_size=[64, 64]),
    "volume": Task(3, 1, "nucleus", "mr", spacing=[1, 1, 1], strides=[[2, 2, 2]] * 3, roi_size=[32, 32, 32]),
}


@pytest.fixture
def panel(make_napari_viewer):
    panel = Panel(make_napari_viewer())
    panel.choices.viewer.window.add_dock_widget(panel)
    return panel


@pytest.fixture
def said(monkeypatch):
    """The lines that the plugin shows as errors."""
    lines: list[str] = []
    monkeypatch.setattr("dpsau2net_monai.napari.widgets.choices.show_error", lines.append)
    return lines


def nuclei(size: int = 96, number: int = 6) -> np.ndarray:
    """Bright discs on black, with some noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 20, (size, size))
    for row, column in rng.integers(12, size - 12, (number, 2)):
        image[disk((row, column), 8)] += 150
    return np.clip(image, 0, 255).astype(np.uint8)


def segment(panel: Panel, qtbot) -> Labels | None:
    panel.segment.start_button.click()
    qtbot.waitUntil(lambda: not panel.segment.running, timeout=MINUTE)
    return panel.choices.labels.value


def test_manifest():
    manifest = PluginManifest.from_file(Path(dpsau2net_monai.napari.__file__).with_name("napari.yaml"))
    manifest.validate_imports()
    functions = {command.id: command.python_name for command in manifest.contributions.commands}
    for sample in manifest.contributions.sample_data:
        layers = import_python_name(functions[sample.command])()
        assert layers and all(kind == "image" and array.size for array, _, kind in layers)


@pytest.mark.parametrize("stack", [False, True])
def test_segment(panel, qtbot, stack):
    """The labels lie on the image. Each plane of a stack has those that it has by itself."""
    image = nuclei()
    data = np.stack([image, image[::-1]]) if stack else image
    placed = {"scale": [0.5] * data.ndim, "translate": [3] * data.ndim, "units": "um"}
    turned = {"rotate": 30, "shear": [0.2], "affine": np.diag([2, 3, 1])}
    layer = panel.choices.viewer.add_image(data, name="cells", **placed, **turned)
    labels = segment(panel, qtbot)
    segmenter = open_segmenter(panel.choices.settings)
    prepared = segmenter.prepare(image, rgb=False)
    expected = segmenter.labels(prepared, segmenter.logits(prepared))
    assert expected.max() > 1
    assert np.array_equal(labels.data[0] if stack else labels.data, expected)
    assert labels.data.shape == data.shape and (labels.scale == 0.5).all() and labels.units == layer.units
    for point in np.eye(data.ndim + 1, data.ndim):
        assert np.allclose(labels.data_to_world(point), layer.data_to_world(point))
    assert panel.segment.bar.value() == panel.segment.bar.maximum()


def test_channels_have_no_place_in_the_labels(panel, qtbot):
    image = np.stack([nuclei()] * 3)
    layer = panel.choices.viewer.add_image(image, translate=[9, 4, 5], shear=[0, 0, 0.2])
    panel.choices.channels.value = True
    labels = segment(panel, qtbot)
    assert np.allclose(labels.data_to_world((10, 20)), layer.data_to_world((0, 10, 20))[1:])


def test_labels_stay_with_their_image(panel, qtbot, tmp_path, said):
    """Labels are not saved with an image that they were not made of."""
    viewer, choices = panel.choices.viewer, panel.choices
    choices.dataset.value = tmp_path / "data"
    viewer.add_image(nuclei(), name="one")
    of_one = segment(panel, qtbot)
    viewer.add_image(nuclei()[::-1], name="two")
    panel.save.save_button.click()
    assert len(said) == 1 and "another image" in said[0] and not (tmp_path / "data").exists()
    of_two = segment(panel, qtbot)
    for layer in ("one", "one labels"):
        viewer.layers.selection.active = viewer.layers[layer]
        assert choices.image.value.name == "one" and choices.labels.value is of_one
        viewer.layers.selection.active = of_two
        assert choices.image.value.name == "two" and choices.labels.value is of_two
    choices.labels.value = viewer.add_labels(of_one.data, name="by hand")
    panel.save.save_button.click()
    assert np.array_equal(tifffile.imread(tmp_path / "data" / "instances" / "two.tif"), of_one.data)


@pytest.mark.parametrize("place", [{"translate": [5, 0, 0]}, {"scale": [3, 1, 1]}])
def test_the_plane_that_is_seen(panel, tmp_path, said, place):
    """It is that of the chosen stack, not of another one that lies or ends elsewhere."""
    write_untrained(tmp_path, TASKS["picture"])
    panel.choices.weights.value, panel.choices.dataset.value = tmp_path, tmp_path / "data"
    viewer = panel.choices.viewer
    viewer.add_image(np.zeros((20, 64, 64), np.uint8), name="long")
    planes = np.arange(4, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(64, 2)
    stack = viewer.add_image(planes, name="stack", **place)
    labels = viewer.add_labels(np.ones(stack.data.shape, np.int32), **place)
    viewer.layers.selection.active = stack
    viewer.dims.set_point(0, stack.data_to_world((2, 0, 0))[0])
    panel.save.save_button.click()
    assert (np.asarray(Image.open(tmp_path / "data" / "images" / "stack_0002.png")) == 2).all()
    viewer.dims.set_point(0, 17)
    panel.save.save_button.click()
    panel.click.start_button.click()
    for plane in (-2, 4):
        viewer.layers["clicks: background"].add([plane, 5, 5])
    assert len(said) == 3 and all("shows no image here" in line for line in said) and (labels.data == 1).all()


def test_closing_napari_does_not_wait_for_the_image(panel, qtbot):
    panel.choices.viewer.add_image(np.zeros((700, 700), np.uint8))
    computed: list[int] = []
    network = open_segmenter(panel.choices.settings)._network
    handle = network.register_forward_hook(lambda *_: computed.append(1))
    panel.segment.start_button.click()
    qtbot.waitUntil(lambda: bool(computed), timeout=MINUTE)
    wait_for_workers_to_quit(MINUTE)  # what napari does
    handle.remove()
    qtbot.waitUntil(lambda: not panel.segment.running, timeout=MINUTE)
    assert panel.choices.labels.value is None


def test_cancel(panel, qtbot):
    panel.choices.viewer.add_image(np.stack([nuclei()] * 50))
    panel.segment.start_button.click()
    qtbot.waitUntil(lambda: panel.segment.bar.value() > 0, timeout=MINUTE)
    panel.segment.cancel_button.click()
    qtbot.waitUntil(lambda: not panel.segment.running, timeout=MINUTE)
    done = panel.choices.labels.value.data.any((1, 2))
    assert done[0] and not done[-1]
    assert panel.segment.start_button.isEnabled()


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [
        (None, "run", "there is no image"),
        ((64, 64), "no.pt", "no such file"),
        ((64, 64), "run", "dimensions"),
        ((64, 64), "broken", "cut short"),
    ],
)
def test_problems_in_one_line(panel, qtbot, tmp_path, said, shape, weights, message):
    write_untrained(tmp_path / "run", Task(spatial_dims=3, in_channels=1, strides=[[2, 2, 2]] * 3))
    TASKS["picture"].write(tmp_path / "broken" / "task.yaml")
    (tmp_path / "broken" / "model.pt").write_text("no weights")
    if shape:
        panel.choices.viewer.add_image(np.zeros(shape, np.uint8))
    panel.choices.weights.value = tmp_path / weights
    assert segment(panel, qtbot) is None
    assert len(said) == 1 and message in said[0] and "\n" not in said[0]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task(2, 3, ["cell", "nucleus"]), "classes that overlap cannot be clicked"),
        (Task(3, 1, strides=[[2, 2, 2]] * 3), "the layer has 2 dimensions"),
    ],
)
def test_what_cannot_be_clicked_is_said(panel, said, tmp_path, task, message):
    write_untrained(tmp_path, task)
    panel.choices.weights.value = tmp_path
    panel.choices.viewer.add_image(nuclei())
    panel.click.start_button.click()
    assert len(said) == 1 and message in said[0]
    assert len(panel.choices.viewer.layers) == 1


@pytest.mark.parametrize(
    ("kind", "planes", "plane", "changed"),
    [("picture", (), (), [0]), ("stack", (3,), (1,), [1]), ("volume", (10,), (4,), [3, 4, 5])],
)
def test_clicks(panel, monkeypatch, tmp_path, kind, planes, plane, changed):
    """A click adds an instance or takes one away, and Ctrl+Z brings it back."""
    write_untrained(tmp_path, TASKS["volume" if kind == "volume" else "picture"])
    panel.choices.weights.value = tmp_path
    monkeypatch.setattr(open_segmenter(panel.choices.settings), "_network", Bright())
    image = np.zeros((96, 128), np.uint8)
    image[20:30, 20:30] = 200
    image[65:76, 105:116] = 40  # missed
    image = np.broadcast_to(image, (*planes, 96, 128)).copy()
    if kind == "volume":
        image[:2] = image[7:] = 0
    labels = np.where(image > 100, 255, 0).astype(np.uint8)  # as a mask is opened
    viewer = panel.choices.viewer
    scale = [2, 1, 1][-image.ndim :]
    viewer.add_image(image, scale=scale)
    layer = viewer.add_labels(labels.copy(), scale=scale)
    panel.click.start_button.click()
    background, nucleus = (viewer.layers[f"clicks: {name}"] for name in ("background", "nucleus"))

    nucleus.add([*plane, 70, 110])
    added, missed = layer.data == 256, image == 40
    assert added[plane][70, 110] and not added[~missed].any()
    assert kind == "volume" or np.array_equal(added[plane], missed[plane])  # in volumes, a click reaches less far
    assert list(np.flatnonzero(added.any((-1, -2)))) == changed
    layer.undo()
    assert np.array_equal(layer.data, labels)
    background.add([*plane, 25, 25])
    assert layer.data[plane][25, 25] == 0 and layer.data[plane][20, 20] == 255


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_save_asks_before_it_overwrites(panel, monkeypatch, tmp_path, said, kind):
    shape, path = {"picture": ((96, 96), "_a_picture_1.tif"), "volume": ((8, 9, 10), "_a_picture_1.nii.gz")}[kind]

    def saved() -> np.ndarray:
        path_of = tmp_path / "data" / "instances" / path
        return tifffile.imread(path_of) if kind == "picture" else np.asarray(nibabel.load(path_of).dataobj).T

    TASKS[kind].write(tmp_path / "task.yaml")
    (tmp_path / "model.pt").touch()
    panel.choices.weights.value = tmp_path
    panel.choices.viewer.add_image(np.ones(shape, np.uint8), name=".a picture/1")  # hidden files are no images
    panel.choices.viewer.add_labels(np.ones(shape, np.int32))
    panel.save.save_button.click()
    assert len(said) == 1 and "name a folder" in said[0]
    panel.choices.dataset.value = tmp_path / "data"
    panel.save.save_button.click()
    assert saved().shape == shape and saved().all()
    panel.choices.labels.value.data = np.zeros(shape, np.int32)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    panel.save.save_button.click()
    assert saved().all()
    panel.save.save_button.click()
    assert not saved().any()


@pytest.mark.slow
def test_train(panel, qtbot, tmp_path, said, monkeypatch):
    """Training shows its curves, stops, and its weights segment."""
    runs = tmp_path / "runs"
    monkeypatch.setattr("dpsau2net_monai.napari.training.run_folder", lambda bundle: str(runs / "1"))
    synthesize(tmp_path / "data", 3, size=(64, 64))
    panel.choices.dataset.value = tmp_path / "data"
    panel.train.epochs.setValue(2)
    panel.train.start_button.click()
    assert panel.train.stop_button.isEnabled() and not panel.train.use_button.isEnabled()
    qtbot.waitUntil(lambda: not panel.train.training.running, timeout=5 * MINUTE)
    assert "finished" in panel.train.status.text(), panel.train.training.log
    assert len(panel.train.figure.axes[0].lines) == 2
    panel.train.use_button.click()
    assert panel.choices.weights.value == runs / "1" / "model.pt"
    panel.choices.viewer.add_image(nuclei())
    assert segment(panel, qtbot) is not None

    monkeypatch.setattr("dpsau2net_monai.napari.training.run_folder", lambda bundle: str(runs / "2"))
    panel.train.epochs.setValue(1000)
    panel.train.start_button.click()
    qtbot.waitUntil(lambda: (runs / "2" / "history.csv").exists(), timeout=5 * MINUTE)
    panel.train.stop_button.click()
    qtbot.waitUntil(lambda: not panel.train.training.running, timeout=MINUTE)
    assert "stopped" in panel.train.status.text()
    assert open_segmenter(Settings(runs / "2"))


def test_training_that_stops_at_once(panel, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr("dpsau2net_monai.napari.training.run_folder", lambda bundle: str(tmp_path / "run"))
    synthesize(tmp_path / "data", 2, size=(64, 64))
    panel.choices.dataset.value = tmp_path / "data"
    panel.train.start_button.click()
    panel.train.stop_button.click()
    qtbot.waitUntil(lambda: "no weights yet" in panel.train.status.text(), timeout=MINUTE)
    assert panel.train.start_button.isEnabled() and not panel.train.use_button.isEnabled()


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_annotate(panel, qtbot, tmp_path, said, kind):
    """The least certain image comes first; a new session goes on with what is left."""
    write_untrained(tmp_path / "run", TASKS[kind])  # uncertain of everything
    (tmp_path / "images").mkdir()
    for name, array in {"black": np.zeros((64, 64), np.uint8), "cells": nuclei(64, 3), "more": nuclei(80, 5)}.items():
        if kind == "picture":
            Image.fromarray(array).save(tmp_path / "images" / f"{name}.png")
        else:
            volume = nibabel.Nifti1Image(np.stack([array[:40, :32]] * 16), AFFINES["turned"])
            nibabel.save(volume, tmp_path / "images" / f"{name}.nii.gz")
    images = [str(path) for path in (tmp_path / "images").iterdir()]
    panel.choices.weights.value = tmp_path / "run"
    queue = Queue(images, tmp_path / "out")
    queue.rate(open_segmenter(panel.choices.settings))
    order = queue.left
    assert [queue.expected_dice[name] for name in order] == sorted(queue.expected_dice.values())

    def wait():
        qtbot.waitUntil(lambda: not panel.segment.running, timeout=MINUTE)

    annotator = Annotator(panel, queue, tmp_path / "out")
    wait()
    assert panel.choices.image.value.name == order[0]
    of_image = panel.choices.labels.value
    of_image.data[:] = 7
    viewer = panel.choices.viewer
    viewer.add_labels(np.zeros_like(of_image.data), name="mine")
    viewer.add_image(np.zeros_like(of_image.data), name="another")
    annotator.save_button.click()
    assert len(said) == 1 and "another image" in said[0] and len(queue.left) == 3
    viewer.layers.selection.active = of_image
    annotator.save_button.click()
    if kind == "picture":
        assert (tifffile.imread(tmp_path / "out" / "instances" / f"{order[0]}.tif") == 7).all()
    else:  # turned, so that the axes are those of the affine
        stored = nibabel.load(tmp_path / "out" / "instances" / f"{order[0]}.nii.gz")
        assert stored.shape == (32, 16, 40) and stored.header.get_zooms() == (1.5, 1, 1.25)
        assert (np.asarray(stored.dataobj) == 7).all()
    wait()
    annotator.skip_button.click()
    wait()

    again = Queue(images, tmp_path / "out")
    again.rate(open_segmenter(panel.choices.settings))
    assert again.left == order[2:]
    annotator = Annotator(panel, again, tmp_path / "out")
    wait()
    annotator.save_button.click()
    assert not annotator.save_button.isEnabled() and "3 of 3" in annotator.status.text()
    assert {name_of(path) for path in (tmp_path / "out" / "images").iterdir()} == {order[0], order[2]}


def test_record_of_an_earlier_version(tmp_path):
    Image.fromarray(nuclei(64, 3)).save(tmp_path / "cells.png")
    (tmp_path / "annotation.csv").write_text("image,entropy,state\ncells,0.1,done\nmore,0.2,left\n")
    write_untrained(tmp_path / "run", Task(roi_size=[64, 64]))
    queue = Queue([str(tmp_path / "cells.png")], tmp_path)
    queue.rate(open_segmenter(Settings(tmp_path / "run")))
    assert not queue.left and Queue([], tmp_path).state == {"cells": "done", "more": "left"}


def test_image_that_cannot_be_rated_is_named(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "cells.tif", np.full((64, 64), np.nan, np.float32))
    write_untrained(tmp_path / "run", TASKS["picture"])
    queue = Queue([str(tmp_path / "cells.tif")], tmp_path)
    queue.rate(open_segmenter(Settings(tmp_path / "run")))
    assert not queue.left and "cells is left out" in caplog.text


def test_damaged_record(tmp_path):
    (tmp_path / "annotation.csv").write_text("image,entropy\ncells,0.1\n")
    with pytest.raises(InputError, match="annotation.csv"):
        Queue([], tmp_path)


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_images_of_another_kind(tmp_path, kind):
    write_untrained(tmp_path / "run", TASKS[kind])
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ("one.nii.gz" if kind == "picture" else "one.png")).touch()
    with pytest.raises(InputError, match=f"these weights take {kind}s"):
        annotate(tmp_path / "images", tmp_path / "out", tmp_path / "run")
    assert not (tmp_path / "out").exists()
