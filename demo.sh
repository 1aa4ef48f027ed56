#!/usr/bin/env bash
# The whole way on synthetic images: make them, segment them with the shipped weights, train, evaluate, segment again.
# Each command is printed before it runs.
#   demo.sh FOLDER
set -euo pipefail
out=${1:?usage: demo.sh FOLDER}
if [ -e "$out" ]; then
  echo "error: $out is there already; remove it or name another: make demo DEMO=FOLDER" >&2
  exit 1
fi
export PYTHONWARNINGS=ignore
trace() { printf '\n$ %s\n' "$(printf '%q ' "$@")"; "$@"; }
bundle() { trace python -m monai.bundle run "$@"; }

trace python -m dpsau2net_monai synthesize "$out/data" --number 40
trace python -m dpsau2net_monai split --dataset "$out/data" --size 0.8 --output "$out/split.csv"
bundle segmenting --config_file bundle/configs/inference.yaml --bundle_root bundle \
  --dataset_dir "$out/data/images" --output_dir "$out/shipped" --save_overlay true
bundle training --config_file bundle/configs/train.yaml --bundle_root bundle \
  --dataset_dir "$out/data" --csvfile "$out/split.csv" --ckpt_dir "$out/models" --output_dir "$out/training" \
  --max_epochs 30 --batch_size 8 --roi_size '[128,128]' --val_interval 10 --learning_rate 0.003 --num_workers 0
bundle evaluating --config_file "['bundle/configs/train.yaml','bundle/configs/evaluate.yaml']" --bundle_root bundle \
  --dataset_dir "$out/data" --csvfile "$out/split.csv" --ckpt_dir "$out/models" --output_dir "$out/evaluation"
bundle segmenting --config_file bundle/configs/inference.yaml --bundle_root bundle \
  --dataset_dir "$out/data/images" --ckpt_path "$out/models/model.pt" --output_dir "$out/masks" --save_overlay true

cat <<END

images and masks      $out/data
shipped weights       $out/shipped            the masks that the shipped weights give, contours in $out/shipped/overlays
weights, record       $out/models             model.pt, run.json, config.yaml, datalist.json
TensorBoard           tensorboard --logdir $out/training
report                $out/evaluation/report.html  metrics, charts and all test images, the worst first; images.csv
pictures, scored      $out/evaluation/overlays  orange: true contour, blue: predicted, white: both
masks                 $out/masks              and the contours over the images in $out/masks/overlays
END
