"""Instances in ImageJ: it opens the label images and the ROIs, and measures what the tables say."""

from __future__ import annotations

import csv
import subprocess

import monai.bundle
import pytest

from dpsau2net_monai.data import synthesize

pytestmark = pytest.mark.integration

JAR = "/usr/share/java/ij.jar"  # of Debian's and Ubuntu's package imagej
# a line for each ROI: image, bits of the label image, area, smallest and largest number under it
MACRO = """
setBatchMode(true);
arguments = split(getArgument(), ":");
lines = File.open(arguments[0] + "/measured.csv");
for (i = 1; i < arguments.length; i++) {
  roiManager("reset");
  open(arguments[0] + "/" + arguments[i] + ".tif");
  roiManager("open", arguments[0] + "/" + arguments[i] + ".zip");
  for (roi = 0; roi < roiManager("count"); roi++) {
    roiManager("select", roi);
    getStatistics(area, mean, smallest, largest);
    print(lines, arguments[i] + "," + bitDepth() + "," + area + "," + smallest + "," + largest);
  }
  close();
}
File.close(lines);
run("Quit");
"""


def test_rois_lie_on_the_instances_of_the_table(tmp_path):
    synthesize(tmp_path, number=3)
    monai.bundle.run(
        "segmenting", config_file="bundle/configs/inference.yaml", bundle_root="bundle", instances=True,
        dataset_dir=str(tmp_path / "images"), output_dir=str(tmp_path / "out"), outlines="imagej", save_objects=True,
    )  # fmt: skip
    (tmp_path / "measure.ijm").write_text(MACRO)
    folder = tmp_path / "out" / "instances"
    names = sorted(path.stem for path in folder.glob("*.tif"))
    command = ["java", "-cp", JAR, "ij.ImageJ", "-macro", tmp_path / "measure.ijm", ":".join([str(folder), *names])]
    subprocess.run(["xvfb-run", "--auto-servernum", *command], check=True, timeout=120)

    expected = []
    for name in names:
        with open(tmp_path / "out" / "objects" / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        expected += [[name, "16", row["area"], row["label"], row["label"]] for row in rows]
    with open(folder / "measured.csv", newline="") as file:
        measured = list(csv.reader(file))
    assert len(measured) > 20 and measured == expected
