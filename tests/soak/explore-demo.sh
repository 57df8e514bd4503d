#!/bin/sh
# How many seeds until the race of the demonstration kernel shows:   tests/soak/explore-demo.sh [VKERNEL [CPUS]]
#
# Explores from each of the starting seeds 1 to 100 and prints median and worst of the tries needed. Every one of
# them must find the race within 500 tries. Half a minute; the figures in docs/ci.md are from here.
set -eu
vkernel=$(realpath "${1:-target/release/vkernel}")
cpus=${2:-2}
VKERNEL_DIR=$(mktemp -d)
export VKERNEL_DIR
trap 'rm -rf "$VKERNEL_DIR"' EXIT
cd "$VKERNEL_DIR"
first=1
while [ "$first" -le 100 ]; do
    "$vkernel" explore --seed "$first" --tries 500 --result result.json -- -m 64m -n "$cpus" demo: 2>/dev/null &&
        { echo "nothing found from seed $first on" >&2; exit 1; }
    found=$(sed -n 's/^  "seed": \([0-9]*\).*/\1/p' result.json)
    # From every seed between the two the same one is the first that fails.
    while [ "$first" -le "$found" ] && [ "$first" -le 100 ]; do
        echo $((found - first + 1))
        first=$((first + 1))
    done
done | sort -n >tries
[ "$(wc -l <tries)" -eq 100 ]
echo "$cpus CPUs, tries needed from 100 starting seeds: median $(sed -n 50p tries), worst $(sed -n 100p tries)"
