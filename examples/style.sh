#!/usr/bin/env bash
# Style: verses of the King James Bible into modern English.
#
#   examples/style.sh                        600 verses to learn from, whole chapters held out; about 17 minutes
#   MODEL=fake examples/style.sh             the same without torch
#   MINUTES=3 examples/style.sh              at most so long for training; 8 without it
set -euo pipefail
MODEL=${MODEL:-smollm2-135m-instruct}
MINUTES=${MINUTES:-8}
TUNESMITH=${TUNESMITH:-tunesmith}
command -v ${TUNESMITH%% *} > /dev/null || { echo "tunesmith is not on the path: source .venv/bin/activate" >&2; exit 2; }
folder() { python3 -c 'import json, sys; print(json.load(sys.stdin)["folder"])'; }

# A chapter is a group: no verse of a chapter that is tested is learned from.
source=$($TUNESMITH data fetch verses --json | folder)
all=$($TUNESMITH data prepare "$source/rows.jsonl" --name verses --group-by chapter --test 1500 --validation 300 \
  --json | folder)
data=$($TUNESMITH data select "$all" --rows 600 --by random --embeddings words --json | folder)

# How much of the wording is right: characters in common with the modern verse (chrF).
plan=$($TUNESMITH decide "$data" --model "$MODEL" --metric chrf --no-probe --limit 40 --shots 4 --budget-minutes 4 \
  --train-minutes "$MINUTES" --json | folder)
run=$($TUNESMITH train "$plan/recipe.yaml" --json | folder)
scorers=(--scorers chrf --scorers edit_ratio --scorers rouge_l)
prompted=$($TUNESMITH evaluate "$data" --model "$MODEL" --prompt "$plan" "${scorers[@]}" --limit 100 --json | folder)
tuned=$($TUNESMITH evaluate "$data" --model "$run" "${scorers[@]}" --limit 100 --json | folder)
$TUNESMITH compare "$prompted" "$tuned"

# Much of a verse stands in both wordings: does it say more than the old verse itself? (`fake`, which has learned
# nothing, answers with the question.)
copied=$($TUNESMITH evaluate "$data" --model fake "${scorers[@]}" --limit 100 --json | folder)
$TUNESMITH compare "$copied" "$tuned"
