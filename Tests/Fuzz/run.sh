#!/bin/sh
# Fuzzes the MQTT codec and the server session with libFuzzer and the address sanitizer.
#
#   Tests/Fuzz/run.sh SECONDS            fails when something is found
#   Tests/Fuzz/run.sh SECONDS canary     plants a bug, and fails when it is not found
#
# Starts from the golden vectors; what it learns stays in .build-fuzz/corpus. A crash leaves its input in
# .build-fuzz/crash-*, prints how to repeat it, and makes the script fail.
set -eu
seconds=${1:?usage: Tests/Fuzz/run.sh SECONDS [canary]}
canary=${2:+-D CANARY}
cd "$(dirname "$0")/../.."
build=.build-fuzz
corpus=$build/corpus

# The modules, with coverage counters and sanitizer (one flag: of two, the compiler heeds the first); only those the
# harness needs, so no program is linked.
swift build -c release --scratch-path "$build" -Xswiftc -sanitize=fuzzer,address --target MQTTSession

# The harness has no main of its own: libFuzzer brings it, so it cannot be a SwiftPM target. Some names have spaces.
find "$build/release/" "$build/checkouts/swift-atomics/Sources" -maxdepth 3 -name module.modulemap \
    ! -path '*.build/include/*' -exec printf -- '-Xcc "-fmodule-map-file=%s"\n' {} + > "$build/modules.rsp"
find "$build/release/" -path '*.build/*' -name '*.o' -exec printf '"%s"\n' {} + > "$build/objects.rsp"
# shellcheck disable=SC2086
swiftc $canary -parse-as-library -swift-version 6 -O -sanitize=fuzzer,address -use-ld=lld -I "$build/release/Modules" \
    "@$build/modules.rsp" Tests/Fuzz/MQTT/Fuzz.swift "@$build/objects.rsp" -o "$build/fuzz-mqtt"

mkdir -p "$corpus"
for vector in Tests/Golden/mqtt/*/*/wire.hex; do
    sed 's/#.*//' "$vector" | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' \
        > "$corpus/$(basename "$(dirname "$vector")")"
done
# Whole conversations, so that the session's deeper states are not left to luck.
cd "$corpus"
cat connect-smallest subscribe-example pingreq unsubscribe-example disconnect > conversation-subscriptions
cat publish-example publish-example publish-example publish-example publish-qos0-retained > conversation-qos1
cat publish-qos2-duplicate-retained pubrel publish-example publish-qos2-duplicate-retained pubrel pubrec pubcomp puback \
    publish-example publish-example publish-example publish-example publish-example > conversation-qos2
cat connect-flags-example conversation-qos1 conversation-qos2 > conversation-all
cd - > /dev/null

# SWIFT_BACKTRACE: its helper would outlive a crash and hold the terminal. Leaks: the Swift runtime keeps some on purpose.
fuzz() {
    SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=0 "$build/fuzz-mqtt" "$@" -max_total_time="$seconds" \
        -max_len=2048 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
}
if [ -n "$canary" ]; then
    scratch=$(mktemp -d)
    if fuzz "$scratch" "$corpus" -artifact_prefix="$scratch/" 2> "$scratch/log"; then
        echo "canary: the planted bug was not found in $seconds s" >&2
        exit 1
    fi
    grep -q "the limit of unanswered messages is passed" "$scratch/log" || { tail -n 20 "$scratch/log" >&2; exit 1; }
    rm -rf "$scratch"
    echo "canary: the planted bug was found"
else
    fuzz "$corpus" -artifact_prefix="$build/"
fi
