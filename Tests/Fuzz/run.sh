#!/bin/sh
# Fuzzes everything that reads bytes of peers, with libFuzzer and the address sanitizer: a harness a folder here, which
# share the time.
#
#   Tests/Fuzz/run.sh SECONDS [HARNESS...]           fails when something is found
#   Tests/Fuzz/run.sh SECONDS canary [HARNESS...]    plants a bug in each, and fails when it is not found
#
# Starts from the golden vectors; what it learns stays in .build-fuzz/corpus. A crash leaves its input in
# .build-fuzz/crash-*, prints how to repeat it, and makes the script fail.
set -eu
seconds=${1:?usage: Tests/Fuzz/run.sh SECONDS [canary] [HARNESS...]}
shift
canary=
if [ "${1:-}" = canary ]; then
    canary="-D CANARY"
    shift
fi
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- MQTT MQTTClient WebSocket Contract Documents Config Signals
build=.build-fuzz
share=$((seconds / $#))
[ "$share" -gt 0 ] || share=1

# The modules, with coverage counters and sanitizer (one flag: of two, the compiler heeds the first); only those the
# harnesses need, so no program is linked.
for room in MQTTSession WebSocketCodec Tunnels MQTTClient HubContract Rules TimeZones Signals; do
    swift build -c release --scratch-path "$build" -Xswiftc -sanitize=fuzzer,address --target "$room"
done

# A harness has no main of its own: libFuzzer brings it, so it cannot be a SwiftPM target. Some names have spaces.
find "$build/release/" "$build/checkouts/swift-atomics/Sources" -maxdepth 3 -name module.modulemap \
    ! -path '*.build/include/*' -exec printf -- '-Xcc "-fmodule-map-file=%s"\n' {} + > "$build/modules.rsp"
find "$build/release/" -path '*.build/*' -name '*.o' -exec printf '"%s"\n' {} + > "$build/objects.rsp"
# shellcheck disable=SC2086
for harness; do
    swiftc $canary -parse-as-library -swift-version 6 -O -sanitize=fuzzer,address -use-ld=lld -I "$build/release/Modules" \
        -module-name "Fuzz$harness" "@$build/modules.rsp" Tests/Fuzz/Support.swift "Tests/Fuzz/$harness/Fuzz.swift" \
        "@$build/objects.rsp" -o "$build/fuzz-$harness"
done
python3 Tests/Fuzz/seeds.py "$build/corpus"

# SWIFT_BACKTRACE: its helper would outlive a crash and hold the terminal. Leaks: the Swift runtime keeps some on purpose.
fuzz() {
    harness=$1
    shift
    bytes=4096
    # One line each.
    [ "$harness" != Contract ] || bytes=512
    SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=0 "$build/fuzz-$harness" "$@" -max_total_time="$share" \
        -max_len="$bytes" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
}
for harness; do
    corpus=$build/corpus/$harness
    if [ -z "$canary" ]; then
        echo "fuzzing $harness for $share s"
        fuzz "$harness" "$corpus" -artifact_prefix="$build/"
        continue
    fi
    scratch=$(mktemp -d)
    if fuzz "$harness" "$scratch" "$corpus" -artifact_prefix="$scratch/" 2> "$scratch/log"; then
        echo "canary: the bug planted in $harness was not found in $share s" >&2
        exit 1
    fi
    grep -q "Fatal error: the limit of" "$scratch/log" || { tail -n 20 "$scratch/log" >&2; exit 1; }
    rm -rf "$scratch"
    echo "canary: the bug planted in $harness was found"
done
