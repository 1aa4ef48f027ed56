"""A whole session in a window, as docs/napari.md tells it. The test's folder has a picture of each step."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from dpsau2net_monai.clicks import next_click

pytest.importorskip("napari.layers")

pytestmark = [pytest.mark.napari, pytest.mark.slow]
MINUTE = 60_000
PLUGIN, PANEL = "dpsau2net-monai", "Segment and train"


def test_session(make_napari_viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr("dpsau2net_monai.napari.training.run_folder", lambda bundle: str(tmp_path / "my_run"))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)

    def picture(name: str) -> None:
        qtbot.wait(500)
        shown = viewer.screenshot(str(tmp_path / f"{name}.png"), canvas_only=False, flash=False)
        assert len(np.unique(shown)) > 50

    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, PANEL)
    panel.choices.dataset.value = dataset = tmp_path / "corrected_nuclei"
    for sample in ("fluorescence", "brightfield", "tissue"):
        viewer.layers.clear()
        viewer.open_sample(PLUGIN, sample)
        picture("opened")
        panel.segment.start_button.click()
        qtbot.waitUntil(lambda: not panel.segment.running, timeout=MINUTE)
        picture("segmented")
        labels = panel.choices.labels.value
        assert labels.data.max() > 1
        if sample == "tissue":
            found, none = (labels.data > 0).astype(int), np.zeros(labels.data.shape, int)  # whatever the weights find
            (_, missed), (_, wrong) = next_click(none, 1 - found), next_click(none, found)
            panel.tabs.setCurrentWidget(panel.click)
            panel.click.start_button.click()
            viewer.layers["clicks: background"].add([wrong])
            viewer.layers["clicks: nucleus"].add([missed])
            assert labels.data[missed] and not labels.data[wrong]
            picture("corrected")
        panel.save.save_button.click()
        assert np.array_equal(tifffile.imread(dataset / "instances" / f"{sample}.tif"), labels.data)

    panel.tabs.setCurrentWidget(panel.train)
    panel.train.epochs.setValue(3)
    panel.train.start_button.click()
    qtbot.waitUntil(lambda: not panel.train.training.running, timeout=10 * MINUTE)
    assert "finished" in panel.train.status.text()
    picture("trained")
    panel.train.use_button.click()
    assert panel.choices.weights.value == tmp_path / "my_run" / "model.pt"
