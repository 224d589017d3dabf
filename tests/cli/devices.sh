#!/bin/sh
# Devices: one that is not there, one without enough memory, kernels that do not build or compute, the cache.
# shellcheck source=tests/cli/expect.sh disable=SC2086 # $pair and its like are words
. "$(dirname "$0")/expect.sh"
make_pair
make_data
pair="--teacher teacher --student student --data data --batch 4 --steps 1"

for spec in 99:0 "no such device" ""; do
    run 4 train $pair --out run --device "$spec"
    says "\"$spec\"" "There are:"
    run 4 devices --device "$spec"
    says "\"$spec\""
done
check "a run's folder was made without a device" is_missing run
drivers=${OCL_ICD_VENDORS-}
export OCL_ICD_VENDORS="$work" # where there are none
run 4 devices --json
prints '"platforms_without_devices":	[]'
run 4 devices
run 4 train $pair --out run
says OpenCL
export OCL_ICD_VENDORS="$drivers"
[ -n "$drivers" ] || unset OCL_ICD_VENDORS

# Kernels from a folder: missing, not compiling, computing wrong results.
run 3 train $pair --out run --kernels nowhere
says nowhere
cp -R "$kernels" own
echo 'this is no C' >>own/layer_norm.cl
run 5 train $pair --out run --kernels own
says layer_norm.cl driver
run 4 devices --json --kernels own
prints '"usable":	false' layer_norm.cl
sed 's/sqrt(/0.9f * sqrt(/' "$kernels/layer_norm.cl" >own/layer_norm.cl
run 6 train $pair --out run --kernels own
says layer_norm driver error allowed
run 6 train $pair --out run --kernels own
says layer_norm
run 4 devices --json --kernels own
prints '"usable":	false'
check "a run was left behind" rmdir run

# Memory. PoCL can be told to have less.
run 7 train $pair --out run --image-size 1400 --batch 65536
says "would fit"
run 0 devices
if grep -q "Portable Computing Language" stdout; then
    pocl="$pair --device pocl"
    run 0 train $pocl --out small
    export POCL_MEMORY_LIMIT=1
    run 7 train $pocl --out run --image-size 4186
    says "1024 MiB" --image-size
    run 7 train $pocl --out run --image-size 112 --batch 2048 --micro-batch 2048
    says "--micro-batch 2048" "--micro-batch 1024 would fit" device
    run 0 train $pocl --out run --image-size 112 --batch 1200
    says "micro-batches of 600"
    hides error
    run 0 train $pocl --out run --overwrite --image-size 112 --batch 1200 --memory-limit 300
    says "Chosen because micro-batches of" "300 MiB of --memory-limit"
    run 7 train $pocl --out run --overwrite --image-size 560 --memory-limit 1
    says "one image at a time" "larger --memory-limit"
    run 7 eval small --device pocl --data data --image-size 6986
    says device --batch
    run 7 features small --device pocl --data data --image-size 6986 --out f
    says device --batch
    unset POCL_MEMORY_LIMIT
else
    skip "a device with little memory: there is no PoCL"
fi

# The cache: none, no folder, unwritable, full of rubbish, two programs at once. Results never change.
result()
{
    rm -rf run
    "$@"
    check "the cache changed a result" cmp -s run/state.safetensors first/state.safetensors
}
run 0 train $pair --out first
result run 0 train $pair --out run --cache-dir ""
result run 0 train $pair --out run --cache-dir student/config.json
says student/config.json "not kept"
result run 0 train $pair --out run --cache-dir fresh
for file in fresh/programs/*; do
    case $file in
    *.bin) printf '\377\377\377\377' | dd of="$file" bs=1 seek=300 conv=notrunc 2>/dev/null ;;
    *) echo rubbish >"$file" ;;
    esac
done
result run 0 train $pair --out run --cache-dir fresh
: >fresh/programs/old.bin.1-0.tmp
touch -d '2 hours ago' fresh/programs/old.bin.1-0.tmp
result run 0 train $pair --out run --cache-dir fresh
check "what a killed program left in the cache stays there" is_missing fresh/programs/old.bin.1-0.tmp
rm -rf fresh
# Without a home, kernels are kept in the temporary folder, where only this user may write.
mkdir -m 777 shared
own_folder=shared/slad-$(id -u)
for permissions in 777 700; do
    mkdir -p "$own_folder"
    chmod $permissions "$own_folder"
    rm -rf run
    (
        unset XDG_CACHE_HOME HOME
        TMPDIR=$work/shared timeout 300 "$slad" train $pair --out run >stdout 2>stderr </dev/null
    )
    check "training without a home failed" test $? -eq 0
    if [ $permissions = 777 ]; then says "not kept" "slad-$(id -u)" --cache-dir; else hides "not kept"; fi
done
check "no kernel was kept" test -d "$own_folder/programs"
"$slad" train $pair --out one --cache-dir fresh 2>one.log &
first=$!
"$slad" train $pair --out two --cache-dir fresh 2>two.log &
second=$!
wait $first
check "the first of two at once failed" test $? -eq 0
wait $second
check "the second of two at once failed" test $? -eq 0
check "two at once differ" cmp -s one/state.safetensors two/state.safetensors
result run 0 train $pair --out run --cache-dir fresh
finish
