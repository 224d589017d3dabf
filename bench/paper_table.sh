#!/usr/bin/env bash
# The paper's table on the bundled pair and images: every method with several seeds, then one table over all runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

methods=probe,lora,finetune,kd-probe,kd-lora,kd-finetune,joint,slad
seeds=0,1,2
epochs=30
out=paper-table
slad=${SLAD:-build/slad}
again=
extra=()

usage()
{
    cat <<END
usage: bench/paper_table.sh [options] [-- options of slad train]

  --methods LIST   methods, separated by commas (default: $methods)
  --seeds LIST     seeds (default: $seeds)
  --epochs N       of each stage of each run (default: $epochs)
  --out DIR        folder of the runs, the table (table.md) and its page (table.html) (default: $out)
  --again          train anew what is there already; else runs that were finished are kept

Build first (./run build). The program is build/slad, or what SLAD names; the driver is what OCL_ICD_VENDORS names. What
stands behind -- goes to every run, for example -- --device pocl --lr 1e-3.
END
}

fail()
{
    printf 'error: %s\n' "$1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --methods | --seeds | --epochs | --out)
            [ $# -ge 2 ] || fail "$1 needs a value"
            declare "${1#--}=$2"
            shift 2
            ;;
        --again) again=1; shift ;;
        --help | -h) usage; exit 0 ;;
        --) shift; extra=("$@"); break ;;
        *) usage >&2; exit 2 ;;
    esac
done
[ -x "$slad" ] || fail "$slad is not there: run ./run build first"

# As the demo trains: the garments fill their pictures, so that hard crops would hide what they are.
# shellcheck disable=SC2054 # the comma belongs to a value
options=(--lr 2e-3 --head-lr 1e-2 --crop-scale 0.9,1 --eval-every 0)

is_finished() # RUN
{
    grep -qs '"outcome":[[:space:]]*"done"' "$1/summary.json"
}

train_run() # METHOD SEED
{
    local run=$out/$1-$2 start=$SECONDS models=(--student examples/foundation/student)
    case $1 in probe | lora | finetune) ;; *) models+=(--teacher examples/foundation/teacher) ;; esac
    if [ -z "$again" ] && is_finished "$run"; then
        echo "$run: finished before"
        return
    fi
    "$slad" train --method "$1" "${models[@]}" --data examples/fashion_mnist --out "$run" --seed "$2" --epochs "$epochs" \
        "${options[@]}" "${extra[@]}" --overwrite --log-level warning
    echo "$run: $((SECONDS - start)) s"
}

runs=()
mkdir -p "$out"
for method in ${methods//,/ }; do
    for seed in ${seeds//,/ }; do
        train_run "$method" "$seed" >&2
        runs+=("$out/$method-$seed")
    done
done
"$slad" compare "${runs[@]}" --out "$out/table.html" | tee "$out/table.md"
