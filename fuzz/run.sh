#!/usr/bin/env bash
# Fuzzes every target, or those named: fuzz/run.sh [SECONDS [TARGET…]], by default 60 seconds each.
# Needs the stable toolchain and a C++ compiler: the instrumentation is switched on in the compiler by hand. Starts from the
# vectors of the protocol and from seeds/, and keeps what it finds in fuzz/corpus. Fails when a target does, and names the input that did it.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(frame message batch entry ticket pem crl staple)

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# Edge coverage with counters, and comparisons, so that magics and lengths are found out. With --target the flags do not
# reach build scripts.
sancov="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    sancov+=" -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS="--cfg fuzzing $sancov" cargo build --quiet --release --locked --target "$host"

# Writes the bytes of a file of vectors, each behind PREFIX and without its first SKIP bytes, into a corpus.
seed() { # FILE CORPUS PREFIX SKIP
    local index=0 bytes
    while read -r bytes; do
        bytes=$3${bytes:$((2 * $4))}
        # shellcheck disable=SC2059 # the escapes are the point
        printf "$(sed 's/../\\x&/g' <<<"$bytes")" >"corpus/$2/$(basename "$1" .json)-$((index += 1))"
    done < <(sed -n 's/^ *"hex": "\([0-9a-f]*\)".*/\1/p' "../protocol/vectors/$1")
}

for target in "${targets[@]}"; do mkdir -p "corpus/$target" "artifacts/$target"; done
for target in "${targets[@]}"; do
    case $target in
    frame) seed messages.json frame 05 0; seed bad.json frame 40 0 ;;
    message) seed messages.json message "" 4; seed bad.json message "" 4 ;;
    batch) seed batches.json batch 00 0; seed bad.json batch 01 0 ;;
    entry) seed entries.json entry 00 0; seed bad.json entry 01 0 ;;
    ticket)
        # Claims that hold, behind a good seal, and a file with a secret.
        { printf '\2%033d' 0 | tr 0 '\0'; printf '\200\0\0\0\0\0\0\0'; printf %016dsession 0 | tr 0 '\0'; } >corpus/ticket/claims
        printf '\3# one\n%064d\n' 1 >corpus/ticket/secret
        ;;
    pem) cp ../transport/src/tls/testdata/* corpus/pem ;;
    crl | staple) cp "seeds/$target"/* "corpus/$target" ;;
    esac
done

failed=0
for target in "${targets[@]}"; do
    echo "fuzzing $target for $seconds s"
    log=artifacts/$target/log
    if "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$PWD/artifacts/$target/" "corpus/$target" >"$log" 2>&1; then
        sed -n 's/^stat::number_of_executed_units: */  runs: /p; s/^stat::peak_rss_mb: */  peak MiB: /p' "$log"
    else
        failed=1
        tail -n 40 "$log"
        echo "FAILED: $target; run it again with: $CARGO_TARGET_DIR/$host/release/$target $(sed -n 's/.*Test unit written to //p' "$log")"
    fi
done
exit $failed
