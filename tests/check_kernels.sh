#!/bin/sh
# Compiles every kernel with clang, without a device: OpenCL C 1.2 for a device without doubles, so that a literal like
# 0.5 or a promotion is an error, as every warning is. Usage: check_kernels.sh FOLDER. Exit 77: there is no clang.
set -u
folder=$1
command -v clang >/dev/null 2>&1 || { echo "clang is not installed"; exit 77; }
failed=0

# What the host may set. Every other knob of a kernel has a default in its file, and that is what is compiled.
for knobs in "" "-DVECTOR_WIDTH=16 -DROW_LANES=1 -DHAS_FMA=1" "-DVECTOR_WIDTH=8 -DROW_LANES=1 -DHAS_FMA=0" \
    "-DVECTOR_WIDTH=4 -DROW_LANES=64 -DHAS_FMA=1"; do
    for kernel in "$folder"/*.cl; do
        # shellcheck disable=SC2086 # the knobs are words
        if ! clang -x cl -cl-std=CL1.2 -Xclang -finclude-default-header -Xclang -cl-ext=-cl_khr_fp64 -fsyntax-only \
            -ferror-limit=5 -Wall -Wextra -Wdouble-promotion -Wno-unused-parameter -Wno-unused-function -Werror \
            $knobs "$kernel"; then
            echo "error: $kernel with knobs \"$knobs\""
            failed=1
        fi
    done
done

# Kernels know features, not vendors; only their comments may tell of one. The program leaves comments out.
without_comments='{
    rest = $0; kept = ""
    while (rest != "") {
        place = index(rest, inside ? "*/" : "/*")
        if (!inside) kept = kept (place ? substr(rest, 1, place - 1) : rest)
        rest = place ? substr(rest, place + 2) : ""
        if (place) inside = !inside
    }
    print FILENAME ":" FNR ": " kept
}'
if awk "$without_comments" "$folder"/*.cl "$folder"/*.h |
    grep -iwE 'nvidia|intel|amd|mali|adreno|qualcomm|apple|pocl|__opencl_version__|cl_[a-z]+_[a-z0-9_]+'; then
    echo "error: a kernel names a vendor, a version or an extension, above"
    failed=1
fi
exit $failed
