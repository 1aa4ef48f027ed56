"""
Learn the nuclei actively, as an annotator does with MONAI Label, and see what the choice of the images is worth:

    python benchmarks/active_learning.py DATA --output runs/active

DATA is the folder of the 598 images and masks that bundle/docs/nuclei_split.csv names. A pool of training images is
drawn. A real MONAI Label server has them as its studies, and the bundle with an untrained network. The script speaks to
it over HTTP. It saves the true masks of five images as labels and trains. Then, in each round, it asks the server for
five more images, once by the strategy `random` and once by `epistemic`, saves their true masks, and trains from the
weights of the round before, on as many crops in each round. It evaluates the weights of each round on the test images.

After each round, its Dice is added to results.csv and to the chart active_learning.png in the output folder. At the
end, a Markdown table is printed. Started again, it continues after the last round in results.csv. It needs the
environment that tests/integration/monai_label_environment.sh makes, and makes it if it is not there.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import random
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import CONFIGS, ROOT, bundle, read_images, worst_tenth
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from PIL import Image

from dpsau2net_monai.data import find_pairs, read_split, write_split
from dpsau2net_monai.data.reading import name_of
from dpsau2net_monai.files import whole_file
from dpsau2net_monai.zoo import package_bundle

NAME = "dpsau2net_nuclei_segmentation"
JSON = "application/json"
STRATEGIES = ("random", "epistemic")
POOL, LARGEST_SIDE = 60, 360  # images, pixels: the few larger images would take most of the time
LABELS = (5, 10, 15, 20, 25)
SIMULATIONS = 3  # masks of each image, from which its score is computed
RECIPE = {
    "crop_size": [96, 96], "crops_per_image": 4, "batch_size": 8, "learning_rate": 0.002, "ema_momentum": 0.03,
    "val_interval": 2,
}  # fmt: skip
EPOCHS_OF_FIVE = 60  # of five labels; fewer of more labels, so that each round has as many crops
FIELDS = ("seed", "strategy", "labels", "dice", "dice_worst_tenth", "seconds")
# the app has no strategy that goes by the scores
STRATEGY_IMPORT = "from monailabel.tasks.activelearning.first import First\n"
EPISTEMIC_IMPORT = "from monailabel.tasks.activelearning.epistemic import Epistemic\n"


class Server:
    """Requests to a MONAI Label server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = JSON, **query: str) -> Any:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=3600) as response:
            return json.load(response)

    def post(self, path: str, params: Mapping[str, object] | None = None, **query: str) -> Any:
        return self.request("POST", path, json.dumps(params or {}).encode(), **query)

    def labelled(self) -> int:
        return self.request("GET", "/info/")["datastore"]["completed"]

    def save_label(self, image: str, mask: Path) -> None:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="label"; filename="{image}{mask.suffix}"\r\n\r\n'
        body = head.encode() + mask.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        self.request("PUT", "/datastore/label", body, f"multipart/form-data; boundary={mark}", image=image)

    def score(self) -> None:
        self.post(f"/scoring/{NAME}", {"device": "cpu", "max_workers": 1}, run_sync="true")

    def train(self, labels: int) -> None:
        epochs = EPOCHS_OF_FIVE * LABELS[0] // labels
        self.post(f"/train/{NAME}", {"device": "cpu", "max_epochs": epochs})
        while (task := self.request("GET", "/train/"))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(2)
        if task["status"] != "DONE":
            sys.exit("\n".join(task["details"]))


@contextmanager
def serving(python: str, folder: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        python, "-m", "monailabel.main", "start_server",
        "--app", str(folder / "monaibundle"), "--studies", str(folder / "images"), "--host", "127.0.0.1",
        "--port", str(port), "--conf", "models", NAME, "--conf", "zoo_source", "local",
        "--conf", "epistemic_model", NAME, "--conf", "epistemic_simulation_size", str(SIMULATIONS),
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "",
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # it is asked for once a round
    }  # fmt: skip
    with open(folder / "server.log", "a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        server = Server(f"http://127.0.0.1:{port}")
        while True:
            try:
                server.labelled()
                break
            except urllib.error.URLError:
                if process.poll() is not None:
                    sys.exit(f"the server ended: see {folder / 'server.log'}")
                time.sleep(1)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def write_weights(folder: Path, seed: int) -> None:
    """Write an untrained network's weights and the task of the shipped ones."""
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "inference.yaml"))
    parser["bundle_root"] = str(ROOT / "bundle")
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "model.pt")
    shutil.copy2(ROOT / "bundle" / "models" / "task.yaml", folder)


def copy_weights(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("model.pt", "task.yaml"):
        shutil.copy2(source / name, target)


def set_up(python: str, folder: Path, images: list[Path], seed: int) -> None:
    """Make the folder of a server: studies, and MONAI Label's app with the packaged bundle."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    for image in images:
        shutil.copy2(image, folder / "images")
    download = [python, "-m", "monailabel.main", "apps", "--download", "--name", "monaibundle", "--output", str(folder)]
    subprocess.run(download, check=True, capture_output=True)
    app = folder / "monaibundle" / "main.py"
    code = app.read_text()
    code = code.replace(STRATEGY_IMPORT, EPISTEMIC_IMPORT + STRATEGY_IMPORT)
    app.write_text(code.replace('"first": First(),', '"first": First(),\n            "epistemic": Epistemic(),'))
    recipe = package_bundle(ROOT / "bundle", folder / "monaibundle" / "model", NAME) / "configs" / "train.yaml"
    config = ConfigParser.load_config_file(recipe)
    ConfigParser.export_config_file({**config, **RECIPE, "seed": seed}, recipe, fmt="yaml")


def write_small(data: str, path: Path) -> None:
    """Write the split of those images of the published split that are not too large."""
    paths = {name_of(pair["image"]): Path(str(pair["image"])) for pair in find_pairs(data)}
    published = read_split(ROOT / "bundle" / "docs" / "nuclei_split.csv")
    small = [name for name in published if max(Image.open(paths[name]).size) <= LARGEST_SIDE]
    write_split(path, {name: published[name] for name in small})


def draw_pool(data: str, split: Path, seed: int) -> dict[str, dict[str, Path]]:
    """Return the image and the mask of each training image that the seed draws, in a random order."""
    pairs = {name_of(pair["image"]): {key: Path(str(path)) for key, path in pair.items()} for pair in find_pairs(data)}
    training = sorted(name for name, category in read_split(split).items() if category == "train")
    return {name: pairs[name] for name in random.Random(seed).sample(training, POOL)}


def read_results(path: Path) -> list[dict[str, str]]:
    """Return the rows of the rounds that are done."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Session:
    """The rounds of one strategy with one seed. Its first five labels are in the order of the pool."""

    def __init__(self, data: str, output: Path, seed: int, strategy: str, python: str) -> None:
        self.data, self.split, self.results, self.python = data, output / "split.csv", output / "results.csv", python
        self.seed, self.strategy = seed, strategy
        self.folder = output / f"seed-{seed}" / strategy
        self.pool = draw_pool(data, self.split, seed)

    def weights(self, labels: int) -> Path:
        return self.folder / f"weights-{labels}"

    def run(self, rounds: tuple[int, ...], start: Path) -> None:
        """
        Do those rounds that are not in the results.

        Args:
            rounds: their numbers of labels.
            start: folder of the weights that the first one begins with.
        """
        done = {int(one["labels"]) for one in read_results(self.results) if self.is_mine(one)}
        left = [labels for labels in rounds if labels not in done]
        if not left:
            return
        if not done:
            set_up(self.python, self.folder, [pair["image"] for pair in self.pool.values()], self.seed)
        with serving(self.python, self.folder) as server:
            former = self.weights(max(done)) if done else start
            for labels in left:
                self.round(server, labels, former)
                former = self.weights(labels)

    def is_mine(self, row: Mapping[str, str]) -> bool:
        return (row["seed"], row["strategy"]) == (str(self.seed), self.strategy)

    def round(self, server: Server, labels: int, former: Path) -> None:
        start = time.monotonic()
        copy_weights(former, self.folder / "monaibundle" / "model" / NAME / "models")
        first = list(self.pool)[: LABELS[0]]
        for image in first[server.labelled() :]:
            server.save_label(image, self.pool[image]["label"])
        if self.strategy == "epistemic" and labels > LABELS[0]:
            server.score()
        while server.labelled() < labels:
            image = server.post(f"/activelearning/{self.strategy}")["id"]
            server.save_label(image, self.pool[image]["label"])
        server.train(labels)
        copy_weights(self.folder / "monaibundle" / "model" / NAME / "models", self.weights(labels))
        seconds = time.monotonic() - start
        evaluation = self.folder / f"evaluation-{labels}"
        files = [str(CONFIGS / name) for name in ("train.yaml", "evaluate.yaml")]
        bundle(
            "evaluating", files, dataset_dir=self.data, csvfile=self.split, ckpt_dir=self.weights(labels),
            output_dir=evaluation, save_overlay=False,
        )  # fmt: skip
        images = read_images(evaluation)
        dice = np.mean([float(image["dice"]) for image in images])
        row = {
            "seed": str(self.seed), "strategy": self.strategy, "labels": str(labels), "dice": f"{dice:.4f}",
            "dice_worst_tenth": f"{worst_tenth(images):.4f}", "seconds": f"{seconds:.0f}",
        }  # fmt: skip
        rows = [*read_results(self.results), row]
        with whole_file(self.results) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        draw(rows, self.results.with_name("active_learning.png"))
        now = datetime.datetime.now().strftime("%H:%M:%S")
        print(f"{now} seed {self.seed}, {self.strategy}, {labels} labels: Dice {row['dice']}", file=sys.stderr)


def dice_of(results: list[dict[str, str]], strategy: str, labels: int) -> dict[str, float]:
    """Return the Dice of each seed. All strategies share the first labels."""
    return {
        row["seed"]: float(row["dice"])
        for row in results
        if row["strategy"] in (strategy, "start") and int(row["labels"]) == labels
    }


def table(results: list[dict[str, str]]) -> list[str]:
    lines = [
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}",
        "mean Dice of the test images: mean over the seeds (each seed)\n",
        "| labelled images | " + " | ".join(STRATEGIES) + " |",
        "|--:|" + "--:|" * len(STRATEGIES),
    ]
    for labels in LABELS:
        columns = [list(dice_of(results, strategy, labels).values()) for strategy in STRATEGIES]
        cells = [f"{np.mean(one):.3f} ({', '.join(f'{dice:.3f}' for dice in one)})" if one else "" for one in columns]
        lines.append(f"| {labels} | " + " | ".join(cells) + " |")
    return lines


def draw(results: list[dict[str, str]], path: Path) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, strategy in enumerate(STRATEGIES):
        points = [(labels, dice_of(results, strategy, labels)) for labels in LABELS]
        for seed in sorted({row["seed"] for row in results}):
            curve = [(labels, dice[seed]) for labels, dice in points if seed in dice]
            axes.plot(*zip(*curve), color=f"C{number}", alpha=0.35, linewidth=1)
        means = [(labels, np.mean(list(dice.values()))) for labels, dice in points if dice]
        axes.plot(*zip(*means), color=f"C{number}", marker="o", label=strategy)
    axes.set(xlabel="labelled images", ylabel="mean Dice of the test images", xticks=LABELS)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="folder of the dataset")
    parser.add_argument("--output", required=True, type=Path, help="folder for the servers, weights and results")
    parser.add_argument("--seeds", type=int, default=2, help="number of pools, each with its first five images (2)")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server ends too
    output = args.output.absolute()
    script = ROOT / "tests" / "integration" / "monai_label_environment.sh"
    python = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    output.mkdir(parents=True, exist_ok=True)
    write_small(args.data, output / "split.csv")
    for seed in range(args.seeds):
        untrained = output / f"seed-{seed}" / "untrained"
        write_weights(untrained, seed)
        start = Session(args.data, output, seed, "start", python)
        start.run(LABELS[:1], untrained)
        for strategy in STRATEGIES:
            Session(args.data, output, seed, strategy, python).run(LABELS[1:], start.weights(LABELS[0]))

    print("\n".join(table(read_results(output / "results.csv"))))


if __name__ == "__main__":
    main()
