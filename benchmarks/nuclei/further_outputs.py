"""
Train the nuclei's network with five outputs beside the mask and the distance to the border: where instances touch, in
windows of 3 and of 5 pixels, their cores, and the horizontal and vertical maps of HoVer-Net (Graham et al., "HoVer-Net:
simultaneous segmentation and classification of nuclei in multi-tissue histology images", 2019). Then separate the
instances by each of them, and take the further outputs off again:

    export PYTHONPATH=benchmarks/nuclei
    python benchmarks/nuclei/further_outputs.py begin bundle/models/model.pt runs/begin.pt
    python -m monai.bundle run training --config_file \
      "['bundle/configs/train.yaml','bundle/configs/nuclei.yaml','benchmarks/nuclei/further_outputs.yaml']" \
      --bundle_root bundle --dataset_dir DATA --ckpt_dir runs/further --output_dir runs/further/log \
      --pretrained runs/begin.pt
    python benchmarks/nuclei/further_outputs.py compare DATA runs/further/model.pt
    python benchmarks/nuclei/further_outputs.py finish runs/further/model.pt runs/model.pt

DATA is the folder of the images and masks that bundle/docs/nuclei_split.csv names. `compare` takes its validation
images. `begin` also takes the weights of versions before 0.9.0, whose heads had one logit for 2 x 2 pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.apps.pathology.transforms.post.array import HoVerNetInstanceMapPostProcessing
from monai.bundle import ConfigParser
from monai.losses import DiceLoss
from monai.transforms import MapTransform
from scipy.ndimage import distance_transform_edt, maximum
from skimage.measure import label
from skimage.segmentation import watershed
from torch.nn import functional
from tqdm import tqdm

from dpsau2net_monai.metrics import instance_metrics, split_instances
from dpsau2net_monai.networks import DPSAU2NetLite, load_weights, read_weights
from dpsau2net_monai.transforms import AddInstanceDistanced
from dpsau2net_monai.transforms.instances import instance_distance, true_instances

ROOT = Path(__file__).parents[2]
SHIPPED = 2  # mask and distance
OUTPUTS = 7  # these, touching within 3 and within 5 pixels, core, and the maps along both axes


class AddInstancesd(AddInstanceDistanced):
    """Append the distance to the border and the numbered instances to masks."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            like = result[key]
            mask = torch.as_tensor(like[0]).numpy()
            instances = true_instances(self.instances_dir, result[f"{self.image_key}_path"], mask)
            further = torch.as_tensor(np.stack([instance_distance(instances), instances]).astype(np.float32))
            result[key] = torch.cat([torch.as_tensor(like), further]).as_subclass(type(like)).copy_meta_from(like)
        return result


class RenumberInstancesd(MapTransform):
    """Number the parts of instances anew, which reflections at the border of a crop have made."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            numbers = label(result[key][2].numpy().astype(np.int32), connectivity=2)
            result[key][2] = torch.as_tensor(numbers.astype(np.float32))
        return result


def touching(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """Return where a window of ``size`` pixels has two instances, of (batch, 1, height, width)."""
    high = functional.max_pool2d(numbers, size, 1, size // 2)
    low = -functional.max_pool2d(torch.where(numbers > 0, -numbers, -torch.inf), size, 1, size // 2)
    return ((high > 0) & (low < high)).float()


def hover_maps(numbers: torch.Tensor) -> torch.Tensor:
    """
    Return each pixel's distance to the middle of its instance along both axes, from -1 to 1, of (batch, height, width).
    ``monai.apps.pathology.transforms.ComputeHoVerMaps`` does so for one image, on the CPU.
    """
    batch, *sides = numbers.shape
    count = int(numbers.max()) + 1
    index = (numbers + count * torch.arange(batch, device=numbers.device)[:, None, None]).flatten()
    zeros = torch.zeros(count * batch, device=numbers.device)
    maps = []
    for axis, side in enumerate(sides, 1):
        shape = [1, 1, 1]
        shape[axis] = side
        places = torch.arange(side, device=numbers.device, dtype=torch.float32).view(shape).expand_as(numbers).flatten()
        area = zeros.index_add(0, index, torch.ones_like(places)).clamp(min=1)
        offset = places - (zeros.index_add(0, index, places) / area)[index]
        largest = [zeros.scatter_reduce(0, index, sign * offset, "amax").clamp(min=0.5)[index] for sign in (1, -1)]
        maps.append(torch.where(offset > 0, offset / largest[0], offset / largest[1]).view_as(numbers) * (numbers > 0))
    return torch.stack(maps, 1)


class Loss:
    """
    The sum of the losses of all outputs.

    Args:
        of_mask: loss of the mask's logits.
    """

    def __init__(self, of_mask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self.of_mask = of_mask
        self.dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)

    def __call__(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        pred, target = pred.float(), target.as_subclass(torch.Tensor).float()
        mask, distance, numbers = (target[:, index : index + 1] for index in range(3))
        cross_entropy = functional.binary_cross_entropy_with_logits
        total = self.of_mask(pred[:, :1], (mask > 0).float()) + cross_entropy(pred[:, 1:2], distance)
        for index, wanted in enumerate((touching(numbers, 3), touching(numbers, 5), (distance > 0.5).float()), 2):
            logits = pred[:, index : index + 1]
            total = total + 0.5 * (cross_entropy(logits, wanted) + self.dice(logits, wanted))
        maps, wanted, inside = pred[:, 5:], hover_maps(numbers[:, 0].round().long()), (numbers > 0).float()
        total = total + ((maps - wanted).square() * inside).sum() / inside.sum().clamp(min=1)
        for index, axis in enumerate((1, 2)):  # the slope of each map along its own axis
            error = (maps[:, index].diff(dim=axis) - wanted[:, index].diff(dim=axis)).square()
            side = inside.shape[axis + 1] - 1
            both = inside[:, 0].narrow(axis, 1, side) * inside[:, 0].narrow(axis, 0, side)
            total = total + (error * both).sum() / both.sum().clamp(min=1)
        return total


def begin(weights: Path, output: Path) -> None:
    """Write the weights of a network with ``OUTPUTS`` outputs that gives the same logits in the first two."""
    torch.manual_seed(0)
    state = DPSAU2NetLite(2, 3, OUTPUTS).state_dict()
    given = {name: value.float() for name, value in read_weights(weights).items()}
    sides = sum(name.startswith("sides") for name in given) // 2
    repeats = 4 * SHIPPED // len(given["fuse.bias"])  # 4: one logit for 2 x 2 pixels
    heads = 4 * SHIPPED
    for name, value in given.items():
        if name == "fuse.weight":
            value = torch.kron(value[..., 0, 0], torch.eye(repeats)).view(heads, sides, heads)
            fuse = state[name].view(4 * OUTPUTS, sides, 4 * OUTPUTS)
            fuse[:heads] = 0
            fuse[:heads, :, :heads] = value
        elif name.startswith(("sides", "fuse")):
            state[name][:heads] = value.repeat_interleave(repeats, 0)
        else:
            state[name] = value
    torch.save(state, output)


def finish(weights: Path, output: Path) -> None:
    """Write the weights of a network without the further outputs that gives the same logits in the first two."""
    state = read_weights(weights)
    heads, sides = 4 * SHIPPED, sum(name.startswith("sides") for name in state) // 2
    fuse = state["fuse.weight"].view(4 * OUTPUTS, sides, 4 * OUTPUTS)[:heads].double()
    for side in range(sides):  # what the fusion makes of a head's further outputs goes into the head itself
        for name, spec in ((f"sides.{side}.weight", "of,fcij->ocij"), (f"sides.{side}.bias", "of,f->o")):
            state[name] = torch.einsum(spec, fuse[:, side], state[name].double()).float()
    state["fuse.weight"] = torch.eye(heads).repeat(1, sides)[..., None, None]
    state["fuse.bias"] = state["fuse.bias"][:heads].clone()
    DPSAU2NetLite(2, 3, SHIPPED).load_state_dict(state)
    torch.save(state, output)


def by_touching(output: np.ndarray, index: int) -> np.ndarray:
    return split_instances(output[0] > 0.5, output[1] * (1 - output[index]))


def by_core(output: np.ndarray) -> np.ndarray:
    """Grow the cores in the mask. A component without a core is an instance, as long as its distance is sure."""
    mask = output[0] > 0.5
    cores, parts = label((output[4] > 0.4) & mask), label(mask)
    alone = ~np.isin(parts, parts[cores > 0]) & mask & (maximum(output[1], parts, parts) >= 0.4)
    return watershed(-distance_transform_edt(mask), np.where(alone, parts + cores.max(), cores), mask=mask)


def by_hover(output: np.ndarray) -> np.ndarray:
    """Separate by MONAI's postprocessing of HoVer-Net. The threshold is the best of 0.4, 0.5, 0.6 and 0.7."""
    two_classes = torch.as_tensor(np.stack([1 - output[0], output[0]]))
    post = HoVerNetInstanceMapPostProcessing(torch.nn.Identity(), 0.5, sobel_kernel_size=11, marker_threshold=0.7)
    return post(two_classes[1:], torch.as_tensor(output[5:]))[1][0].numpy().astype(int)


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "distance": lambda output: split_instances(output[0] > 0.5, output[1]),
    "distance, and where instances touch within 3 pixels": lambda output: by_touching(output, 2),
    "distance, and where instances touch within 5 pixels": lambda output: by_touching(output, 3),
    "cores": by_core,
    "HoVer-Net's maps": by_hover,
}


def compare(data: str, weights: Path) -> None:
    """Print the instance AP on the validation images by each rule."""
    parser = ConfigParser()
    configs = ROOT / "bundle" / "configs"
    parser.read_config([configs / "train.yaml", configs / "nuclei.yaml", Path(__file__).with_suffix(".yaml")])
    parser.update({"bundle_root": str(ROOT / "bundle"), "dataset_dir": data, "show_progress": False})
    network, inferer = (parser.get_parsed_content(name) for name in ("network", "validate#inferer"))
    load_weights(network.eval(), weights)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for batch in tqdm(parser.get_parsed_content("validate#dataloader"), disable=None):
        with torch.inference_mode():
            output = inferer(batch["image"].to(parser.get_parsed_content("device")), network)[0].cpu()
        output = torch.cat([output[:5].sigmoid(), output[5:]]).numpy()
        true = true_instances(f"{data}/instances", batch["image_path"][0], batch["label"][0, 0])
        for name, rule in RULES.items():
            metrics = instance_metrics(true, rule(output))
            found[name].append((metrics["instance_ap"], metrics["instance_ap50"]))
    print_table(found)


def print_table(found: Mapping[str, list[tuple[float, float]]]) -> None:
    """Print the means of the instance AP and the AP50 of all images, for each way to make instances."""
    print("| instances by | instance AP | AP50 |\n|---|--:|--:|")
    for name, values in found.items():
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in np.mean(values, 0)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("begin", "compare", "finish"))
    parser.add_argument("first", help="weights; of compare, the folder of the dataset")
    parser.add_argument("second", type=Path, help="file to write; of compare, the weights")
    args = parser.parse_args()
    {"begin": begin, "compare": compare, "finish": finish}[args.step](args.first, args.second)


if __name__ == "__main__":
    main()
