#!/bin/sh
# slad bench: kernels of a device, whole models, limits, and what it refuses.
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"
make_pair

run 0 bench --help
prints --teacher --student --batch --image-size --repetitions --max-time --cpu-time --json
run 0 bench --batch 1 --image-size 14 --max-time 1
prints "| kernels |" "GFLOP/s" "a launch, "
run 0 bench --teacher teacher --student student --batch 1 --image-size 28 --max-time 1 --json
prints_json slad device driver time repetitions batch image_size peak launch kernels models left_out
run 2 bench report a.json b.json
says "bench report is not available in this version"
run 2 bench surplus
run 2 bench --teacher teacher
says --student
run 2 bench --repetitions 4
says --repetitions
run 2 bench --max-time 0
says --max-time
run 2 bench --student student --image-size 30
says "--image-size 30" "14"
run 3 bench --student nowhere
says nowhere
finish
