#!/bin/sh
# Runs that end early or go wrong leave what they learnt usable; runs that end well are the same each time.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data --batch 4"

# usable RUN: its state is whole and finite, its student is evaluated.
usable()
{
    for file in state optimizer; do
        check "$1/$file.safetensors is broken" "$inputs" names "$1/$file.safetensors" >/dev/null
    done
    check "$1/student is broken" "$inputs" names "$1/student/model.safetensors" >/dev/null
    run 0 eval "$1" --data data --json
    prints_json images student teacher
    run 0 predict "$1/student" data/val/class-0/0.png --json
}

# The files of two runs that do not tell times or paths.
same()
{
    for file in state.safetensors optimizer.safetensors student/model.safetensors student/config.json \
        student/preprocessor_config.json student-adapter/adapter_model.safetensors student-adapter/adapter_config.json \
        teacher-adapter/adapter_model.safetensors teacher-adapter/adapter_config.json; do
        check "$file of $1 and $2 differ" cmp -s "$1/$file" "$2/$file"
    done
    for folder in "$1" "$2"; do sed 's/"images_per_s":[^,}]*//' "$folder/metrics.jsonl" >"$folder.metrics"; done
    check "metrics.jsonl of $1 and $2 differ" cmp -s "$1.metrics" "$2.metrics"
}

# Two runs, other loader threads, another micro-batch given as what auto chose.
run 0 train $pair --out first --epochs 2 --workers 1
prints_nothing
hides 'training ['
run 0 train $pair --out second --epochs 2 --workers 1
run 0 train $pair --out third --epochs 2 --workers 4
run 0 train $pair --out fourth --epochs 2 --workers 4 --micro-batch 4
same first second
same first third
same first fourth
run 0 train $pair --out fifth --epochs 2 --recompute on
says "activations recomputed"
same first fifth
check "config.json does not tell of recomputation" grep -q '"recompute":	true' fifth/config.json
usable first
run 0 eval first --data data --json --workers 1
mv stdout one
run 0 eval first --data data --json --workers 4 --batch 65536
check "an evaluation depends on its threads or its batch" cmp -s stdout one
run 0 train $pair --out other --epochs 2 --seed 1
check "the seed changes nothing" sh -c '! cmp -s first/state.safetensors other/state.safetensors'

# Interrupted: a checkpoint, code 130. Killed: the checkpoint of the last epoch.
for signal in INT TERM HUP KILL; do
    rm -rf stopped
    last="train, then SIG$signal"
    checks=$((checks + 1))
    "$inputs" signalled "$slad" train $pair --out stopped --steps 1000000 >stdout 2>stderr &
    trainer=$!
    tenths=1200
    while [ ! -f stopped/optimizer.safetensors ] && [ $tenths -gt 0 ]; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    kill -s $signal $trainer
    wait $trainer
    got=$?
    if [ $signal = KILL ]; then
        run 3 eval stopped --data data
        says stopped "slad export"
        run 0 export stopped --out stopped --what student
        rm -f stopped/*.tmp # of a checkpoint under way
    else
        [ $got -eq 130 ] || complain "exit code $got instead of 130"
        says Interrupted stopped
    fi
    usable stopped
done
run 0 train $pair --out onwards --init stopped/state.safetensors --steps 1
# Diverged: code 9, the step is named, the last good values are kept.
run 9 train $pair --out diverged --steps 50 --lr 1000 --head-lr 1000 --weight-decay 1 --clip 0 --schedule constant --warmup 0
says "at step" --lr
usable diverged
"$inputs" tensors poisoned.safetensors 28 0 1 2 0 1 nan 1 2 || exit 1
run 9 train --teacher teacher --student student --data poisoned.safetensors --batch 2 --shuffle off --out diverged --overwrite \
    --epochs 1
says "at step 2"
usable diverged
# The step after it was under way: it counts, in metrics and checkpoint alike.
check "metrics.jsonl and checkpoint do not agree on the steps" grep -q '"step":3,' diverged/metrics.jsonl
check "metrics.jsonl has no line for the step that diverged" grep -q '"step":2,.*"loss":null' diverged/metrics.jsonl
finish
