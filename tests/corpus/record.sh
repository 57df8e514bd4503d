#!/bin/sh
# Records the corpus:   tests/corpus/record.sh VKERNEL
#
# Four ends of the demonstration kernel: its race under a seed that shows it, typed input under the host's clock, a
# triple fault, and a good run on one CPU. See README.md for when.
set -eu
program=$(realpath "$1")
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
VKERNEL_DIR=$(mktemp -d)
export VKERNEL_DIR
trap 'rm -rf "$VKERNEL_DIR"' EXIT
# A recording holds the command line, and where the program was is nobody's business.
mkdir "$VKERNEL_DIR/bin"
ln -s "$program" "$VKERNEL_DIR/bin/vkernel"
PATH=$VKERNEL_DIR/bin:$PATH
result=$VKERNEL_DIR/result.json

# pack NAME: the recording that result.json names becomes NAME-FORMAT-MODEL.vkt
pack() {
    trace=$(sed -n 's/^  "trace": "\(.*\)",$/\1/p' "$result")
    info=$(vkernel trace info "$trace")
    format=$(echo "$info" | sed -n 's/^by .*format \([0-9]*\)$/\1/p')
    model=$(echo "$info" | sed -n 's/^model *//p')
    vkernel trace pack "$trace" -o "$here/$1-$format-$model.vkt"
}

# A status of 1 is what a failing guest is to give.
fails() {
    vkernel "$@" >/dev/null </dev/null && { echo "$0: vkernel $* was to fail" >&2; exit 1; } || [ $? -eq 1 ]
}

fails explore --tries 1000 --result "$result" -- -m 64m demo:
pack race
fails boot --result "$result" -m 64m --append triple demo:
pack triple
vkernel boot --result "$result" -m 64m -n 1 --append rounds=50 demo: >/dev/null </dev/null
pack single
{ printf 'typed\n'; sleep 1; } | vkernel boot --result "$result" -m 64m --clock host --append rounds=50 demo: >/dev/null
pack typed
