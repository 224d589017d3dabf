#!/bin/sh
# Checks the rule of the rooms: what each folder of host/ may include. Usage: check_rooms.sh REPOSITORY
set -u
cd "$1/host" || exit 1
failed=0

complain()
{
    echo "error: $1"
    failed=1
}

# The rooms that a room may include, itself among them.
allowed()
{
    case $1 in
    base) echo "base" ;;
    reference | data | io) echo "$1 base" ;;
    cl) echo "cl base" ;;
    gemm) echo "gemm cl base" ;;
    graph) echo "graph gemm cl base" ;;
    ops) echo "ops graph gemm cl reference base" ;;
    model) echo "model ops graph gemm cl reference data io base" ;;
    train) echo "train model ops graph gemm cl reference data io base" ;;
    cli) echo "" ;; # a client of the public headers
    *) return 1 ;;
    esac
}

# Headers from outside that are not ISO C. Files, threads and processes belong to base.
foreign()
{
    case $1 in
    base) echo "cjson/cJSON.h dirent.h fcntl.h pthread.h regex.h sched.h sys/resource.h sys/stat.h sys/types.h time.h unistd.h" ;;
    cl) echo "CL/cl.h" ;;
    gemm) echo "clblast_c.h CL/cl.h" ;;
    data) echo "zlib.h stb/stb_image.h stb_image.h stb_image_write.h" ;;
    io | model | train) echo "cjson/cJSON.h" ;;
    cli) echo "cjson/cJSON.h signal.h unistd.h sys/ioctl.h time.h" ;;
    esac
}
iso="assert.h complex.h ctype.h errno.h float.h inttypes.h iso646.h limits.h math.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h"

has_word()
{
    case " $1 " in *" $2 "*) return 0 ;; esac
    return 1
}

for room in */; do
    room=${room%/}
    rooms=$(allowed "$room") || { complain "host/$room is not a known room"; continue; }
    for file in "$room"/*.[ch]; do
        [ -e "$file" ] || continue
        for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
            case $header in
            slad/* | *.def) continue ;;
            */*) other=${header%%/*} ;;
            *) other=$room ;; # beside the file
            esac
            has_word "$rooms" "$other" || [ "$other" = "$room" ] ||
                complain "host/$file includes $header: $room stands below $other, or beside it"
        done
        for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*<\([^>]*\)>.*/\1/p' "$file"); do
            has_word "$iso" "$header" || has_word "$(foreign "$room")" "$header" ||
                complain "host/$file includes <$header>, which $room may not"
        done
        # ISO C's own ways to the operating system.
        if [ "$room" != base ] && [ "$room" != cli ]; then
            grep -nE '(^|[^_[:alnum:]])(fopen|freopen|tmpfile|remove|rename|system|getenv|setenv|printf|puts|putchar|fprintf|exit|abort)[[:space:]]*\(' \
                "$file" | sed "s:^:host/$file\::" | grep -v '^[^:]*:[0-9]*:[[:space:]]*\(/\*\|\*\|//\)' &&
                complain "host/$file touches the operating system, which only base may"
        fi
    done
done

exit $failed
