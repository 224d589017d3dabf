#!/bin/sh
# Where results go: folders that cannot be used, full disks, closed streams, runs that exist already.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data --batch 4 --steps 3"

# Folders.
run 2 train $pair --out ""
says --out
run 2 train $pair --out /dev/null
says --out /dev/null
run 2 train $pair --out student/config.json
says --out student/config.json
run 8 train $pair --out student/config.json/run
says student/config.json
run 8 features student --data data --out nowhere/f.safetensors
says nowhere/f.safetensors
run 8 features student --data data --out data
says data folder

# An existing run: kept without --overwrite, and with it until the new one is ready to start.
run 0 train $pair --out run --seed 1
cp -R run kept
run 2 train $pair --out run
says run --overwrite
for wrong in "--student nowhere" "--data nowhere" "--init nowhere" "--image-size 30" "--device nowhere" "--student run/student" \
    "--teacher run/student"; do
    "$slad" train $pair $wrong --out run --overwrite 2>stderr && complain "$wrong was accepted"
    check "$wrong --overwrite cost the old run" diff -r run kept
done
run 2 train $pair --out run --overwrite --student run/student
says run/student --overwrite
echo mine >run/notes
echo old >run/student-adapter/old
run 0 train $pair --out run --overwrite --init run/state.safetensors
check "a file of the user's own is gone" test -f run/notes
check "a part of the old run is left" is_missing run/student-adapter/leftover/old
run 0 eval run --data data

run 8 eval run --data data --predictions nowhere/p.safetensors
says nowhere/p.safetensors
hides evaluating
run 0 eval run --data data --predictions p.safetensors
check "the predictions are not what is documented" test "$("$inputs" names p.safetensors | tr '\n' ' ')" = \
    "labels student_logits teacher_logits "

# Files that may not grow: what is complete stays, what is not leaves no trace.
for limit in 500 20000 40000; do
    rm -rf small
    checks=$((checks + 1))
    last="train with files of at most $limit bytes"
    "$inputs" limited $limit "$slad" train $pair --out small 2>stderr
    got=$?
    [ $got -eq 8 ] || complain "exit code $got instead of 8"
    says small/ "writing failed"
    for file in small/*.safetensors; do
        [ ! -e "$file" ] || check "$file is broken" "$inputs" names "$file" >/dev/null
    done
done
run 3 eval small --data data
says small student "slad export"
run 0 export small --out small --what student
run 0 eval small --data data
run 0 train $pair --out again --init small/state.safetensors

# A full disk.
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=40k tmpfs disk 2>/dev/null; then
    run 8 train $pair --out disk/run
    says disk/run/ "No space left"
    run 8 features student --data data --out disk/f.safetensors --image-size 280
    says disk/f.safetensors "No space left"
    check "temporary files are left on the full disk" test -z "$(find disk -name '*.tmp')"
    umount disk
else
    skip "a full disk: only root can mount one"
fi
if [ -w /dev/full ]; then
    run 8 features student --data data --out /dev/full
    says /dev/full
    for command in "eval run --data data" "eval run --data data --json" "devices" "devices --json" "train --help" \
        "predict run data/val/class-0/0.png"; do
        last="slad $command >/dev/full"
        checks=$((checks + 1))
        "$slad" $command >/dev/full 2>stderr
        got=$?
        [ $got -eq 8 ] || complain "exit code $got instead of 8"
        says "standard output"
    done
fi

# Closed streams do not end up in files.
rm -rf run
"$slad" train $pair --out run <&- >&- 2>&-
check "training without standard streams failed" test $? -eq 0
check "config.json is damaged" "$inputs" json run/config.json
check "metrics.jsonl is damaged" test "$(grep -c '^{.*}$' run/metrics.jsonl)" -eq 4
check "metrics.jsonl holds more than objects" test "$(wc -l <run/metrics.jsonl)" -eq 4
"$slad" eval run --data data --json >&- 2>/dev/null
check "a result without a place to go counts as written" test $? -eq 8

# Permissions do not stop root.
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked
    chmod 500 locked
    run 8 train $pair --out locked/run
    says locked/run
    run 8 train $pair --out locked
    says locked
    chmod 700 locked
else
    skip "unwritable folders: root writes everywhere"
fi
finish
