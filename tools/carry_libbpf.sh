#!/bin/sh
# Collects the libraries that a wheel carries for the bpf driver, with their licences: libbpf and what it needs, but
# for the C library.
#
#     tools/carry_libbpf.sh FOLDER [SOURCE]
#
# FOLDER gets them, and CBPROCESS_CARRY_LIBBPF=FOLDER makes a build take them. SOURCE is a checkout of libbpf, which is
# built with the C compiler here (the wheels' pipeline does that, on the oldest system that a wheel is for); without it
# the system's libbpf.so.1 is taken. libbpf is under LGPL-2.1 or BSD-2-Clause, libelf under LGPL-3 or GPL-2, zlib under
# its own licence, zstd under BSD-3-Clause: they stay libraries of their own, which anybody may replace.
set -eu

PATH=$PATH:/usr/sbin:/sbin     # ldconfig
folder=${1:?a folder is missing}
source=${2:-}
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Installs what a build takes, in the containers of the pipeline.
install_packages() {
    ! command -v yum >/dev/null || yum -q -y install elfutils-libelf-devel zlib-devel
}

# found NAME: the path of a library of this system
found() {
    for path in $({ ldconfig -p || true; } 2>/dev/null | sed -n "s/^[[:space:]]*$1 .*x86-64.* => //p; s/^[[:space:]]*$1 .*AArch64.* => //p") \
        /lib64/"$1" /usr/lib64/"$1" /usr/lib/"$1" /lib/"$1"; do
        [ -e "$path" ] && echo "$path" && return
    done
}

# take_licence NAME FILE...: the first of these files that there is
take_licence() {
    subject=$1
    shift
    for file in "$@"; do
        if [ -s "$file" ]; then
            cp "$file" "$folder/LICENSE.$subject"
            chmod 644 "$folder/LICENSE.$subject"
            return
        fi
    done
    echo "the licence of $subject is not on this system" >&2
    exit 1
}

if [ -n "$source" ]; then
    install_packages
    make -s -C "$source/src" OBJDIR="$work/objects" DESTDIR="$work/root" PREFIX=/usr LIBDIR=/usr/lib install
    libbpf=$work/root/usr/lib/libbpf.so.1
else
    libbpf=$(found libbpf.so.1)
    [ -n "$libbpf" ] || { echo "this system has no libbpf.so.1" >&2; exit 1; }
fi
cp -L "$libbpf" "$folder/libbpf.so.1"
take_licence libbpf ${source:+"$source/LICENSE.BSD-2-Clause"} /usr/share/doc/libbpf1/copyright /usr/share/licenses/libbpf/LICENSE*

for name in libelf.so.1 libz.so.1 libzstd.so.1; do
    path=$(found "$name")
    [ -n "$path" ] || continue
    case $name in
    libelf*) take_licence libelf /usr/share/doc/libelf1*/copyright \
        /usr/share/licenses/elfutils-libelf*/COPYING-LGPLV3 /usr/share/doc/elfutils-libelf*/COPYING-LGPLV3 ;;
    libzstd*)
        # Only newer libelfs need it.
        grep -q libzstd "$folder/libelf.so.1" || continue
        take_licence libzstd /usr/share/doc/libzstd1/copyright /usr/share/licenses/zstd/LICENSE ;;
    *) take_licence zlib /usr/share/doc/zlib1g/copyright /usr/share/licenses/zlib*/* /usr/share/doc/zlib*/README ;;
    esac
    cp -L "$path" "$folder/$name"
done
chmod 644 "$folder"/lib*.so.*
ls -l "$folder"
