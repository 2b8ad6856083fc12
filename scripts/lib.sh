# shellcheck shell=bash
#
# What the scripts share: source it, never run it.
#
# What must stay true:
#   * stdout is data (a path, say) for whoever called; people are told on stderr.
#   * a slow step announces itself in one line before it starts, its noise is
#     kept in a log, and the log is shown only when the step fails.
#   * every failure says what failed and what to do about it.
#   * nothing is fetched but through apt, pip, npm and cargo, as configured on
#     this machine, and nothing the user has installed is removed.

set -euo pipefail

ME=$(basename "$0")
# A service manager may start us without one: then the user database says.
[ -n "${HOME:-}" ] || export HOME=~
# shellcheck disable=SC2034 # used by the scripts that source this file
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What a script builds or fetches once, for every clone of this user. It may be
# deleted at any time: the next run makes it again.
# shellcheck disable=SC2034 # used by the scripts that source this file
CACHE=${PLANCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/planck}

# say TEXT...: one line of progress.
say() {
    printf '%s: %s\n' "$ME" "$*" >&2
}

# die WHAT_FAILED [WHAT_TO_DO]: the end, with a way out.
die() {
    printf '%s: error: %s\n' "$ME" "$1" >&2
    [ -z "${2:-}" ] || printf '%s:   to do: %s\n' "$ME" "$2" >&2
    exit 1
}

# usage_from FILE: prints the comment block at the top of FILE, which is its manual.
usage_from() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$1"
}

# What this run must leave nothing of, however it ends.
LEFTOVERS=()
trap 'rm -rf -- ${LEFTOVERS[@]+"${LEFTOVERS[@]}"}' EXIT

# A directory of this run alone.
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/planck-$ME.XXXXXX") ||
    die "no temporary directory could be made" "free some space in ${TMPDIR:-/tmp}, or set TMPDIR"
LEFTOVERS+=("$SCRATCH")

# quietly COMMAND...: runs it with its output in a log; shows the log's end if
# the command fails, and returns its status.
quietly() {
    local log=$SCRATCH/log status=0
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" | sed 's/^/    /' >&2
    fi
    return "$status"
}

# seconds_since START: START as $EPOCHREALTIME gave it; one decimal.
seconds_since() {
    # The fraction's separator follows the locale: both numbers have six decimals.
    local from=${1//[.,]/} to=${EPOCHREALTIME//[.,]/}
    local tenths=$(((to - from) / 100000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# has_apt PKG: is the Debian package installed?
has_apt() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need_apt WHY PKG...: installs those Debian packages that are missing.
need_apt() {
    local why=$1 missing=() pkg start
    shift
    for pkg in "$@"; do
        has_apt "$pkg" || missing+=("$pkg")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    local command="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null ||
        die "$why needs ${missing[*]}, and this machine has no apt-get" \
            "install what these Debian packages hold with this system's own package manager"
    [ "$(id -u)" -eq 0 ] ||
        die "$why needs packages that are not installed: ${missing[*]}" \
            "as root, run: $command"

    say "installing ${missing[*]} (Debian, once) ..."
    start=$EPOCHREALTIME
    # One source that does not answer must not stop us: installing tells.
    if [ -z "${APT_UPDATED:-}" ]; then
        quietly apt-get update -q -o DPkg::Lock::Timeout=300 ||
            say "apt-get update reported a problem; going on with the package lists at hand"
        APT_UPDATED=1
    fi
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -q -y \
        --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 "${missing[@]}" ||
        die "apt could not install ${missing[*]}, which $why needs (its last lines are above)" \
            "see that apt's sources are reachable and hold these packages, then run: $command"
    say "installed in $(seconds_since "$start") s"
}
