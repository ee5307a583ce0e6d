#!/bin/sh
# Runs the program of this name in libexec/ with Open MPI, PMIx and hwloc looking for their parts in this bundle. It is
# bin/braid, bin/mpirun and bin/orted. No library path is set: the programs know their libraries, and ssh, which
# mpirun starts, must not get ours.
root=$(dirname "$(dirname "$(readlink -f "$0")")")

export OPAL_PREFIX="$root" OPAL_LIBDIR="$root/lib" OPAL_PKGLIBDIR="$root/lib/openmpi"
export OPAL_DATADIR="$root/share" OPAL_PKGDATADIR="$root/share/openmpi" OPAL_SYSCONFDIR="$root/etc/openmpi"
export PMIX_PREFIX="$root" PMIX_LIBDIR="$root/lib" PMIX_PKGLIBDIR="$root/lib/pmix"
export PMIX_DATADIR="$root/share" PMIX_PKGDATADIR="$root/share/pmix" PMIX_SYSCONFDIR="$root/etc/openmpi"
# There is none in the bundle; the target's plugins may be of another version.
export HWLOC_PLUGINS_PATH="$root/lib/hwloc"
# It complains where a bare root folder has no /sys, and does without.
export HWLOC_HIDE_ERRORS="${HWLOC_HIDE_ERRORS:-2}"
# Other hosts start their daemon through this script too.
export OMPI_MCA_orte_launch_agent="$root/bin/orted"
# A folder that a login script of another machine named would end every job at its start.
if [ -n "${TMPDIR:-}" ] && ! { [ -d "$TMPDIR" ] && [ -w "$TMPDIR" ]; }; then
    unset TMPDIR
fi

exec "$root/libexec/$(basename "$0")" "$@"
