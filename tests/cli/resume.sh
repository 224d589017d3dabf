#!/bin/sh
# A run that is killed anywhere goes on from its last checkpoint and ends in the bytes of an unbroken one.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data --batch 4"

# The files of two runs that do not tell times or paths.
same()
{
    for file in state.safetensors optimizer.safetensors student/model.safetensors \
        student-adapter/adapter_model.safetensors teacher-adapter/adapter_model.safetensors; do
        check "$file of $1 and $2 differ" cmp -s "$1/$file" "$2/$file"
    done
    for folder in "$1" "$2"; do sed 's/"images_per_s":[^,}]*//' "$folder/metrics.jsonl" >"$folder.metrics"; done
    check "metrics.jsonl of $1 and $2 differ" cmp -s "$1.metrics" "$2.metrics"
}

# steps_of RUN: lines of steps that its metrics hold.
steps_of()
{
    grep -c '"loss"' "$1/metrics.jsonl"
}

# killed TENTHS OPTIONS: kills a run of these options once it has a checkpoint and so many tenths of a second went by.
killed()
{
    tenths=$1
    shift
    rm -rf stopped
    "$slad" train $pair --out stopped "$@" >stdout 2>stderr &
    trainer=$!
    waited=0
    while [ ! -f stopped/optimizer.safetensors ] && [ $waited -lt 1200 ] && kill -0 $trainer 2>/dev/null; do
        sleep 0.1
        waited=$((waited + 1))
    done
    sleep "0.$tenths"
    kill -KILL $trainer 2>/dev/null
    wait $trainer 2>/dev/null
}

for options in "--method slad" "--method kd-lora --head-init probe --ema 0.9 --lora-plus 4" "--method joint --keep best"; do
    rm -rf whole
    run 0 train $pair --out whole --epochs 40 --checkpoint-every 2 $options
    for tenths in 0 2 5; do
        killed $tenths $options --epochs 40 --checkpoint-every 2
        before=$(steps_of stopped)
        run 0 train --resume --out stopped
        says "Going on with stopped after"
        done_steps=$(sed -n 's/.*Going on with stopped after \([0-9]*\) of.*/\1/p' stderr)
        check "more than two steps were lost ($before, $done_steps)" [ "$((before - done_steps))" -le 3 ]
        same whole stopped
    done
done

# A run that has ended is made ready again, to the same bytes.
rm -rf stopped/student
mkdir stopped/student
for killed in state student/model student-adapter/adapter_model teacher-adapter/adapter_model; do
    : >"stopped/$killed.safetensors.1234-0.tmp"
done
: >stopped/notes.tmp # nobody's but the user's
run 0 train --resume --out stopped
check "--resume removed a file of the user" rm stopped/notes.tmp
same whole stopped

# Likewise one of several stages, whose teacher only state.safetensors holds by then.
run 0 train $pair --out stages --epochs 2 --method kd-lora --head-init probe --keep best
cp -r stages again
rm -r again/student
run 0 train --resume --out again
same stages again

# Metrics that are gone do not cost the run.
rm stopped/metrics.jsonl
run 0 train --resume --out stopped
says metrics.jsonl lost

# What cannot be gone on with says why.
run 2 train --resume --out stopped --lr 0.1
says --lr 0.1 "was started with"
run 2 train --resume --out stopped --seed 1 --workers 1
says --seed
run 2 train --resume --out stopped --student teacher
says --student
run 2 train --resume --out none
says none
run 2 train --resume --overwrite --out stopped
says --overwrite
run 0 train --resume --out stopped --workers 1
mv data/train/class-0/0.png data/train/class-0/9.png
run 3 train --resume --out stopped
says "images"
mv data/train/class-0/9.png data/train/class-0/0.png
sed 's/"recompute":	false/"recompute":	true/' stopped/config.json >edited && mv edited stopped/config.json
run 2 train --resume --out stopped
says "with recomputation"
sed 's/"recompute":	true/"recompute":	false/' stopped/config.json >edited && mv edited stopped/config.json
printf x >stopped/optimizer.safetensors
run 3 train --resume --out stopped
says optimizer.safetensors
finish
