#!/usr/bin/env bash
# The whole way on synthetic images: make them, train, evaluate, segment. Pictures are first segmented with the shipped
# weights. Each command is printed before it runs.
#   demo.sh FOLDER       pictures with nuclei
#   demo.sh FOLDER 3     volumes with three classes
set -euo pipefail
out=${1:?usage: demo.sh FOLDER [3]}
dims=${2:-2}
if [ -e "$out" ]; then
  echo "error: $out is there already; remove it or name another: make demo DEMO=FOLDER" >&2
  exit 1
fi
export PYTHONWARNINGS=ignore
trace() { printf '\n$ %s\n' "$(printf '%q ' "$@")"; "$@"; }
bundle() { trace python -m monai.bundle run "$@"; }

if [ "$dims" = 3 ]; then
  data=(--dims 3 --classes 3)
  training=(--max_epochs 30 --batch_size 2 --roi_size '[40,40,40]')
else
  data=(--dims 2)
  training=(--max_epochs 30 --batch_size 8 --roi_size '[128,128]')
fi
trace python -m dpsau2net_monai synthesize "$out/data" --number 40 "${data[@]}"
trace python -m dpsau2net_monai split --dataset "$out/data" --size 0.8 --output "$out/split.csv"
if [ "$dims" = 2 ]; then
  bundle segmenting --config_file bundle/configs/inference.yaml --bundle_root bundle \
    --dataset_dir "$out/data/images" --output_dir "$out/shipped" --save_overlay true
fi
bundle training --config_file bundle/configs/train.yaml --bundle_root bundle \
  --dataset_dir "$out/data" --csvfile "$out/split.csv" --ckpt_dir "$out/models" --output_dir "$out/training" \
  "${training[@]}" --val_interval 10 --learning_rate 0.003 --num_workers 0
bundle evaluating --config_file "['bundle/configs/train.yaml','bundle/configs/evaluate.yaml']" --bundle_root bundle \
  --dataset_dir "$out/data" --csvfile "$out/split.csv" --ckpt_dir "$out/models" --output_dir "$out/evaluation"
bundle segmenting --config_file bundle/configs/inference.yaml --bundle_root bundle \
  --dataset_dir "$out/data/images" --ckpt_path "$out/models/model.pt" --output_dir "$out/masks" --save_overlay true

echo
[ "$dims" = 3 ] || echo "shipped weights       $out/shipped            their masks, and the contours over the images in $out/shipped/overlays"
cat <<END
images and masks      $out/data
weights, record       $out/models             model.pt, task.yaml, run.json, config.yaml, datalist.json
TensorBoard           tensorboard --logdir $out/training
report                $out/evaluation/report.html  metrics, charts and all test images, the worst first; images.csv
pictures, scored      $out/evaluation/overlays  the contours of the true and the predicted masks
masks                 $out/masks              and the contours over the images in $out/masks/overlays
END
