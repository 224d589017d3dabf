#!/bin/sh
# slad export: what of a run is written, where, and what is refused. No device is needed.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
train="--data data --batch 4 --steps 2"
run 0 train --teacher teacher --student student $train --out run
run 0 train --student student $train --method probe --out probe

run 0 --help
prints export
run 0 export --help
prints --out --what student-adapter teacher-adapter
run 2 export
run 2 export run
run 2 export run probe --out out
says RUN --out
run 2 export run --out ""
says --out
run 2 export run --out out --what teacher
says --what teacher-adapter
run 2 export run --out out --frob
run 3 export nowhere --out out
says nowhere
run 3 export student --out out
says student "no run"
run 2 export probe --out out --what teacher-adapter
says probe teacher-adapter
run 2 export run --out run/config.json
says run/config.json
run 8 export run --out run/config.json/out
check "a refused export left something" is_missing out

# All parts, by default; the same bytes as at the end of the training.
run 0 export run --out out --json --kernels nowhere
prints_json parts out
for part in student student-adapter teacher-adapter; do
    check "$part differs from that of the training" diff -r run/$part out/$part
done
run 2 export run --out out
says out/student "exists already"
run 0 export probe --out probed
check "a probe has adapters" is_missing probed/student-adapter
run 0 predict probed/student data/val/class-0/0.png --json

# Some parts; another may follow.
run 0 export run --out some --what teacher-adapter --what=student
check "a part is written that was not asked for" is_missing some/student-adapter
run 0 export run --out some --what student-adapter
check "parts differ from those of the training" diff -r out some

# ONNX, of a run and of a model with a classifier, where it is asked for.
check "an ONNX file is written that was not asked for" is_missing out/onnx
run 0 export run --out onnx --what onnx --json
prints_json parts out
check "there is no ONNX file" test -s onnx/onnx/model.onnx
run 0 export run/student --out again-onnx --what onnx
check "the ONNX files of a run and of its student differ" diff -r onnx again-onnx
run 3 export student --out bare --what onnx
says student "no classifier"
check "a part of a refused export is left" is_missing bare/onnx

# A folder of adapters stands for the model that it makes of its base, and training can start from it.
run 0 predict run/student-adapter data/val/class-0/0.png --json
cp stdout adapted
run 0 predict run/student data/val/class-0/0.png --json
check "the adapters and the merged student differ" cmp -s adapted stdout
run 0 export run/student-adapter --out merged --what student
check "the merged students differ" cmp -s run/student/model.safetensors merged/student/model.safetensors
run 0 train --student student --student-adapter run/student-adapter $train --method lora --out started
says started run/student-adapter
run 2 train --teacher teacher --student student --student-adapter run/student-adapter $train --out shared
says --student-adapter "--share none"
run 2 train --student student --student-adapter run/student-adapter $train --method lora --lora-rank 4 --out small-rank
says "--lora-rank 16"
run 2 train --student run/student-adapter $train --method lora --out nested
says run/student-adapter --student-adapter
run 3 train --student student --student-adapter run/teacher-adapter $train --method lora --out other
says "different models"

# Files that may not grow: no part of an export is left.
"$inputs" limited 500 "$slad" export run --out small 2>stderr
got=$?
check "exit code $got instead of 8" test $got -eq 8
says small/ "writing failed"
check "a part of a failed export is left" is_missing small/student

# What the run was made from has gone, or its files are not what they were.
mv teacher elsewhere
run 3 export run --out gone
says teacher "put it back"
run 0 export probe --out again
mv elsewhere teacher
printf x >>run/state.safetensors
run 3 export run --out broken
says run/state.safetensors
check "a part of a refused export is left" is_missing broken/student
finish
