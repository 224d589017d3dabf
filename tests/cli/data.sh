#!/bin/sh
# Data sets and images that are not what they should be: named, and refused or skipped as documented.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
"$inputs" model student 16 1 2 28 || exit 1
make_data

# attempt CODE DATA ARGUMENT...: trains a step on it.
attempt()
{
    expected=$1 data=$2
    shift 2
    rm -rf run
    run "$expected" train --method lora --student student --data "$data" --out run --steps 1 --batch 64 "$@"
}

fresh()
{
    rm -rf bad
    cp -R data bad
}

mkdir empty
for path in nowhere /dev/null empty student/config.json; do
    attempt 3 "$path"
    says "$path"
done

# Classes.
fresh
mkdir bad/train/void
attempt 3 bad
says bad/train/void
fresh
rm bad/val/class-1/*
attempt 3 bad
says bad/val/class-1
fresh
rm -r bad/train/class-1 bad/train/class-2 bad/val
attempt 3 bad
says bad "one class"
fresh
mv bad/val/class-1 bad/val/surprise
attempt 3 bad
says bad/val/surprise
fresh
rm -r bad/val
attempt 0 bad
says bad "no validation part"
fresh
ln -s .. bad/train/class-0/loop
attempt 3 bad
says loop

# Broken images are named and counted; --strict-data stops at them.
broken()
{
    attempt 0 bad
    says "skipped: bad/train/class-0/0.png" "1 broken training"
    attempt 3 bad --strict-data
    says bad/train/class-0/0.png
}
fresh
head -c 60 data/train/class-0/0.png >bad/train/class-0/0.png
broken
fresh
: >bad/train/class-0/0.png
broken
fresh
echo text >bad/train/class-0/0.png
broken
fresh
rm bad/train/class-0/0.png
ln -s nothing bad/train/class-0/0.png
broken
fresh
rm bad/train/class-0/0.png
mkfifo bad/train/class-0/0.png
broken
"$inputs" png huge.png 20000 20000 3 8 || exit 1
fresh
cp huge.png bad/train/class-0/0.png
broken
says 20000
attempt 0 bad
run 3 predict run huge.png
says huge.png 20000
run 3 predict run data/train/class-0/0.png student/config.json
says student/config.json

# What was learnt from good images stays usable where broken ones end the run.
fresh
for image in bad/val/*/*.png; do head -c 60 data/train/class-0/0.png >"$image"; done
attempt 3 bad
says bad/val/class-2/1.png "all 6 images"
run 0 eval run --data data
fresh
for image in bad/train/*/*.png; do head -c 60 data/train/class-0/0.png >"$image"; done
attempt 3 bad
says bad
fresh
head -c 60 data/train/class-0/0.png >bad/val/class-0/0.png
run 3 features student --data bad --out f.safetensors
says bad/val/class-0/0.png
check "features of a broken set were written" is_missing f.safetensors
run 0 eval run --data bad --json
says "skipped: bad/val/class-0/0.png" "1 broken"
prints '"images":	5'

# Odd images that are fine: one pixel, a line of 20,000, grey, with alpha, 16 bits.
fresh
"$inputs" png bad/train/class-0/0.png 1 1 3 8 && "$inputs" png bad/train/class-0/1.png 20000 2 3 8 &&
    "$inputs" png bad/train/class-0/2.png 2 20000 3 8 && "$inputs" png bad/train/class-0/3.png 40 30 1 8 &&
    "$inputs" png bad/train/class-1/0.png 40 30 2 8 && "$inputs" png bad/train/class-1/1.png 30 40 4 8 &&
    "$inputs" png bad/train/class-1/2.png 40 30 3 16 && "$inputs" png bad/train/class-1/3.png 40 30 4 16 &&
    "$inputs" png bad/train/class-2/0.png 40 30 1 16 && "$inputs" png bad/val/class-2/0.png 1 1 1 8 || exit 1
attempt 0 bad --strict-data
hides skipped

# CSV lists.
row()
{
    printf 'path,label,split\ndata/train/class-0/0.png,a,train\ndata/train/class-1/0.png,b,train\n%s\n' "$1" >list.csv
}
row data/val/class-1/0.png,b,val
attempt 0 list.csv
row data/val/class-1/0.png,c,val
attempt 3 list.csv
says list.csv:4 '"c"'
row data/val/class-1/0.png,b,vel
attempt 3 list.csv
says list.csv:4 vel
row data/val/class-1/0.png,b
attempt 3 list.csv
says list.csv:4
row '"data/val/class-1/0.png,b,val'
attempt 3 list.csv
says list.csv:4
row data/nothing.png,b,train
attempt 0 list.csv
says data/nothing.png
attempt 3 list.csv --strict-data
says data/nothing.png
echo path,label >list.csv
attempt 3 list.csv
says list.csv split
: >list.csv
attempt 3 list.csv
says list.csv
printf 'path,label,split\nx.png,a,train\ny.png,b,train\n' >list.csv
attempt 3 list.csv
says list.csv "not one of the 2"

# Tensor files.
"$inputs" tensors good.safetensors 28 0 1 2 0 || exit 1
attempt 0 good.safetensors
says "never augmented"
"$inputs" tensors bad.safetensors 28 0 -1 1 || exit 1
attempt 3 bad.safetensors
says bad.safetensors labels "-1"
"$inputs" tensors bad.safetensors 28 0 1 70000 || exit 1
attempt 3 bad.safetensors
says bad.safetensors labels 70000
"$inputs" tensors bad.safetensors 28 0 0 0 || exit 1
attempt 3 bad.safetensors
says bad.safetensors "one class"
attempt 2 good.safetensors --image-size 42
says --image-size pixel_values
mkdir tensors
cp good.safetensors tensors/train.safetensors
"$inputs" tensors tensors/val.safetensors 42 0 1 || exit 1
attempt 3 tensors
says tensors/val.safetensors pixel_values
head -c 500 good.safetensors >bad.safetensors
attempt 3 bad.safetensors
says bad.safetensors
attempt 3 student/model.safetensors
says student/model.safetensors pixel_values
run 0 train --method lora --student student --data data --out three --steps 1
"$inputs" tensors bad.safetensors 28 0 1 2 3 || exit 1
run 3 eval three --data bad.safetensors
says bad.safetensors three "4 classes"

# Many classes: no matrix of them all in JSON.
"$inputs" tensors gap.safetensors 28 0 1 3 || exit 1
attempt 3 gap.safetensors
says gap.safetensors "class 2"
"$inputs" tensors many.safetensors 28 $(seq 0 1000) || exit 1
run 0 train --method probe --student student --data many.safetensors --out many --steps 1 --batch 4
run 0 eval many --data many.safetensors --json
prints_json student
check "a matrix of 1001 classes is in the JSON" sh -c '! grep -q confusion stdout'

# IDX files.
mkdir idx
images()
{
    printf '\000\000\010\003\000\000\000\002\000\000\000\034\000\000\000\034' >idx/train-images-idx3-ubyte
    head -c "$1" /dev/zero >>idx/train-images-idx3-ubyte
}
images 1568
printf '\000\000\010\001\000\000\000\002\000\001' >idx/train-labels-idx1-ubyte
attempt 0 idx
images 1500
attempt 3 idx
says idx/train-images-idx3-ubyte
images 1568
printf '\000\000\010\001\000\000\000\003\000\001\002' >idx/train-labels-idx1-ubyte
attempt 3 idx
says idx/train-labels-idx1-ubyte
rm idx/train-labels-idx1-ubyte
attempt 3 idx
says train-labels-idx1-ubyte

# Published trees: an index, and images of another place.
mkdir -p planes/fgvc-aircraft-2013b/data/images
planes=planes/fgvc-aircraft-2013b/data
for i in 1 2 3 4; do cp data/train/class-0/0.png "$planes/images/$i.jpg"; done
printf 'Yak-42\n707-320\n' >"$planes/variants.txt"
printf '1 Yak-42\r\n2 707-320\r\n' >"$planes/images_variant_trainval.txt"
printf '3 Yak-42\n4 707-320\n' >"$planes/images_variant_test.txt"
attempt 0 planes
says planes FGVC-Aircraft "2 training and 2 validation"
check "the set's own measure is not in metrics.jsonl" grep -q '"measure":"mean_per_class"' run/metrics.jsonl
run 0 eval run --data planes --json
prints '"measure":	"mean_per_class"'
printf '3 Yak-42\n../../4 707-320\n' >"$planes/images_variant_test.txt"
attempt 3 planes
says images_variant_test.txt:2 "leads out"

# Strong augmentation: another run than crop-flip's, the same bytes twice.
attempt 0 data --workers 2
cp run/state.safetensors plain.safetensors
attempt 0 data --augment strong --workers 1
cp run/state.safetensors strong.safetensors
check "strong augmentation changes nothing" sh -c '! cmp -s plain.safetensors strong.safetensors'
attempt 0 data --augment strong --workers 3
check "strong augmentation depends on the number of workers" cmp -s run/state.safetensors strong.safetensors

# Mixing: batches of images and of tensors, the same bytes twice; evaluation mixes nothing.
attempt 0 data --mixup 0.4 --cutmix 1 --label-smoothing 0.1 --workers 1
cp run/state.safetensors mixed.safetensors
attempt 0 data --mixup 0.4 --cutmix 1 --label-smoothing 0.1 --workers 3
check "mixed batches depend on the number of workers" cmp -s run/state.safetensors mixed.safetensors
attempt 0 good.safetensors --cutmix 1 --batch 3
attempt 2 data --mixup 0.4 --batch 1
says --mixup --batch
attempt 2 data --cutmix -1
says --cutmix

# Unlabelled images: an epoch covers them too, and they need a loss that they count in.
"$inputs" model teacher 24 2 3 28 || exit 1
mkdir -p more/inner
cp data/val/class-0/0.png more/1.png
cp data/val/class-1/0.png more/inner/2.png
echo text >more/inner/3.png
distil() # CODE UNLABELLED ARGUMENT...
{
    expected=$1 unlabelled=$2
    shift 2
    rm -rf run
    run "$expected" train --teacher teacher --student student --data data --out run --unlabelled "$unlabelled" \
        --epochs 1 "$@"
}
distil 0 more --batch 1
says "3 unlabelled images" "skipped: more/inner/3.png" "1 broken training"
check "config.json does not count the unlabelled images" grep -q '"unlabelled_images":.*3' run/config.json
check "an epoch does not cover 12 labelled and 3 unlabelled images" sh -c 'grep -c loss_kl run/metrics.jsonl | grep -qx 15'
check "no step is without labels" grep -q '"loss_student":0,' run/metrics.jsonl
distil 0 more --batch 4 --mixup 1 --cutmix 1
distil 0 more --batch 4 --method kd-probe
check "the teacher's stage has not 3 steps, the student's 4" \
    sh -c 'grep -c "stage\":\"teacher.*\"loss\"" run/metrics.jsonl | grep -qx 3 && grep -c "stage\":\"student.*\"loss\"" run/metrics.jsonl | grep -qx 4'
distil 2 more --alpha-kl 0
says --unlabelled --alpha-kl
run 2 train --method lora --student student --data data --out run --unlabelled more
says --unlabelled teacher
distil 3 nothing
says nothing
distil 3 good.safetensors
says good.safetensors "a folder of images"
distil 3 more --strict-data
says more/inner/3.png

# Odd names.
odd="sp ace
new'line"
mkdir "$odd"
cp -R data "$odd/data"
attempt 0 "$odd/data"
run 0 predict run "$odd/data/val/class-0/0.png" --json
prints_json predictions
prints 'sp ace\nnew'

# Names that no JSON can hold, found before the training and not behind it.
odd=$(printf 'un\377named')
fresh
if mv bad/train/class-1 "bad/train/$odd" 2>/dev/null && mv bad/val/class-1 "bad/val/$odd"; then
    attempt 3 bad
    says bad "class name" UTF-8
    check "training went on with an impossible class name" rmdir run
    cp -R data "$odd"
    attempt 3 "$odd"
    says UTF-8
else
    skip "names that are not UTF-8: this file system has none"
fi
finish
