#!/bin/sh
# Builds every guest with gcc, ld and objcopy alone:   tests/guests/build.sh OUTDIR [GUEST...]
#
# The bytes of a guest depend on its sources and the compiler only: no path of this machine, no build-id, no time.
# Any tool that fails or warns ends the script with its status, and the half-made guest is not left behind.
set -eu
LC_ALL=C
export LC_ALL
umask 022

if [ $# -lt 1 ]; then
    echo "usage: $0 OUTDIR [GUEST...]" >&2
    exit 129
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
shift
cd "$here"

CC=${CC:-gcc}
LD=${LD:-ld}
READELF=${READELF:-readelf}
for tool in "$CC" "$LD" "$READELF"; do
    command -v "$tool" >/dev/null || { echo "$0: $tool not found: install gcc and binutils" >&2; exit 1; }
done

work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

build_hello() {
    "$CC" -m32 -c -g0 -Wa,--fatal-warnings hello/hello.S -o "$work/hello.o"
    "$LD" -m elf_i386 --fatal-warnings --build-id=none -nostdlib -static -z noexecstack --no-warn-rwx-segments \
        -T hello/hello.ld "$work/hello.o" -o "$work/hello.elf"
    mv "$work/hello.elf" "$out/hello.elf"
}

[ $# -gt 0 ] || set -- hello
for guest in "$@"; do
    case $guest in
        hello) build_hello ;;
        *) echo "$0: no guest named $guest" >&2; exit 129 ;;
    esac
    echo "$out/$guest.elf"
done
