#!/usr/bin/env bash
# Signs the kernel driver for a test machine, and makes a package of it:
#
#     tools/sign_driver.sh DRIVER FOLDER [CERTIFICATE KEY]
#
# DRIVER is cbprocess.sys of a build. FOLDER gets the signed cbprocess.sys, its cbprocess.inf, the signed cbprocess.cat,
# cbprocess.cab with the three, and without a CERTIFICATE and KEY (PEM) a new certificate for tests: test.pem, test.key
# and test.cer. The last one is for the test machine, in an administrator's console:
#
#     bcdedit /set testsigning on
#     certutil -addstore Root test.cer
#     certutil -addstore TrustedPublisher test.cer
#
# and a restart. Windows takes such a driver in test mode alone; docs/production-signing.md has the other way.
#
# Needs osslsigncode (2.5 or later), openssl and python3. Verifies at the end what it has signed.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
work=

die() {
    printf 'sign_driver.sh: %s\n' "$1" >&2
    exit 1
}

make_certificate() {
    openssl req -x509 -newkey rsa:3072 -sha256 -nodes -days 365 -subj '/CN=cbprocess test signing' \
        -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=codeSigning -keyout "$1/test.key" -out "$1/test.pem" 2>/dev/null
    openssl x509 -in "$1/test.pem" -outform DER -out "$1/test.cer"
}

# sign FILE: in its place
sign() {
    osslsigncode sign -h sha256 -certs "$certificate" -key "$key" -n 'cbprocess kernel driver' -in "$1" \
        -out "$1.signed" >/dev/null
    mv "$1.signed" "$1"
}

main() {
    (($# == 2 || $# == 4)) || die 'which driver? tools/sign_driver.sh DRIVER FOLDER [CERTIFICATE KEY]'
    local driver=$1 folder=$2 program
    for program in openssl osslsigncode "$python"; do
        command -v "$program" >/dev/null || die "$program is missing"
    done
    mkdir -p "$folder"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if (($# == 4)); then
        certificate=$3 key=$4
    else
        make_certificate "$folder"
        certificate=$folder/test.pem key=$folder/test.key
    fi
    # The catalog lists the driver by a hash that leaves signatures out, but an .inf with all of its bytes.
    cp "$driver" "$work/cbprocess.sys"
    sign "$work/cbprocess.sys"
    "$python" "$tools/driver_package.py" make "$work/cbprocess.sys" "$folder"
    sign "$folder/cbprocess.cat"
    osslsigncode verify -CAfile "$certificate" -in "$folder/cbprocess.sys" >/dev/null || die 'the driver does not verify'
    osslsigncode verify -CAfile "$certificate" -catalog "$folder/cbprocess.cat" -in "$folder/cbprocess.sys" >/dev/null ||
        die 'the catalog does not verify'
    "$python" "$tools/driver_package.py" pack "$folder" "$folder/cbprocess.cab"
    printf '%s\n' "$folder/cbprocess.cab"
}

main "$@"
