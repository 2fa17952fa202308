#!/usr/bin/env bash
# Domain adaptation: what Debian's packages are, read as plain text first, then asked about.
#
#   examples/domain.sh                       needs apt-cache (any Debian or Ubuntu); about 25 minutes on two cores
#   EPOCHS=1 examples/domain.sh              once over the documents and the questions instead of twice
set -euo pipefail
TUNESMITH=${TUNESMITH:-tunesmith}
command -v ${TUNESMITH%% *} > /dev/null || { echo "tunesmith is not on the path: source .venv/bin/activate" >&2; exit 2; }
HERE=$(cd "$(dirname "$0")" && pwd)
WORK=${WORK:-domain}
EPOCHS=${EPOCHS:-2}
folder() { python3 -c 'import json, sys; print(json.load(sys.stdin)["folder"])'; }

# Documents (one for each package) and questions: half of the packages are asked about while learning, the
# other half in the test, so that only the documents can have told the answers.
mkdir -p "$WORK"
apt-cache dumpavail | python3 "$HERE/debian_packages.py" "$WORK"
documents=$($TUNESMITH data prepare "$WORK/documents.jsonl" --name debian --test 100 --validation 30 --json | folder)
# The questions are alike but for the name, and must not be set aside for that.
questions=$($TUNESMITH data prepare "$WORK/questions.jsonl" --held-out "$WORK/asked.jsonl" --name debian-questions \
  --near-duplicates 0 --test 0 --validation 30 --json | folder)
source=$($TUNESMITH data fetch books --json | folder)
general=$($TUNESMITH data prepare "$source/rows.jsonl" --name general --test 0 --json | folder)

# Continued pre-training, with a little general English replayed so that it is not forgotten.
cat > "$WORK/pretrain.yaml" <<RECIPE
name: debian-pretrain
data:
  - {path: $documents}
  - {path: $general, name: replay, weight: 0.1}
method: {kind: lora, rank: 64, alpha: 64}
objective: {kind: text, block_length: 512}
optimiser: {learning_rate: 0.001}
step_examples: 4
epochs: $EPOCHS
evaluations: 2
RECIPE
pretrained=$($TUNESMITH train "$WORK/pretrain.yaml" --json | folder)

# Does it know the domain's language? Bits that each byte of unseen packages costs, before and after.
before=$($TUNESMITH evaluate "$documents" --scorers bits_per_byte --json | folder)
after=$($TUNESMITH evaluate "$documents" --model "$pretrained" --scorers bits_per_byte --json | folder)
$TUNESMITH compare "$before" "$after"

# Questions, learned on the base and on the pre-trained model alike.
for start in base pretrained; do
  cat > "$WORK/questions-$start.yaml" <<RECIPE
name: debian-questions-$start
data: $questions
method: {kind: lora, rank: 16, alpha: 32}
optimiser: {learning_rate: 0.001}
step_examples: 8
epochs: $EPOCHS
evaluations: 2
RECIPE
done
echo "init_from: {path: $pretrained, mode: merge_then_new}" >> "$WORK/questions-pretrained.yaml"
plain=$($TUNESMITH train "$WORK/questions-base.yaml" --json | folder)
adapted=$($TUNESMITH train "$WORK/questions-pretrained.yaml" --json | folder)
plain_asked=$($TUNESMITH evaluate "$questions" --split held_out --model "$plain" --json | folder)
adapted_asked=$($TUNESMITH evaluate "$questions" --split held_out --model "$adapted" --json | folder)
$TUNESMITH compare "$plain_asked" "$adapted_asked"

# And what it cost elsewhere.
kept_before=$($TUNESMITH evaluate retention --json | folder)
kept_after=$($TUNESMITH evaluate retention --model "$adapted" --json | folder)
$TUNESMITH compare "$kept_before" "$kept_after"
