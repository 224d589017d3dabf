#!/bin/sh
# The command line itself: commands, options, ranges, contradictions, help, JSON.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data"

run 2
prints "usage: slad COMMAND"
run 0 --help
prints devices train eval predict features
run 0 --version
prints "slad "
run 2 frobnicate
says frobnicate
run 2 ""
run 0 --help
mv stdout help
for command in export tune bench compile compare; do # the design's; what is not in the help is refused
    grep -q "^  $command " help && continue
    run 2 $command
    says $command "not available in this version"
done

# Every option of a command stands in its help.
run 0 train --help
for option in teacher student data out init overwrite strict-data method lora-rank lora-alpha share share-map alpha-student \
    alpha-teacher alpha-kl tau head epochs steps batch micro-batch memory-limit recompute lr head-lr weight-decay clip schedule \
    warmup augment \
    crop-scale shuffle seed image-size pos-embed eval-every workers device cache-dir kernels log-level json help; do
    prints "--$option"
done
prints "Exit codes" "70 internal"
mv stdout help
run 0 eval --help
prints --data --predictions --batch --workers --image-size --pos-embed --strict-data --device --json
run 0 features --help
prints --data --out --model --split --batch --workers --image-size --pos-embed --strict-data --device --json
run 0 predict --help
prints --top --device --json
run 0 devices --help
prints --device --json --kernels --cache-dir --log-level

# What the design names but the help does not, since this version does not have it.
while read -r option value; do
    grep -q -- "^  --$option " help && continue
    run 2 train $pair --out run "--$option" $value # unquoted: a switch has none
    says "--$option" "not available in this version"
done <<LIST
teacher-adapt none
student-adapt probe
stages two
lora-form split
lora-targets all
lora-dropout 0.1
lora-plus 16
share-truncation naive
share-scale fan-in
unmapped frozen
private-rank 4
teacher-adapter x
student-adapter x
loss convex
kl-direction reverse
kl-detach off
kl-tau2 off
label-smoothing 0.1
feature-loss cls
head-init probe
head-layers 4
ema 0.9
task segment
crop 518
window 518
stride 100
checkpoint-every 5m
keep best
resume
precision fp16-storage
recompute on
memory-limit 100
LIST

# Values out of range, and what is no value at all.
while read -r option value; do
    run 2 train $pair --out run "--$option" "$value"
    says "--$option"
done <<LIST
method distil
share some
share-map even-z
augment some
mixup -1
cutmix nan
lora-rank 0
lora-rank 99999
lora-rank -4
lora-rank 4.5
lora-alpha 0
alpha-kl -1
tau 0
tau nan
head mlp
epochs 0
epochs many
steps -1
steps 99999999999999999999
batch 0
batch 65537
batch 0x10
micro-batch 0.5
memory-limit 0
memory-limit 2T
lr -1e-3
lr inf
lr 1e999
lr 0.1x
head-lr nan
weight-decay -1
clip -1
schedule linear
warmup 1.5
crop-scale 1
crop-scale 0,1
crop-scale 1,0.5
crop-scale 0.5,1.5
shuffle perhaps
seed -1
image-size 99999
pos-embed linear
eval-every -1
workers 257
LIST
run 2 train $pair --out run --lr=
says --lr
run 2 train $pair --out run --lr
says --lr "needs a value"
run 2 train $pair --out run --json=yes
says --json "takes no value"
run 2 train $pair --out run --log-level loud
says --log-level
for option in --bogus --=x -x -lr; do
    run 2 train $pair --out run $option
    says "$option"
done
run 2 train $pair --out run --bogus=1
says "--bogus"
check "a refused command line made the folder of its run" is_missing run

# Contradictions and what is missing.
run 2 train $pair
says --out
run 2 train --teacher teacher --data data --out run
says --student
run 2 train --teacher teacher --student student --out run
says --data
run 2 train --student student --data data --out run
says --teacher
run 2 train $pair --out run --method lora
says --teacher
run 2 train --student student --data data --out run --method probe --share both
says --share
run 2 train --student student --data data --out run --method finetune --lora-dropout 0.1
says --lora-dropout
run 2 train $pair --out run --share b --share-scale fan-in
says --share-scale
run 2 train $pair --out run --batch 4 --micro-batch 5
says --micro-batch --batch
run 2 train $pair --out run --alpha-student 0 --alpha-teacher 0 --alpha-kl 0
says "Nothing would be trained" --alpha-student
run 2 train --student student --data data --out run --method lora --alpha-student 0
says "Nothing would be trained" --alpha-student
run 2 train $pair --out run surplus
run 2 train $pair --out run --image-size 30
says --image-size "14" "teacher"
run 2 eval
says --data
run 2 eval teacher
run 2 eval teacher student --data data
run 2 eval teacher --data data --batch 0
says --batch
run 2 features teacher --data data
says --out
run 2 features teacher --data data --out f --split test
says --split
run 2 features teacher --data data --out f --model adapter
says --model
run 2 features teacher --data data --out f --model teacher
says teacher
run 2 predict teacher
says IMAGE
run 2 predict teacher x.png --top none
says --top
run 2 devices surplus

run 0 train $pair --out unseen --batch 4 --steps 1 --loss convex
says "warning: --loss convex with --alpha-kl 1" labels

# A rule for positions that transformers does not have is told of where it makes a difference.
run 0 train $pair --out resized --batch 4 --steps 1 --pos-embed hub --image-size 42
says 'warning: student: positions are resized from 2 x 2 to 3 x 3 by the rule "hub"' \
    'transformers does not read that and has "transformers"' "warning: resized/student: positions"
run 0 train $pair --out resized --overwrite --batch 4 --steps 1 --pos-embed hub
hides "positions are resized"

# The last of an option given twice counts; "--" ends options; a value may follow "=".
run 0 train $pair --out once --method=lora --method=slad --batch=99 --batch 4 --steps=1 --json --workers 1
prints_json run
prints once
hides 'training ['
run 0 predict once --json -- data/val/class-0/0.png
prints_json predictions
run 0 eval once --data data --json --seed 7
prints_json images student teacher
for command in "eval once --data data" "features once --data data --out f" "predict once data/val/class-0/0.png" \
    "export once --out exported" "compare once" devices; do
    run 0 $command --seed 1 --log-level error
    run 2 $command --seed -1
    says --seed
    run 2 $command --seed one
    says --seed
done
run 0 features once --data data --out f.safetensors --json
prints_json features
run 0 devices --json
prints_json platforms devices
prints '"self_test"' '"maths_error_ulp"' '"driver"'
run 0 eval once --data data --log-level error
check "the log is not silent" test ! -s stderr
prints "top-1"

# The progress bar is for terminals.
if command -v script >/dev/null 2>&1; then
    script -qec "'$slad' eval once --data data" /dev/null >typescript 2>&1 </dev/null
    check "no progress bar on a terminal" grep -q 'evaluating \[' typescript
    script -qec "stty cols 30; '$slad' train $pair --out narrow --steps 3" /dev/null >typescript 2>&1 </dev/null
    tr '\r' '\n' <typescript | sed "s/$(printf '\033')\\[K//g" | grep '^training .*/' >bars
    check "there is no progress on a narrow terminal" test -s bars
    check "the progress wraps on a narrow terminal" sh -c '! grep -q "^.\{30\}" bars'
    run 0 eval once --data data
    hides 'evaluating ['
else
    skip "the progress bar, without script(1)"
fi
finish
