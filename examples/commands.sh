#!/usr/bin/env bash
# Custom code: what is wanted of a shell, in words, into the command that does it.
#
#   examples/commands.sh                     575 pairs from the pages of `eg`; about 12 minutes on two cores
#   MODEL=fake examples/commands.sh         the same without torch
#   MINUTES=3 examples/commands.sh           at most so long for training; 8 without it
set -euo pipefail
MODEL=${MODEL:-smollm2-135m-instruct}
MINUTES=${MINUTES:-8}
TUNESMITH=${TUNESMITH:-tunesmith}
command -v ${TUNESMITH%% *} > /dev/null || { echo "tunesmith is not on the path: source .venv/bin/activate" >&2; exit 2; }
folder() { python3 -c 'import json, sys; print(json.load(sys.stdin)["folder"])'; }

source=$($TUNESMITH data fetch commands --json | folder)
data=$($TUNESMITH data prepare "$source/rows.jsonl" --name commands --test 100 --validation 60 --json | folder)

# What can the base do with the best prompt, and what would training take?
plan=$($TUNESMITH decide "$data" --model "$MODEL" --metric edit_ratio --no-probe --limit 40 --shots 4 --shots 8 \
  --budget-minutes 4 --train-minutes "$MINUTES" --json | folder)
run=$($TUNESMITH train "$plan/recipe.yaml" --json | folder)

# The same hundred wishes for the best prompt and for the tuned model.
scorers=(--scorers edit_ratio --scorers exact --scorers chrf)
prompted=$($TUNESMITH evaluate "$data" --model "$MODEL" --prompt "$plan" "${scorers[@]}" --json | folder)
tuned=$($TUNESMITH evaluate "$data" --model "$run" "${scorers[@]}" --json | folder)
$TUNESMITH compare "$prompted" "$tuned"
