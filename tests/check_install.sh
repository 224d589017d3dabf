#!/bin/sh
# Installs the build into a temporary folder and uses it as a stranger would: libslad.so exports the public API and
# nothing else, slad.pc leads to headers and libraries, and the C program of README.md compiles against either library
# and runs. Usage: check_install.sh SOURCE BUILD
set -u
source=$1
build=$2
prefix=$(mktemp -d "${TMPDIR:-/tmp}/slad-install-XXXXXX") || exit 1
trap 'rm -rf "$prefix"' EXIT
failed=0

complain()
{
    echo "error: $1"
    failed=1
}

cmake --install "$build" --prefix "$prefix/first" >/dev/null || exit 1
mv "$prefix/first" "$prefix/moved" # an installed tree may be moved
pc=$(find "$prefix/moved" -name slad.pc)
library=$(find "$prefix/moved" -name libslad.so)
archive=$(find "$prefix/moved" -name libslad.a)
if [ -z "$pc" ] || [ -z "$library" ] || [ -z "$archive" ]; then
    complain "slad.pc or a library is missing"
    exit 1
fi
export PKG_CONFIG_PATH="${pc%/*}${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
export LD_LIBRARY_PATH="${library%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# What the headers promise against what the library exports.
cat "$prefix"/moved/include/slad/*.h | sed '/^#/d' | tr '\n' ' ' | grep -oE 'SLAD_API [^;(]*\(' |
    sed -E 's/.*[ *](slad_[a-z0-9_]+)\($/\1/' | sort >"$prefix/promised"
nm -D --defined-only "$library" | sed 's/.* //' | sort >"$prefix/exported"
[ -s "$prefix/promised" ] || complain "no public function was found in include/slad"
diff "$prefix/promised" "$prefix/exported" || complain "libslad.so (>) does not export just what include/slad (<) declares"

# The program of README.md, with a C compiler that knows nothing but slad.pc.
# shellcheck disable=SC2016 # backquotes of Markdown
sed -n '/^```c$/,/^```$/p' "$source/README.md" | sed '/^```/d' >"$prefix/readme.c"
[ -s "$prefix/readme.c" ] || complain "README.md holds no C program"
# shellcheck disable=SC2046,SC2086 # flags are words
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags slad) -o "$prefix/with_shared" \
    "$prefix/readme.c" $(pkg-config --libs slad) || complain "the program of README.md does not build"
# shellcheck disable=SC2046
"${CC:-cc}" -std=c11 $(pkg-config --cflags slad) -o "$prefix/with_static" "$prefix/readme.c" "$archive" \
    $(pkg-config --static --libs slad | sed 's/-lslad//') || complain "the program of README.md does not link statically"
[ "$failed" = 0 ] || exit 1
ln -s "$source/examples" "$prefix/examples" # the program names folders of the repository
cd "$prefix" || exit 1
for program in with_shared with_static; do
    ./$program >"$program.log" 2>&1 || { cat "$program.log"; complain "the program of README.md fails ($program)"; }
    [ -e demo-runs/library/student/model.safetensors ] || complain "$program left no student"
    rm -rf demo-runs
done
"$prefix/moved/bin/slad" --version | grep -q '^slad [0-9]' || complain "the installed program does not tell its version"
exit $failed
