"""
Measure speed and memory, and how near the networks come to what the machine can do:

    python benchmarks/speed.py                              # DPSAU2-Net beside MONAI's networks
    python benchmarks/speed.py --part runtimes              # a forward pass on each runtime, in each precision
    python benchmarks/speed.py --part pipeline              # each step's share of segmenting, evaluating and training
    python benchmarks/speed.py --part pipeline --data DATA  # the same with images of your own: images/, masks/
    python benchmarks/speed.py --part gpu                   # batch sizes, precisions, torch.compile and TensorRT

Each prints a line on the machine and a Markdown table, and writes its rows to the output folder: speed.csv with the
chart speed.png, runtimes.csv, pipeline.csv or gpu.csv. The first three use the GPU if there is one. On two CPU cores,
they take some minutes each; the last takes less than ten minutes on its GPU.

All times are medians. What is compared is measured in turns, several rounds in one run, so that a change in the
machine's speed meets all alike. Another busy process distorts the times unevenly: networks of many small layers suffer
most.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import functools
import gc
import importlib.util
import logging
import math
import multiprocessing
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import monai
import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from monai.bundle import ConfigWorkflow
from monai.engines import IterationEvents
from monai.networks.nets import AttentionUnet, BasicUNetPlusPlus, DynUNet, SegResNet, SwinUNETR, UNet
from monai.utils import OptionalImportError
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from dpsau2net_monai.data import Task, synthesize
from dpsau2net_monai.errors import InputError
from dpsau2net_monai.files import whole_file
from dpsau2net_monai.inferers import has_bfloat16
from dpsau2net_monai.networks import DPSAU2Net, DPSAU2NetLite
from dpsau2net_monai.report.charts import BLUE, GREEN, STYLE, VERMILION
from dpsau2net_monai.runtimes import RUNTIMES, open_network

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "bundle" / "configs"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZE = 256  # height and width of all images, in pixels
CHANNELS = (16, 32, 64, 128, 256)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "DPSAU2NetLite": lambda: DPSAU2NetLite(2, 3, 1),
    "DPSAU2Net": lambda: DPSAU2Net(2, 3, 1),
    "MONAI UNet": lambda: UNet(2, 3, 1, CHANNELS, (2, 2, 2, 2), num_res_units=2),
    "MONAI SegResNet": lambda: SegResNet(2, init_filters=8, in_channels=3, out_channels=1),
    "MONAI AttentionUnet": lambda: AttentionUnet(2, 3, 1, CHANNELS, (2, 2, 2, 2)),
    "MONAI DynUNet": lambda: DynUNet(2, 3, 1, [3] * 5, [1, 2, 2, 2, 2], [2] * 4),
    "MONAI BasicUNetPlusPlus": lambda: BasicUNetPlusPlus(2, 3, 1),
    "MONAI SwinUNETR": lambda: SwinUNETR(3, 1, spatial_dims=2),
}
if importlib.util.find_spec("einops") is None:  # which only this one needs
    del NETWORKS["MONAI SwinUNETR"]
FLAGS = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}  # of the processor, that decide how fast convolutions are

# --part networks
ROUNDS = 5
PRODUCT_SECONDS = 0.05  # a matrix product that takes as long is large enough

# --part pipeline
IMAGES = 40
EPOCHS = 3
REPEATS = 3
GOALS = {"training": 0.85, "segmenting": 0.60}  # least share of the network

# --part gpu
BATCHES = (1, 16, 64)
WARM_UPS, STEPS = 3, 7
PRECISIONS = ("float32", "TF32", "bfloat16")
BEGIN_UNTIL = 420  # no cell begins later than this, in seconds: compilation takes up to some minutes


def machine() -> str:
    """Return date, processor, versions and commit in one line."""
    parts = [f"{datetime.date.today()}", platform.machine()]
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        flags = re.search(r"^flags.*", processor.read_text(), re.MULTILINE)
        parts.append(" ".join(sorted(FLAGS & set(flags[0].split()))) if flags else "")
    parts.append(f"{torch.get_num_threads()} threads")
    if DEVICE.type == "cuda":
        parts.append(torch.cuda.get_device_name())
    parts += [f"torch {torch.__version__}", f"MONAI {monai.__version__}"]
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return ", ".join([part for part in parts if part] + ([f"commit {commit}"] if commit else []))


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    head = [f"| {' | '.join(columns)} |", "|---|" + "--:|" * (len(columns) - 1)]
    return "\n".join(head + [f"| {' | '.join(row)} |" for row in rows])


def synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(step: Callable[[], object]) -> float:
    """Time ``step`` until the device has finished it."""
    synchronise()
    start = time.perf_counter()
    step()
    synchronise()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> str:
    """Return the median with the quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return f"{median:.3g} ({low:.3g}–{high:.3g})"


def forward(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    network.eval()
    with torch.inference_mode():
        return network(images)


def training(network: nn.Module, images: torch.Tensor, autocast: bool = False) -> Callable[[], None]:
    """Return a training step: forward, loss, backward and AdamW step."""
    target = torch.rand_like(images[:, :1]).round()
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            logits = network(images)
        if isinstance(logits, list):  # BasicUNetPlusPlus: one for each supervised depth
            (logits,) = logits
        nn.functional.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimizer.step()

    return step


# --- networks ---------------------------------------------------------------------------------------------------------


def build(name: str, batch: int = 1, memory_format: torch.memory_format = torch.channels_last) -> tuple[Any, Any]:
    """Return a network, and images for it."""
    network = NETWORKS[name]().to(DEVICE, memory_format=memory_format)
    return network, torch.rand(batch, 3, SIZE, SIZE, device=DEVICE).contiguous(memory_format=memory_format)


def peak_memory() -> int:
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def training_memory(name: str) -> int:
    """Return the bytes that training with one image needs. It is right only in a process that has done nothing else."""
    # loads the code that all networks need, which is not theirs
    training(nn.Conv2d(3, 1, 3, padding=1).to(DEVICE), torch.rand(1, 3, 32, 32, device=DEVICE))()
    base = peak_memory()
    step = training(*build(name))
    for _ in range(2):  # the first makes the state of the optimizer
        step()
    return peak_memory() - base


def matrix_product(dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """Return a product of two matrices, large enough to reach the machine's rate, and its GFLOP."""
    for side in (256, 512, 1024, 2048, 4096, 8192):
        matrix = torch.rand(side, side, dtype=dtype, device=DEVICE)
        product = functools.partial(torch.mm, matrix, matrix)
        product()
        if seconds(product) > PRODUCT_SECONDS:
            break
    return product, 2 * side**3 / 1e9


def measure_networks(output: Path) -> None:
    if "MONAI SwinUNETR" not in NETWORKS:
        print("MONAI SwinUNETR is left out: it needs pip install einops", file=sys.stderr)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai.bundle", "monai.networks.nets", "dpsau2net_monai.report"])  # once for all
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:  # a process for each network
        tasks = tqdm(pool.map(training_memory, NETWORKS), "memory", len(NETWORKS), disable=None)
        memory = dict(zip(NETWORKS, tasks))

    steps: dict[tuple[str, str], Callable[[], object]] = {}
    gflop: dict[str, float] = {}
    parameters: dict[str, int] = {}
    for dtype in ("float32", "bfloat16"):
        steps["product", dtype], gflop[dtype] = matrix_product(getattr(torch, dtype))
    for name in NETWORKS:
        network, images = build(name)
        parameters[name] = sum(parameter.numel() for parameter in network.parameters())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(images)
        gflop[name] = counter.get_total_flops() / 1e9
        steps["forward", name] = functools.partial(forward, network, images)
        steps["training", name] = training(network, images)

    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_ in tqdm(range(1 + ROUNDS), "rounds", disable=None):
        for key, step in steps.items():
            taken = seconds(step)
            if round_ > 0:  # the first one warms up
                times[key].append(taken)

    limit = {dtype: gflop[dtype] / float(np.median(times["product", dtype])) for dtype in ("float32", "bfloat16")}
    rows: list[dict[str, Any]] = []
    for name in NETWORKS:
        row: dict[str, Any] = {"network": name, "parameters": parameters[name], "gflop": gflop[name]}
        for step_name in ("forward", "training"):
            quartiles = np.percentile(times[step_name, name], (25, 50, 75)).tolist()
            row |= dict(zip((f"{step_name}_q1_s", f"{step_name}_s", f"{step_name}_q3_s"), quartiles))
        row["training_memory_mib"] = memory[name] / 2**20
        row["forward_gflop_per_s"] = gflop[name] / row["forward_s"]
        row["training_gflop_per_s"] = 3 * gflop[name] / row["training_s"]  # the backward pass has twice the products
        for dtype, rate in limit.items():
            row[f"product_{dtype}_gflop_per_s"] = rate
            row[f"forward_share_of_{dtype}"] = row["forward_gflop_per_s"] / rate
            row[f"training_share_of_{dtype}"] = row["training_gflop_per_s"] / rate
        rows.append(row)
    write_rows(output / "speed.csv", rows)
    draw(rows, output / "speed.png")

    rates = f"{limit['float32']:.3g} GFLOP/s in float32, which is the limit, and {limit['bfloat16']:.3g} in bfloat16"
    print(f"Matrix product: {rates}\n")
    columns = (
        "network", "parameters", "GFLOP", "forward, s", "GFLOP/s", "of the limit", "training, s/image", "of the limit",
        "training memory, MiB",
    )  # fmt: skip
    cells = [
        [
            row["network"],
            f"{row['parameters']:,}",
            f"{row['gflop']:.2f}",
            spread(times["forward", row["network"]]),
            f"{row['forward_gflop_per_s']:.3g}",
            f"{row['forward_share_of_float32']:.0%}",
            spread(times["training", row["network"]]),
            f"{row['training_share_of_float32']:.0%}",
            f"{row['training_memory_mib']:.0f}",
        ]
        for row in rows
    ]
    print(table(columns, cells))


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the times, with their quartiles, and the share of the limit."""
    names = [row["network"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure((12, 1.2 + 0.42 * len(rows)), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, key, colour, title in zip(
            panels,
            ("forward_s", "training_s", "forward_share_of_float32"),
            (BLUE, VERMILION, GREEN),
            ("forward pass, s", "training, s per image", "forward pass: share of the\nmatrix product's GFLOP/s"),
        ):
            values = np.array([row[key] for row in rows])
            errors = None
            if key.endswith("_s"):
                step = key.removesuffix("_s")
                quartiles = np.array([[row[f"{step}_q1_s"], row[f"{step}_q3_s"]] for row in rows]).T
                errors = np.abs(quartiles - values)
            bars = axes.barh(names, values, color=colour, alpha=0.75, xerr=errors, ecolor="#444444", capsize=3)
            labels = [f"{value:.0%}" if errors is None else f"{value:.3g}" for value in values]
            axes.bar_label(bars, labels, padding=6)
            axes.set_title(title)
            axes.margins(x=0.25)
            if errors is None:
                axes.xaxis.set_major_formatter(PercentFormatter(1))
        panels[0].invert_yaxis()
        with whole_file(path) as part:
            figure.savefig(part, format="png", dpi=150)


# --- runtimes ---------------------------------------------------------------------------------------------------------


def measure_runtimes(output: Path) -> None:
    image = torch.rand(1, 3, SIZE, SIZE, device=DEVICE)
    halves = DEVICE.type == "cuda"
    variants = [
        (runtime, precision)
        for runtime, precisions in RUNTIMES.items()
        if runtime != "compile"  # it takes minutes to begin
        for precision in ("float32", *precisions[halves])
        if precision == "float32" or halves or has_bfloat16()
    ]
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    difference: dict[tuple[str, str, str], float] = {}
    names = ("DPSAU2Net", "DPSAU2NetLite")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        steps: dict[tuple[str, str, str], Callable[[], torch.Tensor]] = {}
        for name in names:
            weights = Path(folder) / f"{name}.pt"
            plain = NETWORKS[name]().to(DEVICE).eval()
            torch.save(plain.state_dict(), weights)
            steps[name, "plain PyTorch", "float32"] = functools.partial(plain, image)
            for runtime, precision in variants:
                try:
                    opened = open_network(
                        NETWORKS[name](), weights, Task(roi_size=[SIZE, SIZE]), runtime, precision, DEVICE
                    )
                except (InputError, OptionalImportError) as error:
                    print(f"{runtime} is left out: {error}", file=sys.stderr)
                    continue
                steps[name, runtime, precision] = functools.partial(opened, image)
        for key, step in steps.items():
            difference[key] = float((step() - steps[key[0], "plain PyTorch", "float32"]()).abs().max())
        for _ in tqdm(range(ROUNDS), "rounds", disable=None):
            for key, step in steps.items():
                times[key].append(seconds(step))

    base = float(np.median(times[names[0], "plain PyTorch", "float32"]))
    rows = [
        {
            "network": name, "runtime": runtime, "precision": precision, "seconds": float(np.median(taken)),
            "of_the_full_network": float(np.median(taken)) / base,
            "largest_difference": difference[name, runtime, precision],
        }
        for (name, runtime, precision), taken in times.items()
    ]  # fmt: skip
    write_rows(output / "runtimes.csv", rows)
    cells = [
        [
            f"{row['network']}, {row['runtime']}, {row['precision']}",
            spread(times[row["network"], row["runtime"], row["precision"]]),
            f"{row['of_the_full_network']:.3f}",
            f"{row['largest_difference']:.1g}",
        ]
        for row in rows
    ]  # fmt: skip
    columns = (
        "network, runtime, precision",
        "forward, s",
        "of the full network's in plain PyTorch",
        "logits differ by",
    )
    print(table(columns, cells))


# --- pipeline ---------------------------------------------------------------------------------------------------------


class Stopwatch(Counter[str]):
    """Seconds by step of the pipeline. It measures from outside: the configs and the package have no part in it."""

    def wrap(self, thing: Any, step: str) -> None:
        """Count the time of every call of ``thing``. It stays an instance of its class, by which MONAI treats it."""
        kind = type(thing)

        def call(this: Any, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = kind.__call__(this, *args, **kwargs)
            synchronise()
            self[step] += time.perf_counter() - start
            return result

        thing.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def wrap_transforms(self, compose: Any, others: str) -> None:
        for transform in compose.flatten().transforms:
            name = type(transform).__name__
            reads = name.startswith(("Load", "AddInstanceDistance"))
            self.wrap(transform, "reading" if reads else "writing" if name.startswith("Save") else others)

    def between(self, engine: Engine, start: Any, end: Any, step: str) -> None:
        """Count the time from one event to another."""
        starts: list[float] = []

        def stop() -> None:
            synchronise()
            self[step] += time.perf_counter() - starts[-1]

        engine.add_event_handler(start, lambda: starts.append(time.perf_counter()))
        engine.add_event_handler(end, stop)


STEPS_OF_PIPELINE = ("reading", "transforms", "network", "postprocessing", "writing", "rest")


def configure(run_id: str, *configs: str, **keys: Any) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in configs]
    options = {"bundle_root": str(ROOT / "bundle"), "show_progress": False, **keys}
    workflow = ConfigWorkflow(files, logging_file=False, run_id=run_id, **options)
    workflow.initialize()
    return workflow


def finish(workflow: ConfigWorkflow, engine: Engine, watch: Stopwatch) -> None:
    """Run, and add to ``watch`` the number of images, and what of the whole time no step has taken."""
    engine.add_event_handler(Events.STARTED, lambda: watch.clear())  # of the cached images, which are read before
    count: list[int] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: count.append(len(engine.state.output)))
    workflow.run()
    watch["images"] = sum(count)
    watch["rest"] = watch["whole"] - sum(watch[step] for step in STEPS_OF_PIPELINE)


def segmenting(data: Path, output: Path) -> Stopwatch:
    workflow = configure("segmenting", "inference.yaml", dataset_dir=str(data / "images"), output_dir=str(output))
    watch, content = Stopwatch(), workflow.parser.get_parsed_content
    watch.wrap_transforms(content("preprocessing"), "transforms")
    watch.wrap(content("inferer"), "network")
    watch.wrap_transforms(content("postprocessing"), "postprocessing")
    watch.wrap_transforms(content("saving"), "postprocessing")
    watch.between(content("evaluator"), Events.STARTED, Events.COMPLETED, "whole")
    finish(workflow, content("evaluator"), watch)
    return watch


def evaluating(data: Path, output: Path) -> Stopwatch:
    workflow = configure(
        "evaluating", "train.yaml", "nuclei.yaml", "evaluate.yaml",
        dataset_dir=str(data), csvfile=None, part="training",
        ckpt_dir=str(ROOT / "bundle" / "models"), output_dir=str(output),
    )  # fmt: skip
    watch, content = Stopwatch(), workflow.parser.get_parsed_content
    watch.wrap_transforms(content("validate#preprocessing"), "transforms")
    watch.wrap(content("validate#inferer"), "network")
    watch.wrap_transforms(content("validate#postprocessing"), "postprocessing")
    watch.between(content("validate#evaluator"), Events.STARTED, Events.COMPLETED, "whole")
    finish(workflow, content("validate#evaluator"), watch)
    return watch


def training_run(data: Path, output: Path, **keys: Any) -> Stopwatch:
    """
    Train with the nuclei's recipe, and load the data in this process unless ``keys`` of the config say otherwise.
    Reading is not measured: the images are in memory from before the first epoch.
    """
    workflow = configure(
        "training", "train.yaml", "nuclei.yaml",
        dataset_dir=str(data), csvfile=None, max_epochs=EPOCHS, crops_per_image=1,
        ckpt_dir=str(output), output_dir=str(output / "log"), **{"num_workers": 0, **keys},
    )  # fmt: skip
    watch, content = Stopwatch(), workflow.parser.get_parsed_content
    trainer = content("train#trainer")
    watch.wrap_transforms(content("train#preprocessing"), "transforms")
    watch.between(trainer, Events.ITERATION_STARTED, IterationEvents.MODEL_COMPLETED, "network")
    # validation and record follow an epoch, and are no part of a training step
    watch.between(trainer, Events.GET_BATCH_STARTED, Events.ITERATION_COMPLETED, "whole")
    finish(workflow, trainer, watch)
    return watch


LAZY = {"_target_": "Compose", "transforms": "@train#random_transforms", "lazy": True}
VERBS: dict[str, Callable[[Path, Path], Stopwatch]] = {
    "segmenting": segmenting,
    "evaluating": evaluating,
    "training": training_run,
    "training, lazy transforms": functools.partial(training_run, **{"train#without_metadata": LAZY}),
    "training, ThreadDataLoader": functools.partial(training_run, **{"train#dataloader#_target_": "ThreadDataLoader"}),
    "training, another process loads": functools.partial(training_run, num_workers=1),
}


def make_images(folder: Path) -> None:
    """Write synthetic nuclei, all of one size, as the goals have it."""
    synthesize(folder, IMAGES)
    for path in folder.glob("*/*.png"):
        Image.open(path).resize((SIZE, SIZE), Image.Resampling.NEAREST).save(path)


def measure_pipeline(output: Path, data: Path | None) -> None:
    logging.disable(logging.WARNING)  # of the runs
    runs: dict[str, list[Stopwatch]] = {verb: [] for verb in VERBS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data is None:
            data = folder / "data"
            make_images(data)
        for repeat in tqdm(range(REPEATS), "pipeline", disable=None):
            for verb, run in VERBS.items():
                runs[verb].append(run(data, folder / f"{verb} {repeat}"))

    rows: list[dict[str, Any]] = []
    cells = []
    for verb, watches in runs.items():
        rates = [watch["images"] / watch["whole"] for watch in watches]
        shares = {step: float(np.median([w[step] / w["whole"] for w in watches])) for step in STEPS_OF_PIPELINE}
        rows.append({"verb": verb, "images_per_s": float(np.median(rates)), **shares})
        cells.append([verb, spread(rates), *(f"{share:.0%}" for share in shares.values())])
    write_rows(output / "pipeline.csv", rows)
    print(table(("", "images/s", *STEPS_OF_PIPELINE), cells) + "\n")
    for row in rows:
        if goal := GOALS.get(row["verb"]):
            verdict = "reached" if row["network"] >= goal else "missed"
            print(f"{row['verb']}: the network takes {row['network']:.0%} of the time; goal {goal:.0%}: {verdict}")


# --- gpu --------------------------------------------------------------------------------------------------------------


def cell_seconds(name: str, step: str, batch: int, precision: str, variant: str) -> float:
    """Return the median seconds of an image: of a forward pass, or of training."""
    # plain float32 is the base of all ratios
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "TF32"
    network, images = build(name, batch, torch.contiguous_format if variant == "plain" else torch.channels_last)
    autocast = precision == "bfloat16"
    if variant == "torch.compile":
        network = torch.compile(network)
    elif variant == "TensorRT":
        network = torch.compile(network, backend="torch_tensorrt")
    if step == "training":
        run: Callable[[], object] = training(network, images, autocast)
    else:

        def run() -> None:
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
                forward(network, images)

    return float(np.median([seconds(run) for _ in range(WARM_UPS + STEPS)][WARM_UPS:])) / batch


def measure_gpu(output: Path) -> None:
    variants = ["plain", "channels-last", "torch.compile"]
    if importlib.util.find_spec("torch_tensorrt"):
        importlib.import_module("torch_tensorrt")  # registers its backend
        variants.append("TensorRT")
    cells = [  # the largest batches first; of the small network also what is compiled, which takes minutes
        (name, step, batch, precision, variant)
        for batch in reversed(BATCHES)
        for name, of_network, precisions in (
            ("DPSAU2NetLite", variants[:2], PRECISIONS),
            ("DPSAU2Net", variants[:2], PRECISIONS),
            ("DPSAU2NetLite", variants[2:], PRECISIONS[-1:]),
        )
        for variant in of_network
        for step in ("forward", "training")
        for precision in precisions
        if variant != "TensorRT" or step == "forward"
    ]
    results: dict[tuple[str, str, int, str, str], float] = {}
    notes: dict[tuple[str, str, int, str, str], str] = {}
    start = time.perf_counter()
    for cell in tqdm(cells, "gpu", disable=None):
        if time.perf_counter() - start > BEGIN_UNTIL:
            notes[cell] = "no time left"
            continue
        try:
            results[cell] = cell_seconds(*cell)
        except torch.OutOfMemoryError:
            notes[cell] = "out of memory"
        except Exception as error:  # a compiler has many kinds; the other cells do not depend on it
            if cell[-1] not in variants[2:]:
                raise
            notes[cell] = "failed"
            print(f"{cell}: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()

    rows, lines = [], []
    for name, step, batch, precision in dict.fromkeys(cell[:4] for cell in cells):
        line = [f"{name}, {step}, {batch}, {precision}"]
        base = results.get((name, step, batch, "float32", "plain"), math.nan)
        for variant in variants:
            cell = name, step, batch, precision, variant
            taken = results.get(cell, math.nan)
            rows.append({
                "network": name, "step": step, "batch": batch, "precision": precision, "variant": variant,
                "seconds_per_image": taken, "times_as_fast": base / taken, "note": notes.get(cell, ""),
            })  # fmt: skip
            ratio = "" if math.isnan(base) else f" ({base / taken:.2f})"
            line.append(f"{1000 * taken:.3g}{ratio}" if cell in results else notes.get(cell, ""))
        lines.append(line)
    write_rows(output / "gpu.csv", rows)
    print("Milliseconds per image (times as fast as plain float32 at the same batch size)\n")
    print(table(("network, step, batch, precision", *variants), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/speed"), help="folder to write to (%(default)s)")
    parser.add_argument("--part", choices=("networks", "runtimes", "pipeline", "gpu"), default="networks")
    parser.add_argument("--data", type=Path, help="dataset of --part pipeline, instead of synthetic nuclei")
    args = parser.parse_args()
    if args.part == "gpu" and DEVICE.type != "cuda":
        sys.exit("error: --part gpu needs an NVIDIA GPU that torch can use; there is none here")

    print(machine() + "\n", flush=True)
    if args.part == "networks":
        measure_networks(args.output)
    elif args.part == "runtimes":
        measure_runtimes(args.output)
    elif args.part == "pipeline":
        measure_pipeline(args.output, args.data)
    else:
        measure_gpu(args.output)


if __name__ == "__main__":
    main()
