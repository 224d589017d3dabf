#!/bin/sh
# What a run leaves to be looked at: its page, its similarity, comparisons of several runs, sheets of pictures.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data --batch 4"

# page FILE TEXT...: the page holds each text, is complete, and loads nothing from elsewhere.
page()
{
    file=$1
    shift
    check "$file is missing or not complete" sh -c 'tail -n 1 "$1" | grep -q "</body></html>"' sh "$file"
    check "$file loads something" sh -c '! grep -Eq "(src|href)=\"(http|//|file)|url\\(|<script|@import" "$1"' sh "$file"
    for text; do check "$file does not say $text" grep -qF -- "$text" "$file"; done
}

run 0 train $pair --out joint-0 --method joint --epochs 2
says report.html
page joint-0/report.html Confusion CKA "Sample predictions" data:image/png --lora-rank "Learning rate" "Delta-CKA"
check "the summary has no similarity" grep -q '"delta"' joint-0/summary.json
run 0 train $pair --out slad-0 --epochs 2 --cka off
check "--cka off measures similarity" sh -c '! grep -q cka slad-0/summary.json'
page slad-0/report.html Confusion
run 0 train $pair --out slad-1 --epochs 2 --seed 1 --cka off
run 0 train --student student --data data --batch 4 --out lora-0 --method lora --epochs 1
page lora-0/report.html Confusion
check "a student alone is compared" sh -c '! grep -q CKA lora-0/report.html'
run 2 train $pair --out no --cka maybe
says --cka

run 0 eval joint-0 --data data --json
prints_json images student teacher cka
run 0 eval joint-0 --data data --json --cka off
check "--cka off measures similarity" sh -c '! grep -q cka stdout'
run 0 train --teacher slad-0 --student student --data data --batch 4 --epochs 1 --method joint --teacher-adapt frozen --out frozen-0
page frozen-0/report.html "Delta-CKA"
run 2 eval lora-0 --data data --cka on
says "no teacher"
run 0 eval lora-0 --data data --json
check "a student alone is compared" sh -c '! grep -q cka stdout'
run 2 eval joint-0 --data data --cka maybe
says --cka

run 0 compare joint-0 slad-0 slad-1 lora-0 --out page.html
prints "| slad, epochs 2 | 2 |" "| joint, epochs 2 | 1 |" "| lora, epochs 1 | 1 |" McNemar
page page.html slad-1 Significance
run 0 compare joint-0 slad-0 --json
prints_json runs groups significance notes

# Unlabelled images are no part of what is evaluated: their run has pictures, and is tested against one without.
run 0 train $pair --out unlabelled-0 --epochs 1 --unlabelled data/val/class-0 --cka off
page unlabelled-0/report.html "Sample predictions"
run 0 compare slad-0 unlabelled-0
hides "different images"
prints "unlabelled class-0" "different data"
# A seed that is there twice is no second seed.
cp -r slad-0 copy
run 0 compare slad-0 copy
prints "slad-0 and copy have the same seed"
run 0 compare joint-0 slad-0 --data data --json
prints_json runs groups significance notes
run 2 compare
says "at least one RUN"
run 3 compare joint-0 student
says config.json
run 8 compare joint-0 --out no/such/page.html
says no/such/page.html

# A run that is stopped has a page too; a run on tensors shows them as pictures.
"$inputs" signalled "$slad" train $pair --out stopped --steps 1000000 >stdout 2>stderr &
trainer=$!
last="train, then SIGINT"
tenths=1200
while [ ! -f stopped/optimizer.safetensors ] && [ $tenths -gt 0 ]; do
    sleep 0.1
    tenths=$((tenths - 1))
done
kill -s INT $trainer
wait $trainer
got=$?
check "an interrupted run ends with $got" [ $got -eq 130 ]
page stopped/report.html "not finished: interrupted" "steps planned"
mkdir tensors && "$inputs" tensors tensors/train.safetensors 28 0 1 2 0 &&
    "$inputs" tensors tensors/val.safetensors 28 0 1 2 0 1 || exit 1
run 0 train --teacher teacher --student student --data tensors --batch 4 --out tensors-run --epochs 1
page tensors-run/report.html data:image/png Delta-CKA

# A sheet of pictures, and names of all kinds.
cp data/val/class-0/0.png 'a "<b>&.png'
cp data/val/class-0/0.png "$(printf 'n\377.png')"
run 0 predict joint-0 data/val/class-0/0.png 'a "<b>&.png' --sheet sheet.html --top 2
prints "0.png: class-"
page sheet.html "a &quot;&lt;b&gt;&amp;.png" data:image/png "<b>class-"
run 0 predict joint-0 "$(printf 'n\377.png')" --json --sheet bytes.html
prints_json predictions
check "the bytes of a name are lost" grep -q "$(printf 'n\357\277\275.png')" stdout
page bytes.html "$(printf 'n\357\277\275.png')"
cp -R joint-0/student escapes
sed 's/"0":[^,]*"class-0"/"0": "a\\u001b[2J\\nb"/' joint-0/student/config.json >escapes/config.json
run 0 predict escapes data/val/class-0/0.png --top 9
prints "a?[2J?b"
cp -R joint-0/student broken # its last weight is not a number
printf '\000\000\300\177' |
    dd of=broken/model.safetensors bs=1 seek=$(($(wc -c <broken/model.safetensors) - 4)) conv=notrunc 2>/dev/null
run 3 predict broken data/val/class-0/0.png
says 0.png logit
run 2 predict joint-0 data/val/class-0/0.png --sheet sheet.png
says .html
run 8 predict joint-0 data/val/class-0/0.png --sheet no/such.html

finish
