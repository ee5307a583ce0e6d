#!/bin/bash
# Write the program and the libraries it needs to dist/braid-bundle/ and dist/braid-bundle.tar.xz, for machines where
# nothing is installed. docs/install.md says what the target must have.
#
#     launch/bundle.sh                  the cpu preset, built if needed
#     launch/bundle.sh --preset NAME    another preset
#     launch/bundle.sh --program PATH   a program that is built already
#     launch/bundle.sh --tests          the tests for a GPU too, as dist/braid-bundle-tests.tar.xz: unpacked in the same
#                                       place they add to the bundle's folder, in which launch/gpu_check.sh runs
#     launch/bundle.sh -o DIR           write to DIR instead of dist
#
# An earlier bundle is replaced when the new one is whole. Exit code 0 when done, 1 when the bundle cannot be made, 2 on
# wrong usage.
set -euo pipefail

source_root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
max_bytes=40000000
max_test_bytes=55000000
# They use networks whose drivers a bare machine lacks, or serve OpenSHMEM, MPI-IO and monitoring, which Braid does not.
unused='_(ofi|openib|ucx|psm|psm2|monitoring)\.so$|mca_(atomic|memheap|scoll|spml|sshmem|io|fs|fbtl|fcoll|sharedfp)_'

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | head -n -1 >&2
    exit 2
}

fail() {
    echo "bundle.sh: $*" >&2
    exit 1
}

preset=cpu program="" out="$source_root/dist" with_tests=false
while (($#)); do
    case "$1" in
        --preset | --program | -o) (($# > 1)) || usage ;;&
        --preset) preset=$2 ;;
        --program) program=$2 ;;
        -o) out=$2 ;;
        --tests) with_tests=true && shift && continue ;;
        *) usage ;;
    esac
    shift 2
done

# of_glibc NAME: the C library's own parts, which must match the target's kernel and loader.
of_glibc() {
    case "$1" in
        ld-linux*.so* | linux-vdso.so* | lib[cm].so.6 | libmvec.so*) return 0 ;;
        libpthread.so* | libdl.so* | librt.so* | libutil.so* | libresolv.so* | libanl.so*) return 0 ;;
    esac
    return 1
}

# of_gpu NAME: what the target has for its GPUs.
of_gpu() {
    case "$1" in
        libcuda.so* | libcublas*.so* | libcudnn*.so* | libnccl.so* | libnv*.so*) return 0 ;;
    esac
    return 1
}

# list_libraries FILE...: `NAME PATH` of each library to bundle.
list_libraries() {
    local file name arrow path rest
    for file; do
        while read -r name arrow path rest; do
            name=${name##*/}
            if of_glibc "$name" || of_gpu "$name"; then continue; fi
            [[ "$arrow" == "=>" ]] || continue
            [[ "$path" == /* ]] || fail "$name, which $file needs, is not found on this machine"
            echo "$name $path"
        done < <(ldd "$file")
    done
}

# copy_licence NAME PATH: the terms of the package that a file comes from.
copy_licence() {
    local name=$1 real package
    if [[ "$name" == libcudart.so* ]]; then # no package's
        echo "$name: https://docs.nvidia.com/cuda/eula" > "$bundle/licenses/cuda-runtime"
        return
    fi
    real=$(readlink -f "$2")
    # Packages list files under /lib or /usr/lib, which are one folder.
    package=$(dpkg-query -S "$real" "${real#/usr}" 2> /dev/null | head -n 1 | cut -d: -f1) || true
    [[ -n "$package" && -f "/usr/share/doc/$package/copyright" ]] || fail "$name: the licence of $real is not found"
    cp -L "/usr/share/doc/$package/copyright" "$bundle/licenses/$package"
}

copy_programs() {
    local name
    install -m 755 "$program" "$bundle/libexec/braid"
    install -m 755 "$(readlink -f "$(command -v mpirun)")" "$bundle/libexec/mpirun"
    install -m 755 "$(readlink -f "$(command -v orted)")" "$bundle/libexec/orted"
    for name in braid mpirun orted; do
        install -m 755 "$source_root/launch/bundle/run.sh" "$bundle/bin/$name"
    done
    install -m 755 "$source_root/launch/braid-mpirun" "$bundle/bin/braid-mpirun"
    install -m 755 "$source_root/launch/env.sh" "$source_root/launch/mpirun_errors.sh" "$bundle/launch/"
    if [[ -f "${program%/*}/loopback.so" ]]; then
        install -m 755 "${program%/*}/loopback.so" "$bundle/lib/loopback.so"
    fi
}

# open_mpi_path WHAT: where the installed Open MPI keeps it.
open_mpi_path() {
    ompi_info --path "$1" --parsable | sed -n "s/^path:$1://p" | head -n 1
}

copy_libraries() {
    local components pmix name path
    components=$(open_mpi_path pkglibdir)
    pmix=$(ldd "$components/mca_pmix_ext3x.so" | sed -n 's/^\tlibpmix.so.2 => \([^ ]*\).*/\1/p')
    [[ -n "$pmix" ]] || fail "libpmix.so.2 is not found on this machine"
    find "$components" -name 'mca_*.so' | grep -Ev "$unused" | xargs -I{} cp -L {} "$bundle/lib/openmpi/"
    pmix=$(dirname "$(readlink -f "$pmix")")
    cp -L "$pmix"/pmix/*.so "$bundle/lib/pmix/" 2> /dev/null ||
        cp -L "${pmix%/pmix2/lib}"/pmix2/lib/pmix/*.so "$bundle/lib/pmix/"
    cp -L "$(open_mpi_path sysconfdir)/openmpi-mca-params.conf" "$bundle/etc/openmpi/"
    cp -L "$(open_mpi_path pkgdatadir)"/help-*.txt "$bundle/share/openmpi/"
    cp -L "${pmix%/pmix2/lib}"/pmix2/share/pmix/help-*.txt "$bundle/share/pmix/" 2> /dev/null || true
    list_libraries "$program" "$bundle"/libexec/{mpirun,orted} "$bundle"/lib/openmpi/*.so "$bundle"/lib/pmix/*.so |
        sort -u > "$work/libraries"
    while read -r name path; do
        [[ -e "$bundle/lib/$name" ]] && continue
        cp -L "$path" "$bundle/lib/$name"
        copy_licence "$name" "$path"
    done < "$work/libraries"
    copy_licence mpirun "$(command -v mpirun)"
    # Libraries that are headers only.
    for name in nlohmann-json3-dev libcli11-dev; do
        cp -L "/usr/share/doc/$name/copyright" "$bundle/licenses/$name"
    done
}

# relocate FOLDER: the programs and libraries of a folder find each other wherever it lies. Stripped first: strip may
# damage what patchelf has moved. DT_RPATH of the programs serves all that they load, unless a library has a path of its
# own, and a LD_LIBRARY_PATH of the target's modules cannot put another Open MPI before ours.
relocate() {
    local file
    find "$1"/lib "$1"/libexec -type f -exec chmod u+w {} + -exec strip --strip-unneeded {} +
    find "$1"/lib -type f -exec patchelf --remove-rpath {} +
    for file in "$1"/libexec/*; do
        # shellcheck disable=SC2016
        patchelf --force-rpath --set-rpath '$ORIGIN/../lib:/usr/local/cuda/lib64:/usr/local/cuda/lib' "$file"
    done
}

# copy_tests: what launch/gpu_check.sh runs and the bundle lacks, to $tests.
copy_tests() {
    local name path script
    for path in "${test_programs[@]}"; do
        name=${path##*/}
        install -m 755 "$path" "$tests/libexec/$name"
        install -m 755 "$source_root/launch/bundle/run.sh" "$tests/bin/$name"
    done
    list_libraries "${test_programs[@]}" | sort -u > "$work/libraries"
    while read -r name path; do
        [[ -e "$bundle/lib/$name" || -e "$tests/lib/$name" ]] || cp -L "$path" "$tests/lib/$name"
    done < "$work/libraries"
    cp -L /usr/share/doc/libgtest-dev/copyright "$tests/licenses/libgtest-dev"
    grep -lE '^# ctest: labels=(.*,)?gpu(,| )' "$source_root"/tests/{e2e,faults}/*_test.py | while read -r script; do
        install -D -m 644 "$script" "$tests/${script#"$source_root/"}"
    done
    cp "$source_root"/tests/support/*.py "$tests/tests/support/"
    install -D -m 644 "$source_root/tests/ops/host_cases.txt" "$tests/tests/ops/host_cases.txt"
    install -m 755 "$source_root"/launch/gpu_check* "$tests/launch/"
}

# write_archive FOLDER ARCHIVE LIMIT: of the folder's braid-bundle, for all users of the target, whatever the umask here
# and when the tree was fetched.
write_archive() {
    local size
    chmod -R u=rwX,go=rX "$1/braid-bundle"
    tar -C "$1" --owner=0 --group=0 --sort=name -cf - braid-bundle | xz -3 -T0 > "$work/$2"
    size=$(stat -c %s "$work/$2")
    ((size <= $3)) || fail "$2 takes $size bytes, at most $3 are allowed"
}

write_version() {
    local glibc
    glibc=$(find "$bundle"/lib "$bundle"/libexec -type f -exec objdump -T {} + 2> /dev/null |
        grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -n 1)
    {
        "$program" --version || fail "$program does not run on this machine"
        echo "preset: $preset"
        echo "needs: glibc ${glibc#GLIBC_} or newer, x86-64 with AVX2"
    } > "$bundle/VERSION"
}

cd "$source_root"
if [[ -z "$program" ]]; then
    program="$source_root/build/$preset/braid"
    targets=(braid)
    [[ $with_tests == true ]] && targets+=(test_ops test_optim test_distributed bench_gpu_kernels)
    cmake --preset "$preset" > /dev/null && cmake --build --preset "$preset" --target "${targets[@]}" > /dev/null ||
        fail "preset $preset cannot be built; cmake --build --preset $preset says why"
fi
cd "$OLDPWD"
if [[ ! -f "$program" || ! -x "$program" ]]; then
    echo "bundle.sh: $program is not built; cmake --preset cpu && cmake --build --preset cpu does it" >&2
    exit 2
fi
program=$(readlink -f "$program")
test_programs=()
if [[ $with_tests == true ]]; then
    for name in tests/test_ops tests/test_optim tests/test_distributed bench/bench_gpu_kernels; do
        [[ -x "${program%/*}/$name" ]] || fail "--tests: ${program%/*}/$name is not built; it is with the preset cuda"
        test_programs+=("${program%/*}/$name")
    done
fi
command -v patchelf > /dev/null && command -v xz > /dev/null && command -v mpirun > /dev/null ||
    fail "patchelf, xz or Open MPI is missing; run launch/install_deps.sh"
ldd "$program" | grep 'libmpi\.so' > /dev/null || fail "$program is built without MPI; bundle one that is built with it"

mkdir -p "$out"
out=$(CDPATH='' cd "$out" && pwd)
[[ ! -e "$out/braid-bundle" || -f "$out/braid-bundle/VERSION" ]] ||
    fail "$out/braid-bundle is not a bundle, and is kept"
work=$(mktemp -d "$out/.bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
bundle="$work/braid-bundle"
mkdir -p "$bundle"/{bin,libexec,launch,lib/openmpi,lib/pmix,share/openmpi,share/pmix,etc/openmpi,licenses,docs}
copy_programs
copy_libraries
relocate "$bundle"
cp -r "$source_root/configs" "$bundle/configs"
cp "$source_root"/docs/*.md "$bundle/docs/"
cp "$source_root/launch/bundle/README.txt" "$source_root/LICENSE" "$bundle/"
write_version
chmod 755 "$work"
write_archive "$work" braid-bundle.tar.xz "$max_bytes"
archives=(braid-bundle.tar.xz)
if [[ $with_tests == true ]]; then
    tests="$work/tests/braid-bundle"
    mkdir -p "$tests"/{bin,libexec,launch,lib,licenses,tests/support}
    copy_tests
    relocate "$tests"
    write_archive "$work/tests" braid-bundle-tests.tar.xz "$max_test_bytes"
    archives+=(braid-bundle-tests.tar.xz)
fi
[[ ! -e "$out/braid-bundle" ]] || mv "$out/braid-bundle" "$work/replaced"
mv "$bundle" "$out/braid-bundle"
for name in "${archives[@]}"; do
    mv -f "$work/$name" "$out/$name"
    echo "$out/$name: $(($(stat -c %s "$out/$name") / 1000000)) MB"
done
