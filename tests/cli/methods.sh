#!/bin/sh
# Every method and free combination as users run them: files, metrics, evaluation; and combinations that make no sense.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $data and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
data="--data data --batch 4 --epochs 2"
pair="--teacher teacher --student student"

# trained RUN WHO: it can be evaluated, with a teacher or without.
trained()
{
    run 0 eval "$1" --data data --json
    prints_json images student ${2:+teacher}
    check "$1 has no merged student" [ -f "$1/student/model.safetensors" ]
    check "$1 keeps files of its stages" [ ! -e "$1/teacher.safetensors" ] && [ ! -e "$1/probe.safetensors" ]
}

for method in slad joint kd-probe kd-lora kd-finetune; do
    run 0 train $pair $data --method $method --out $method
    trained $method teacher
done
for method in probe lora finetune; do
    run 0 train --student student $data --method $method --out $method
    trained $method
done

# Two stages: metrics say which, steps go on, each stage has all the epochs.
check "kd-lora has not twice six steps" [ "$(grep -c '"loss"' kd-lora/metrics.jsonl)" -eq 12 ]
check "the teacher's stage has a student's loss" sh -c '! grep "\"stage\":\"teacher\"" kd-lora/metrics.jsonl | grep -q loss_student'
check "the student's stage has no distillation loss" sh -c 'grep "\"stage\":\"student\"" kd-lora/metrics.jsonl | grep -q loss_kl'
# The first of two stages is the teacher trained by itself: the same losses as a run of its own, which has no stages.
run 0 train --student teacher $data --method lora --out alone
check "a probe's adapters are there" [ ! -e kd-probe/teacher-adapter ]
check "an adapter is missing" [ -f kd-lora/teacher-adapter/adapter_model.safetensors ]
check "fully trained weights have an adapter" [ ! -e finetune/student-adapter ]

# Free combinations.
combination=0
while read -r options; do
    combination=$((combination + 1))
    run 0 train $pair $data --out free-$combination $options
    trained free-$combination teacher
done <<LIST
--method joint --teacher-adapt probe
--method joint --teacher-adapt all --student-adapt all
--method joint --stages two --student-adapt probe --head-init probe
--share a --private-rank 3
--share b --lora-form split --lora-targets all
--share-map 1 --share-scale fan-in --unmapped frozen
--share-truncation naive --keep best --ema 0.9
--feature-loss patch --lora-plus 4 --mixup 0.8 --cutmix 1
LIST

# Frozen teachers: a run's teacher, a run's student, a folder with a classifier; not an encoder without one.
run 0 train --teacher slad --student student $data --method joint --teacher-adapt frozen --out frozen-1
trained frozen-1 teacher
run 0 train --teacher alone --student student $data --method joint --teacher-adapt frozen --out frozen-2
trained frozen-2 teacher
run 0 train --teacher alone/student --student student $data --method joint --teacher-adapt frozen --out frozen-3
check "a run and its merged student teach otherwise" sh -c \
    'sed "s/.images_per_s.*//" frozen-2/metrics.jsonl | head -n 1 >two; sed "s/.images_per_s.*//" frozen-3/metrics.jsonl | head -n 1 >three; [ "$(cut -c 1-45 two)" = "$(cut -c 1-45 three)" ]'
run 3 train --teacher teacher --student student $data --method joint --teacher-adapt frozen --out frozen-4
says teacher classifier

# Neither a run nor a model is replaced by a run that reads it until its end.
run 2 train --teacher frozen-1 --student student $data --method joint --teacher-adapt frozen --out frozen-1 --overwrite
says frozen-1 --overwrite
run 2 train --teacher teacher --student student $data --out student --overwrite
says student --overwrite
run 2 train $pair $data --method kd-lora --init kd-lora/state.safetensors --out kd-lora --overwrite
says kd-lora/state.safetensors --overwrite
run 2 train $pair $data --teacher-adapter slad/teacher-adapter --out slad --overwrite
says slad/teacher-adapter --overwrite

cp -r data other
mv other/train/class-0 other/train/class-9
mv other/val/class-0 other/val/class-9
run 3 train --teacher slad --student student --data other --batch 4 --method joint --teacher-adapt frozen --out frozen-4
says class-1 "same order"

# --init takes names that some stage trains, whichever; of others it names the first.
run 0 train $pair $data --method kd-lora --head-init probe --init slad/state.safetensors --out started
run 3 train $pair $data --method kd-lora --init slad/optimizer.safetensors --out started-2
says moment_1.
run 3 train $pair $data --method kd-lora --init finetune/state.safetensors --out started-3
says student.model.

# Contradictions name the option and the way out.
while read -r word options; do
    run 2 train $pair $data --out none $options
    says $word
done <<LIST
--share --method joint --share both --teacher-adapt probe
--share --method kd-lora --share both
--private-rank --method joint --private-rank 4
--unmapped --method joint --unmapped frozen
--share-truncation --lora-form split --share-truncation naive
--stages --method joint --stages two --teacher-adapt frozen
--student-adapt --student-adapt none
--share-map --share-map 0,1,2,3
--share-map --share-map 9
--share-map --share-map 0,,1
--checkpoint-every --checkpoint-every 5h
--ema --ema 1
--ema --ema -0.5
--lora-plus --lora-plus 0
LIST
run 2 train --student student $data --method finetune --feature-loss cls --out none
says --feature-loss
run 2 train --student student $data --method kd-lora --out none
says --teacher
run 2 train $pair $data --method finetune --out none
says --teacher
finish
