# shellcheck shell=sh
# shellcheck disable=SC2034 # the scripts use what is not used here
# What the scripts of this folder share. They are run as: sh SCRIPT.sh SLAD MAKE_INPUTS CACHE KERNELS
# (the program, the helper, a folder for compiled kernels, the folder of kernel sources), work in a folder of their own
# and go on after a failed check; `finish` ends them.
set -u
here=$(cd "$(dirname "$0")" && pwd)
slad=$1 inputs=$2 cache=$3 kernels=$4
export XDG_CACHE_HOME="$cache" # POSIX-wide, so that drivers keep theirs there too
mkdir -p "$cache"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 1
failures=0 checks=0 last=

complain()
{
    failures=$((failures + 1))
    echo "FAILED: $1"
    echo "  after: $last"
    sed 's/^/  stderr: /' stderr 2>/dev/null | tail -n 8
}

# run CODE ARGUMENT...: runs slad, whose output goes to ./stdout and ./stderr, and checks its exit code. $TEST_DEVICE, if
# set, names the device.
run()
{
    code=$1
    shift
    last="slad $*"
    checks=$((checks + 1))
    if [ -n "${TEST_DEVICE:-}" ] && [ $# -gt 0 ]; then
        command=$1
        shift
        set -- "$command" --device "$TEST_DEVICE" "$@"
    fi
    timeout 300 "$slad" "$@" >stdout 2>stderr </dev/null
    got=$?
    [ $got -eq "$code" ] || complain "exit code $got instead of $code"
}

# says TEXT...: the last run's standard error holds each text.
says()
{
    for text; do
        checks=$((checks + 1))
        grep -qF -- "$text" stderr || complain "standard error does not say \"$text\""
    done
}

# hides TEXT: the last run's standard error does not hold the text.
hides()
{
    checks=$((checks + 1))
    ! grep -qF -- "$1" stderr || complain "standard error says \"$1\""
}

# prints TEXT...: the last run's standard output holds each text.
prints()
{
    for text; do
        checks=$((checks + 1))
        grep -qF -- "$text" stdout || complain "standard output does not hold \"$text\""
    done
}

# prints_json FIELD...: the last run's standard output is one JSON object with these fields and nothing else.
prints_json()
{
    checks=$((checks + 1))
    "$inputs" json stdout "$@" || complain "standard output is not one JSON object with $*"
}

prints_nothing()
{
    checks=$((checks + 1))
    [ ! -s stdout ] || complain "standard output is not empty"
}

# check WHAT COMMAND...: the command succeeds.
check()
{
    what=$1
    shift
    checks=$((checks + 1))
    "$@" || complain "$what"
}

is_missing()
{
    [ ! -e "$1" ]
}

# skip WHY: says what could not be checked here.
skip()
{
    echo "skipped: $1"
}

finish()
{
    left=$(find . -name '*.tmp' -o -name '.slad-write-test*')
    [ -z "$left" ] || complain "temporary files are left: $left"
    echo "$checks checks, $failures failed"
    [ $failures -eq 0 ]
    exit
}

# A pair of encoders that share, and images of three classes: about as small as can be.
make_pair()
{
    "$inputs" model teacher 24 2 3 28 && "$inputs" model student 16 1 2 28 || exit 1
}

make_data()
{
    "$inputs" folder data 3 4 2 30 || exit 1
}
