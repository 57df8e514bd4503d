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

# The 32-bit guests: one source in assembly each.
build_small() {
    "$CC" -m32 -c -g0 -Wa,--fatal-warnings "$1/$1.S" -o "$work/$1.o"
    "$LD" -m elf_i386 --fatal-warnings --build-id=none -nostdlib -static -z noexecstack --no-warn-rwx-segments \
        -T hello/hello.ld "$work/$1.o" -o "$work/$1.elf"
    mv "$work/$1.elf" "$out/$1.elf"
}

# The 64-bit guests: kernel code (no red zone, no vector registers, top 2 GB), warnings are errors, and DWARF whose
# paths begin at the repository. GCC's own directory of freestanding headers is the only one searched.
headers=$("$CC" -print-file-name=include)
CFLAGS="-std=gnu11 -O1 -g -gdwarf-4 -ffreestanding -nostdinc -isystem $headers
    -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fcf-protection=none
    -fno-stack-protector -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-asynchronous-unwind-tables
    -fno-strict-aliasing -fno-common -ffile-prefix-map=$here=tests/guests -ffile-prefix-map=$headers=gcc
    -gno-record-gcc-switches
    -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Werror -Wa,--fatal-warnings -Icommon"

# compile GUEST SOURCE...: objects go to $work/GUEST/
compile() {
    guest=$1
    shift
    mkdir -p "$work/$guest"
    for source in "$@"; do
        "$CC" $CFLAGS "-I$guest" -c "$source" -o "$work/$guest/$(basename "$source").o"
    done
}

# link GUEST: all objects of $work/GUEST/ by common/kernel.ld
link() {
    "$CC" -E -P -x c -Icommon common/kernel.ld -o "$work/kernel.ld"
    "$LD" -m elf_x86_64 --fatal-warnings --build-id=none -nostdlib -static -z noexecstack -z max-page-size=4096 \
        -T "$work/kernel.ld" "$work/$1"/*.o -o "$work/$1.elf"
    check_layout "$work/$1.elf"
    mv "$work/$1.elf" "$out/$1.elf"
}

# A loader that follows the Multiboot address override copies the file in one piece: offset and load address of every segment
# must differ by the same amount.
check_layout() {
    "$READELF" -lW "$1" | {
        first=
        while read -r type offset _ paddr _; do
            [ "$type" = LOAD ] || continue
            distance=$((paddr - offset))
            [ "$distance" = "${first:=$distance}" ] || { echo "$0: $1: not contiguous in the file" >&2; return 1; }
        done
        [ -n "$first" ]
    }
}

COMMON="common/boot.S common/bootinfo.c common/serial.c common/string.c"

build_demo() {
    compile demo $COMMON common/vectors.S demo/*.S demo/*.c
    link demo
}

build_endings() {
    compile endings $COMMON endings/*.c
    link endings
}

build_privmatrix() {
    compile privmatrix $COMMON common/vectors.S privmatrix/*.S privmatrix/*.c
    link privmatrix
}

# link_by GUEST SCRIPT: all objects of $work/GUEST/ by a script of its own
link_by() {
    "$LD" --fatal-warnings --build-id=none -nostdlib -static -z noexecstack -z max-page-size=4096 \
        --no-warn-rwx-segments -T "$2" "$work/$1"/*.o -o "$work/$1.elf"
    mv "$work/$1.elf" "$out/$1.elf"
}

build_elf64() {
    compile elf64 elf64/start.S elf64/main.c common/serial.c common/string.c
    link_by elf64 elf64/elf64.ld
}

build_limine() {
    compile limine limine/main.c common/serial.c common/string.c
    link_by limine limine/limine.ld
}

build_pie() {
    mkdir -p "$work/pie"
    for source in elf64/start.S pie/main.c common/serial.c common/string.c; do
        "$CC" $(echo "$CFLAGS" | sed 's/-mcmodel=kernel/-fpie/;s/-fno-pi[ce]//g') -c "$source" -o "$work/pie/$(basename "$source").o"
    done
    "$LD" -pie --no-dynamic-linker --fatal-warnings --build-id=none -nostdlib -static -z noexecstack -z max-page-size=4096 \
        -z nopack-relative-relocs -e _start "$work/pie"/*.o -o "$work/pie.elf"
    mv "$work/pie.elf" "$out/pie.elf"
}

build_multiboot2() {
    compile multiboot2 multiboot2/start.S multiboot2/main.c common/serial.c common/string.c
    link_by multiboot2 multiboot2/multiboot2.ld
}

build_pmode32() {
    mkdir -p "$work/pmode32"
    for source in pmode32/start.S pmode32/main.c; do
        "$CC" $(echo "$CFLAGS" | sed 's/-mcmodel=kernel -mno-red-zone/-m32 -march=i686/') \
            -c "$source" -o "$work/pmode32/$(basename "$source").o"
    done
    "$LD" -m elf_i386 --fatal-warnings --build-id=none -nostdlib -static -z noexecstack --no-warn-rwx-segments \
        -T pmode32/pmode32.ld "$work/pmode32"/*.o -o "$work/pmode32.elf"
    mv "$work/pmode32.elf" "$out/pmode32.elf"
}

[ $# -gt 0 ] || set -- hello idle demo endings privmatrix elf64 limine multiboot2 pie pmode32
for guest in "$@"; do
    case $guest in
        hello | idle) build_small "$guest" ;;
        demo) build_demo ;;
        endings) build_endings ;;
        privmatrix) build_privmatrix ;;
        elf64) build_elf64 ;;
        limine) build_limine ;;
        multiboot2) build_multiboot2 ;;
        pie) build_pie ;;
        pmode32) build_pmode32 ;;
        *) echo "$0: no guest named $guest" >&2; exit 129 ;;
    esac
    echo "$out/$guest.elf"
done
