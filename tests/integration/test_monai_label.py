"""
A MONAI Label server with the packaged bundle, spoken to as annotators' programs speak to it, over HTTP. What each step
gave is printed: ``pytest -m integration -rP``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from bright import NETWORK, write_bright
from PIL import Image
from samples import AFFINES, hippocampus_task, write_untrained, write_volumes

from dpsau2net_monai.cli import main
from dpsau2net_monai.clicks import next_click
from dpsau2net_monai.data import Task, synthesize

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NAME = "dpsau2net_nuclei_segmentation"
VOLUMES_NAME = "dpsau2net_hippocampus_segmentation"
CLICKS_NAME, VOLUME_CLICKS_NAME = "dpsau2net_nuclei_deepedit", "dpsau2net_hippocampus_deepedit"
SCRIPT = Path(__file__).with_name("monai_label_environment.sh")
SMALL, LARGE = [f"nuclei_{i:03d}" for i in range(7)], "large"  # LARGE takes several windows
LABELLED = SMALL[:5]
STUDIES = {"straight_0": "straight", "turned_0": "turned", "straight_1": "straight", "turned_1": "turned"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
JSON = "application/json"


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def read_mask(file) -> np.ndarray:
    with Image.open(file) as picture:
        assert picture.mode == "L"
        return np.asarray(picture) > 0


def read_volume(data: bytes, folder: Path) -> nibabel.Nifti1Image:
    path = folder / f"{uuid.uuid4().hex}.nii.gz"
    path.write_bytes(data)
    return nibabel.load(path)


class Server:
    """The server's process with a packaged bundle, its folders, and requests to it."""

    def __init__(self, python: str, folder: Path, name: str, *options: str) -> None:
        self.name = name
        self.bundle = folder / "monaibundle" / "model" / name
        self.images, self.truth = folder / "images", folder / "masks"
        self.log = folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [python, "-m", "monailabel.main"]
        environment = {
            **ENVIRONMENT, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "",
            "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
            "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # where it is asked for, not after each sample and training
        }  # fmt: skip

        download = [*command, "apps", "--download", "--name", "monaibundle", "--output", folder]
        subprocess.run(download, env=environment, check=True, capture_output=True, timeout=600)
        assert main(["package", "--output", str(self.bundle.parent), "--name", name, *options]) == 0
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*command, "start_server", "--app", folder / "monaibundle", "--studies", self.images,
                 "--host", "127.0.0.1", "--port", str(port), "--conf", "models", name, "--conf", "zoo_source", "local",
                 "--conf", "epistemic_model", name, "--conf", "epistemic_simulation_size", "3"],
                env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_until_it_answers(self, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            try:
                return self.get("/info/")
            except urllib.error.URLError:
                time.sleep(1)
        pytest.fail(f"the server does not answer:\n{self.log.read_text()[-4000:]}", pytrace=False)

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(30)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = JSON, **query) -> bytes:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            pytest.fail(f"{method} {url}: {error.code} {said}\n{self.log.read_text()[-4000:]}", pytrace=False)

    def get(self, path: str, **query) -> dict:
        return json.loads(self.request("GET", path, **query))

    def post(self, path: str, params: dict | None = None, **query) -> dict:
        return json.loads(self.request("POST", path, json.dumps(params or {}).encode(), **query))

    def infer(self, image: str, **params) -> bytes:
        """The file of the mask that the server gives of an image."""
        form = urllib.parse.urlencode({"params": json.dumps(params)}).encode()
        kind = "application/x-www-form-urlencoded"
        return self.request("POST", f"/infer/{self.name}", form, kind, image=image, output="image")

    def infer_mask(self, image: str, **params) -> np.ndarray:
        """The mask of a picture."""
        return read_mask(io.BytesIO(self.infer(image, **params)))

    def train(self) -> dict:
        """Train for an epoch, with all else as 3D Slicer sends it, and return the finished task."""
        params = self.get("/info/")["trainers"][self.name]["config"]
        # all of them with their values, the first of each choice
        params = {key: value[0] if isinstance(value, list) else value for key, value in params.items()}
        self.post(f"/train/{self.name}", {**params, "max_epochs": 1})
        end = time.monotonic() + 1200
        while (task := self.get("/train/"))["status"] in ("SUBMITTED", "RUNNING") and time.monotonic() < end:
            time.sleep(2)
        print(task["status"], *[line for line in task["details"] if "Metrics" in line], sep="\n")
        assert task["status"] == "DONE", "\n".join(task["details"])
        assert any("val_mean_dice" in line for line in task["details"])
        return task

    def changed(self, former: Mapping[str, torch.Tensor]) -> list[bool]:
        """Whether each tensor of the weights differs from the former one."""
        weights = torch.load(self.bundle / "models" / "model.pt")
        return [not torch.equal(tensor, weights[name]) for name, tensor in former.items()]

    def refused(self, image: str, **params) -> str:
        """What the log says of a request that the server cannot answer."""
        start = self.log.stat().st_size
        query = urllib.parse.urlencode({"image": image, "output": "image"})
        form = urllib.parse.urlencode({"params": json.dumps(params)}).encode()
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{self.url}/infer/{self.name}?{query}", form, timeout=600)
        answer = f"{raised.value.code} {raised.value.read().decode()}"
        end, lines = time.monotonic() + 20, []
        while not lines and time.monotonic() < end:  # the server answers first
            time.sleep(0.2)
            lines = [
                line for line in self.log.read_bytes()[start:].decode().splitlines() if "errors.InputError: " in line
            ]
        print(answer, *lines, sep="\n")
        return lines[-1]

    def save_label(self, image: str, file: Path) -> dict:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="label"; filename="{file.name}"\r\n\r\n'
        body = head.encode() + file.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        return json.loads(
            self.request("PUT", "/datastore/label", body, f"multipart/form-data; boundary={mark}", image=image)
        )

    def own_masks(self, output: Path) -> Path:
        """The folder of the masks of all images by the packaged bundle itself, without MONAI Label."""
        return self.run_itself("segmenting", "configs/inference.yaml", dataset_dir=self.images, output_dir=output)

    def run_itself(self, run_id: str, config_file: str, output_dir: Path, **keys) -> Path:
        """Run the packaged bundle without MONAI Label. Return the folder that it writes to."""
        command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config_file]
        options = [
            word for key, value in {"output_dir": output_dir, **keys}.items() for word in (f"--{key}", str(value))
        ]
        result = subprocess.run(
            command + options, cwd=self.bundle, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return output_dir

    def dice(self, image: str, mask: np.ndarray) -> float:
        return dice(mask, read_mask(self.truth / f"{image}.png"))


@pytest.fixture(scope="module")
def python() -> str:
    """The python that MONAI Label is installed for."""
    made = subprocess.run([SCRIPT], env={"PYTHON": sys.executable, **os.environ}, capture_output=True, text=True)
    if made.returncode:
        pytest.fail(made.stderr.strip().splitlines()[-1], pytrace=False)
    return made.stdout.strip()


@contextmanager
def running(start: Callable[[], Server]) -> Iterator[Server]:
    server = start()
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(python, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("monai_label")
    synthesize(folder, len(SMALL), size=(96, 128))
    synthesize(folder / "large", 1, size=(300, 320))
    for kind in ("images", "masks"):
        shutil.move(folder / "large" / kind / f"{SMALL[0]}.png", folder / kind / f"{LARGE}.png")
    with running(lambda: Server(python, folder, NAME)) as server:
        yield server


@pytest.fixture(scope="module")
def volume_server(python, tmp_path_factory) -> Iterator[Server]:
    """With an untrained network of the hippocampus."""
    folder = tmp_path_factory.mktemp("monai_label_volumes")
    write_volumes(folder, STUDIES)
    bundle = shutil.copytree(ROOT / "bundle", folder / "bundle")
    write_untrained(bundle / "tasks" / "hippocampus", hippocampus_task())
    options = ["--task", "hippocampus", "--bundle_root", str(bundle)]
    with running(lambda: Server(python, folder, VOLUMES_NAME, *options)) as server:
        yield server


@pytest.fixture(scope="module")
def own_masks(server, tmp_path_factory) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in server.own_masks(tmp_path_factory.mktemp("own")).glob("*.png")}


def test_info(server):
    info = server.get("/info/")
    model = info["models"][NAME]
    print("name", info["name"], "labels", info["labels"], "dimension", model["dimension"], "config", model["config"])
    print("trainers", list(info["trainers"]), "scoring", list(info["scoring"]), "images", info["datastore"]["total"])
    assert info["labels"] == ["nucleus"] and model["dimension"] == 2 and model["type"] == "segmentation"
    assert {key: model["config"][key] for key in ("threshold", "overlap", "tta")} == {
        "threshold": 0.5, "overlap": 0.25, "tta": False,
    }  # fmt: skip
    assert NAME in info["trainers"] and NAME in info["scoring"] and info["datastore"]["total"] == len(SMALL) + 1


def test_next_sample(server):
    sample = server.post("/activelearning/first")
    image = server.request("GET", "/datastore/image", image=sample["id"])
    print("next sample", sample["id"], len(image), "bytes")
    assert image == (server.images / sample["name"]).read_bytes()


def test_a_mask_is_that_of_the_bundle_itself(server, own_masks):
    for image in (*SMALL[:2], LARGE):
        mask = server.infer_mask(image)
        ours, theirs = server.dice(image, own_masks[image]), server.dice(image, mask)
        print(f"{image}: {mask.shape[1]} x {mask.shape[0]}, Dice {theirs:.4f}, of the bundle itself {ours:.4f}")
        with Image.open(server.images / f"{image}.png") as picture:
            assert mask.shape == picture.size[::-1]
        assert theirs == pytest.approx(ours, abs=1e-3)
    assert not (server.bundle / "eval").exists()


def test_what_the_annotator_sets(server):
    def said_last(text: str) -> str:
        return [line for line in server.log.read_text().splitlines() if text in line][-1]

    area = {threshold: int(server.infer_mask(LARGE, threshold=threshold).sum()) for threshold in (0.1, 0.5, 0.9)}
    print("pixels by threshold", area)
    assert area[0.1] > area[0.5] > area[0.9]
    server.infer_mask(LARGE, overlap=0.6)
    assert "'overlap': 0.6" in said_last("Inferer::")
    plain, averaged = server.infer_mask(LARGE), server.infer_mask(LARGE, tta=True)
    assert "TTAInferer" in said_last("Inferer::")
    print(f"Dice {server.dice(LARGE, plain):.4f}, with TTA {server.dice(LARGE, averaged):.4f}")
    assert 0 < (plain != averaged).mean() < 0.1


@pytest.fixture(scope="module")
def labelled(server, tmp_path_factory) -> list[str]:
    """Images whose labels, the true masks, were saved: 0/1 in a PNG, and in a NIfTI, as 3D Slicer saves them."""
    folder = tmp_path_factory.mktemp("labels")
    for i, image in enumerate(LABELLED):
        mask = read_mask(server.truth / f"{image}.png").astype(np.uint8)
        if i == 0:
            file = folder / f"{image}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(mask.T[..., None], np.diag([-1, -1, 1, 1])), file)
        else:
            file = folder / f"{image}.png"
            Image.fromarray(mask).save(file)
        assert server.save_label(image, file) == {"image": image, "label": image}
    return LABELLED


def test_labels_are_saved(server, labelled):
    stored = server.get("/datastore/", output="train")
    next_one = server.post("/activelearning/first")["id"]
    print("saved", [Path(pair["label"]).name for pair in stored], "next sample", next_one)
    assert len(stored) == len(labelled) == server.get("/info/")["datastore"]["completed"]
    assert next_one not in labelled


def test_all_that_are_left_at_once(server, labelled, own_masks):
    results = server.post(
        f"/batch/infer/{NAME}", {"device": "cpu", "multi_gpu": False}, images="unlabeled", run_sync="true"
    )
    assert set(results) == {*SMALL, LARGE} - set(labelled)
    for image in results:
        mask = read_mask(io.BytesIO(server.request("GET", "/datastore/label", label=image, tag="original")))
        print(f"{image}: Dice {server.dice(image, mask):.4f}")
        assert server.dice(image, mask) == pytest.approx(server.dice(image, own_masks[image]), abs=1e-3)


def test_scores_by_dropout(server, labelled):
    # more threads of MONAI Label would share one config parser, and sometimes fail
    summary = server.post(f"/scoring/{NAME}", {"device": "cpu", "max_workers": 1}, run_sync="true")
    objects = server.get("/datastore/", output="all")["objects"]
    scores = {image: objects[image]["image"]["info"].get("epistemic_entropy") for image in objects}
    print(summary, scores)
    assert summary["executed"] == len(SMALL) + 1 - len(labelled)
    assert all((scores[image] is None) == (image in labelled) for image in scores)
    assert all(score > 0 for score in scores.values() if score is not None)


def test_training_from_the_saved_labels(server, labelled, tmp_path):
    model = server.bundle / "models" / "model.pt"
    before, former = server.infer_mask(LARGE), model.read_bytes()
    server.train()

    (aside,) = model.parent.glob("before-*/model.pt")
    assert aside.read_bytes() == former
    changed = server.changed(torch.load(aside))
    mask, own = server.infer_mask(LARGE), read_mask(server.own_masks(tmp_path) / f"{LARGE}.png")
    print(f"{sum(changed)} of {len(changed)} tensors changed; Dice before {server.dice(LARGE, before):.4f},", end=" ")
    print(f"after {server.dice(LARGE, mask):.4f}, of the bundle itself {server.dice(LARGE, own):.4f}")
    assert all(changed) and (mask != before).any()
    assert server.dice(LARGE, mask) == pytest.approx(server.dice(LARGE, own), abs=1e-3)


def test_info_of_volumes(volume_server):
    info = volume_server.get("/info/")
    model = info["models"][VOLUMES_NAME]
    print("labels", info["labels"], model["labels"], "dimension", model["dimension"])
    assert info["labels"] == ["anterior", "posterior"] and model["labels"] == {"anterior": 1, "posterior": 2}
    assert model["dimension"] == 3 and model["type"] == "segmentation"


def test_a_mask_lies_on_its_volume(volume_server, tmp_path):
    """Also where the volume is not RAS, and where its voxels are not those that the network sees."""
    own = volume_server.own_masks(tmp_path / "own")
    for study in ("straight_0", "turned_0"):
        image = nibabel.load(volume_server.images / f"{study}.nii.gz")
        mask = read_volume(volume_server.infer(study), tmp_path)
        values, expected = (np.asarray(one.dataobj) for one in (mask, nibabel.load(own / f"{study}.nii.gz")))
        print(study, mask.shape, np.unique(values), f"{(values != expected).mean():.6f} differ from the bundle's own")
        assert mask.shape == image.shape and np.allclose(mask.affine, AFFINES[STUDIES[study]], atol=1e-4)
        assert np.unique(values).tolist() == [0, 1, 2]
        assert (values != expected).mean() < 1e-3


def test_training_on_two_classes(volume_server):
    for study in STUDIES:
        label = volume_server.truth / f"{study}.nii.gz"
        assert volume_server.save_label(study, label) == {"image": study, "label": study}
    former = torch.load(volume_server.bundle / "models" / "model.pt")
    volume_server.train()
    changed = volume_server.changed(former)
    print(f"{sum(changed)} of {len(changed)} tensors changed")
    assert all(changed)
    assert "anterior" in (volume_server.bundle / "models" / "task.yaml").read_text()


def interactive_bundle(folder: Path, weights: Path, task: Task, brightness: float) -> Path:
    """
    A copy of the bundle in ``folder`` with a network of one convolution. It computes in float32, as an evaluation does,
    also where bfloat16 is faster.
    """
    bundle = shutil.copytree(ROOT / "bundle", folder / "bundle")
    write_bright(bundle / weights, task, brightness)
    for name in ("inference.yaml", "train.yaml"):
        path = bundle / "configs" / name
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "network_def": NETWORK, "precision": "float32"}, sort_keys=False))
    return bundle


@pytest.fixture(scope="module")
def clicks_server(python, tmp_path_factory) -> Iterator[Server]:
    """With a network of nuclei, under a name that lets annotators click."""
    folder = tmp_path_factory.mktemp("monai_label_clicks")
    synthesize(folder, len(SMALL), size=(96, 128))
    task = Task(2, 3, "nucleus", roi_size=[64, 64])
    bundle = interactive_bundle(folder, Path("models"), task, brightness=2)
    with running(lambda: Server(python, folder, CLICKS_NAME, "--bundle_root", str(bundle))) as server:
        yield server


@pytest.fixture(scope="module")
def volume_clicks_server(python, tmp_path_factory) -> Iterator[Server]:
    """With a network of the hippocampus; without clicks, all is background."""
    folder = tmp_path_factory.mktemp("monai_label_volume_clicks")
    write_volumes(folder, STUDIES)
    task = replace(hippocampus_task(), strides=None)
    bundle = interactive_bundle(folder, Path("tasks", "hippocampus"), task, brightness=0)
    options = ["--task", "hippocampus", "--bundle_root", str(bundle)]
    with running(lambda: Server(python, folder, VOLUME_CLICKS_NAME, *options)) as server:
        yield server


def test_an_interactive_model_is_known_as_such(clicks_server):
    info = clicks_server.get("/info/")
    model = info["models"][CLICKS_NAME]
    print("labels", info["labels"], model["labels"], "type", model["type"], "dimension", model["dimension"])
    assert model["type"] == "deepedit" and model["labels"] == {"background": 0, "nucleus": 1}
    assert model["dimension"] == 2


def test_the_mask_of_a_picture_follows_clicks(clicks_server):
    image = SMALL[0]
    before = clicks_server.infer_mask(image)
    height, width = before.shape
    assert height != width
    for name, value in (("nucleus", True), ("background", False)):
        rows, columns = np.nonzero(before != value)
        places = [(x, y) for y, x in zip(rows, columns) if 16 < x < width - 16 and 16 < y < height - 16]
        x, y = map(int, places[len(places) // 2])
        answers = []
        for points in ([[x, y, 0]], [[x, y]], [[x, y, 0]] * 2):  # 3D Slicer sends three coordinates
            after = clicks_server.infer_mask(image, **{name: points})
            changed = before != after
            assert after[y, x] == value and changed.any() and (after[changed] == value).all()
            answers.append(after)
        assert (answers[0] == answers[1]).all() and (answers[0] == answers[2]).all()
        print(f"{name} at {x}, {y}: {changed.sum()} pixels changed")


def test_other_programs_click_on_the_foreground(clicks_server):
    """OHIF and CVAT do."""
    points = {"background": [[100, 20, 0]]}
    ours, theirs = (
        clicks_server.infer_mask(SMALL[1], **{name: [[30, 60, 0]]}, **points) for name in ("nucleus", "foreground")
    )
    assert (ours == theirs).all() and ours[60, 30] and not ours[20, 100]


def test_clicks_over_http_are_worth_what_the_evaluation_says(clicks_server, tmp_path):
    folder = clicks_server.run_itself(
        "evaluating", "['configs/train.yaml','configs/evaluate.yaml']", dataset_dir=clicks_server.images.parent,
        ckpt_dir=clicks_server.bundle / "models", output_dir=tmp_path, size=0.8, clicks=3,
    )  # fmt: skip
    with open(folder / "clicks.csv", newline="") as file:
        expected = list(csv.DictReader(file))
    for row in expected:
        truth = read_mask(clicks_server.truth / f"{row['image']}.png").T.astype(int)  # (x, y), as clicks are
        clicks: dict[str, list] = {"background": [], "nucleus": []}
        for count in range(4):
            mask = clicks_server.infer_mask(row["image"], **clicks).T.astype(int)
            found = dice(mask > 0, truth > 0)
            print(f"{row['image']}: Dice {found:.4f} after {count} clicks, by the evaluation {row[f'dice_{count}']}")
            assert found == pytest.approx(float(row[f"dice_{count}"]), abs=2e-3)
            code, point = next_click(mask, truth, [tuple(point[:2]) for points in clicks.values() for point in points])
            clicks[list(clicks)[code]].append([*point, 0])


def test_many_clicks_and_a_click_on_a_wrong_class_are_answered(clicks_server):
    start = time.perf_counter()
    points = [(i % 97, i % 74) for i in range(500)]
    mask = clicks_server.infer_mask(SMALL[0], nucleus=[[*point, 0] for point in points])
    print(f"500 clicks: {time.perf_counter() - start:.2f} s")
    assert all(mask[y, x] for x, y in points)
    both = clicks_server.infer_mask(SMALL[0], nucleus=[[20, 30, 0]], background=[[20, 30, 0]])
    without = clicks_server.infer_mask(SMALL[0])
    assert (both == without).all()  # such a pixel says nothing


@pytest.mark.parametrize(
    "point, says",
    [([97, 5, 0], "the click of 'nucleus' at 97, 5 lies outside of the image of 97 x 74"), ("here", "not a list")],
)
def test_a_click_that_cannot_be_is_refused(clicks_server, point, says):
    assert says in clicks_server.refused(SMALL[0], nucleus=[point])
    assert clicks_server.infer_mask(SMALL[0]).any()  # the server goes on


def test_a_second_request_is_fast(clicks_server):
    seconds = []
    for x in (20, 30):
        start = time.perf_counter()
        clicks_server.infer_mask(SMALL[2], nucleus=[[x, 40, 0]])
        seconds.append(time.perf_counter() - start)
    print("seconds of a request", *(f"{one:.2f}" for one in seconds))
    assert seconds[1] < 5


def test_training_on_labels_corrected_by_clicks(clicks_server, tmp_path):
    for index, image in enumerate(LABELLED):
        mask = clicks_server.infer_mask(image, nucleus=[[20 + index, 40, 0]])
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{image}.png")
        clicks_server.save_label(image, tmp_path / f"{image}.png")
    former = torch.load(clicks_server.bundle / "models" / "model.pt")
    clicks_server.train()
    assert any(clicks_server.changed(former))
    assert clicks_server.infer_mask(SMALL[0], nucleus=[[20, 30, 0]])[30, 20]


def test_the_mask_of_a_volume_follows_clicks(volume_clicks_server, tmp_path):
    """Also where the volume is not RAS, and where its voxels are not those that the network sees."""
    labels = volume_clicks_server.get("/info/")["models"][VOLUME_CLICKS_NAME]["labels"]
    assert labels == {"background": 0, "anterior": 1, "posterior": 2}
    for study in ("straight_0", "turned_0"):
        sides = nibabel.affines.voxel_sizes(AFFINES[STUDIES[study]])
        clicks = {"anterior": (9, 12, 20), "posterior": (30, 33, 8)}
        mask = read_volume(
            volume_clicks_server.infer(study, **{name: [list(at)] for name, at in clicks.items()}), tmp_path
        )
        values = np.asarray(mask.dataobj)
        assert values.shape == (36, 42, 30) and np.allclose(mask.affine, AFFINES[STUDIES[study]], atol=1e-4)
        for name, point in clicks.items():
            voxels = np.argwhere(values == labels[name])
            distance = np.linalg.norm((voxels - point) * sides, axis=1)
            print(f"{study}, {name}: {len(voxels)} voxels, the farthest {distance.max():.1f} mm from the click")
            assert values[point] == labels[name] and distance.max() < 8
            assert np.abs(voxels.mean(0) - point).max() < 2
    assert "at 36, 3, 3 lies outside of the image of 36 x 42 x 30" in volume_clicks_server.refused(
        "turned_0", anterior=[[36, 3, 3]]
    )


def test_a_model_with_any_name_follows_clicks(server):
    before = server.infer_mask(SMALL[5])
    for name, value in (("nucleus", True), ("background", False)):
        y, x = map(int, np.argwhere(before != value)[0])
        assert server.infer_mask(SMALL[5], **{name: [[x, y, 0]]})[y, x] == value
