#!/usr/bin/env bash
# What `tunesmith quickstart` does, command by command. Each step's folder is printed as JSON and picked
# up by the next; a finished step is not done again.
#
#   examples/journey.sh                      the embedded model and real data
#   MODEL=fake examples/journey.sh           the same in seconds, without torch
set -euo pipefail
MODEL=${MODEL:-smollm2-135m-instruct}
TUNESMITH=${TUNESMITH:-tunesmith}
command -v ${TUNESMITH%% *} > /dev/null || { echo "tunesmith is not on the path: source .venv/bin/activate" >&2; exit 2; }
folder() { python3 -c 'import json, sys; print(json.load(sys.stdin)["folder"])'; }

# Data: 1,452 human-labelled addresses; near-duplicates never straddle the split.
source=$($TUNESMITH data fetch addresses --json | folder)
data=$($TUNESMITH data prepare "$source/rows.jsonl" --held-out "$source/messy.jsonl" --name addresses \
  --test 100 --validation 100 --json | folder)

# Decide: what can the base do when it is prompted well? (Without --no-probe also: what does tuning bring?)
plan=$($TUNESMITH decide "$data" --model "$MODEL" --no-probe --limit 50 --shots 4 --shots 8 --budget-minutes 4 \
  --train-minutes 11 --json | folder)

# Train what the plan proposes.
run=$($TUNESMITH train "$plan/recipe.yaml" --json | folder)

# Evaluate all three on the same held-out items, the finalists on the messiest addresses too.
base=$($TUNESMITH evaluate "$data" --model "$MODEL" --limit 100 --json | folder)
prompted=$($TUNESMITH evaluate "$data" --model "$MODEL" --prompt "$plan" --limit 100 --json | folder)
tuned=$($TUNESMITH evaluate "$data" --model "$run" --limit 100 --json | folder)
prompted_hard=$($TUNESMITH evaluate "$data" --split held_out --model "$MODEL" --prompt "$plan" --json | folder)
tuned_hard=$($TUNESMITH evaluate "$data" --split held_out --model "$run" --json | folder)

# Compare, and put everything on one page.
comparison=$($TUNESMITH compare "$prompted" "$tuned" --json | folder)
$TUNESMITH report "$data" --plan "$plan" --run "$run" \
  --reports "$base" --reports "$prompted" --reports "$tuned" \
  --hard "$prompted_hard" --hard "$tuned_hard" --comparison "$comparison" \
  --reproduce "examples/journey.sh"
