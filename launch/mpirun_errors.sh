# What braid-mpirun does with mpirun's standard error, which holds the ranks' words too: it passes on what says
# something, and learns from the rest how far the start is and whether the job can go on. Sourced by it.

dashes=$(printf '%.0s-' {1..74}) # that Open MPI frames its messages in
end_limit=15                     # seconds that mpirun gets to end a broken job; without trouble it needs three
hold=5                           # seconds that words wait which a lost host explains

emit() {
    [[ -z "$1" ]] || printf %s "$1" >&2
}

# Whether a line of mpirun's says only what the caller learns from the exit code anyway, or what went wrong while Open
# MPI told of a rank that had ended: of its memory, or of a help text that could not be passed on or came in pieces.
is_noise() {
    local about='help-(mpi-api|mpi-btl-tcp|orterun|mpirun)'
    [[ "$1" =~ ^mpirun:\ Forwarding\ signal\ [0-9]+\ to\ job$ ||
        "$1" =~ ^\[.*\]\ [0-9]+\ more\ process(es)?\ ha(s|ve)\ sent\ help\ message\ $about\.txt ||
        "$1" =~ ^\[.*\]\ Set\ MCA\ parameter\ \"orte_base_help_aggregate\"\ to\ 0\  ||
        "$1" =~ ^\[.*\]\ Read\ -1,\ expected\ [0-9]+,\ errno\ =\ 3$ ||
        "$1" =~ ^\[.*\]\ ORTE_ERROR_LOG:\ .*\ in\ file\ .*orte/util/show_help\.c\ at\ line\ [0-9]+$ ]]
}

# A message in its frame: those about a rank's exit are dropped, or become one line for a rank that a signal ended.
end_frame() {
    local signalled='process rank ([0-9]+) with PID [0-9]+ on[[:space:]]+node ([^[:space:]]+) exited on'
    signalled+='[[:space:]]+signal ([0-9]+)'
    local exited='Primary job  terminated normally|exited with non-zero status|MPI_ABORT was invoked'
    exited+='|mpirun has exited due to process rank'
    local lost='lost communication with a remote daemon.*Remote daemon:[^\n]* on node ([^[:space:]]+)'
    [[ ! "$frame" =~ $signalled|$exited ]] || rank_ended=1
    if [[ "$frame" == "$dashes"$'\n'"$dashes"$'\n' ]]; then # nothing between: the first line was a stray one
        emit "$dashes"$'\n'
        frame=$dashes$'\n' frame_lines=0
        return
    elif [[ "$frame" =~ $signalled ]]; then
        emit "braid-mpirun: rank ${BASH_REMATCH[1]} on ${BASH_REMATCH[2]} was ended by "
        emit "$(signal_name "${BASH_REMATCH[3]}")"$'\n'
    elif [[ "$frame" =~ $lost ]]; then
        lose_host "${BASH_REMATCH[1]}" "mpirun has no connection to it any more"
    elif [[ "$frame" == *"ORTE was unable to reliably start"* ]]; then
        # The agent's line, which names the host, may come after it.
        broken=1 start_fault=$frame
        end_within
    elif [[ "$frame" == *"Open MPI failed to TCP connect"* ]]; then
        hold_back "$frame"
    elif [[ ! "$frame" =~ $exited ]] && ((lost_hosts == 0)); then
        emit "$frame"
    fi
    frame=""
}

# filter_line LINE NEWLINE
filter_line() {
    local text=${1%$'\r'} max_frame_lines=60
    if [[ -n "$frame" ]]; then
        frame+=$1$2
        ((++frame_lines))
        if [[ "$text" == "$dashes" ]]; then
            end_frame
        elif ((frame_lines > max_frame_lines)); then # a program's own line of dashes
            emit "$frame"
            frame=""
        fi
    elif [[ "$text" == *"$dashes" ]]; then # a rank's last words may end in no newline
        emit "${text%"$dashes"}"
        frame=$dashes$2 frame_lines=0
    elif [[ "$text" =~ ^(.*)braid-launch:\ rank\ ([0-9]+)(\ in\ MPI)?$ ]]; then # after words without a newline
        emit "${BASH_REMATCH[1]}"
        [[ -n "${BASH_REMATCH[3]}" ]] && in_mpi[${BASH_REMATCH[2]}]=1 || ((++started))
    elif [[ "$text" == "braid-host: "* ]]; then
        take_host_report ${text#*: }
    elif [[ "$text" =~ ^\[.*\[.*/btl/tcp/btl_tcp ]]; then # what a lost host leads to, or a fault of its own
        hold_back "$1$2"
    elif [[ "$text" == *braid-end: ]]; then # the launcher's own
        end_within
    elif ! is_noise "$text"; then
        emit "$1$2"
        if [[ "$text" =~ ^braid:\ rank\ [0-9]+\ on\ [^\ ]+\ waited\ [0-9.]+\ s\ for\  ]]; then
            [[ "$text" != *"in MPI's start" ]] || name_missing
            end_within
        fi
    fi
}

# The ranks that have not even come to MPI's start, which those that wait in it cannot know.
name_missing() {
    local rank missing=""
    for ((rank = 0; rank < ranks; ++rank)); do
        [[ -n "${in_mpi[rank]:-}" ]] || missing+=", $rank"
    done
    [[ -z "$missing" ]] || emit "braid-mpirun: ranks that have not come to MPI's start: ${missing#, }"$'\n'
}

hold_back() {
    [[ -n "$held" ]] || held_since=$SECONDS
    held+=$1
}

emit_held() {
    emit "$held"
    held=""
}

# From here on mpirun has a while to end the job.
end_within() {
    ((end_left)) || end_left=$end_limit
}

# lose_host NAME REASON: the first word on it; what follows from it is not told.
lose_host() {
    ((lost_hosts++)) || emit "braid-mpirun: lost host $1: $2"$'\n'
    broken=1 held=""
    end_within
}

# take_host_report HOST asked|answered|ended [CODE]
take_host_report() {
    case "$2" in
        asked) silent_hosts+="$1 " ;;
        answered) silent_hosts=${silent_hosts/" $1 "/ } ;;
        ended)
            ((ended_here)) && return
            if [[ "$silent_hosts" == *" $1 "* ]]; then
                lose_host "$1" "it cannot be reached (the command that starts its daemon ended with $3)"
            else
                lose_host "$1" "its daemon, or the connection to it, ended with $3"
            fi
            ;;
    esac
}

# For each second that passes, but for those in which Ctrl-Z has stopped the job.
tick() {
    local passed=$((SECONDS - last_tick)) stat
    ((passed)) || return 0
    last_tick=$SECONDS
    { read -r stat < "/proc/$$/stat"; } 2> /dev/null && [[ "${stat##*) }" == T* ]] && return
    ((broken || held_since + hold > SECONDS)) || emit_held
    if ((start_left && started < ranks && end_left == 0)); then
        ((start_left = start_left > passed ? start_left - passed : 0))
        ((start_left)) || end_start
    elif ((end_left)); then
        ((end_left = end_left > passed ? end_left - passed : 0))
        ((end_left)) || end_here "mpirun has not ended the job within $end_limit s"
    fi
}

end_start() {
    local why="their hosts have answered, but not all of their daemons reached this one"
    ((started == 0)) || why="the others have"
    [[ "$silent_hosts" == " " ]] || why="no answer from:${silent_hosts% }"
    end_here "$((ranks - started)) of $ranks ranks have not started within $BRAID_START_SECONDS s; $why"
}

# end_here REASON: ends mpirun and all that it has started on this host.
end_here() {
    local file line parent above=("$pid") pids=" $pid "
    local -A below=()
    emit "braid-mpirun: $1; ended what runs on this host"$'\n'
    broken=1 ended_here=1
    for file in /proc/[0-9]*/stat; do
        { read -r line < "$file"; } 2> /dev/null || continue
        read -r _ parent _ <<< "${line##*) }"
        below[$parent]+="${line%% *} "
    done
    while ((${#above[@]})); do
        pids+="${below[${above[0]}]:-} "
        above=("${above[@]:1}" ${below[${above[0]}]:-})
    done
    kill -KILL $pids 2> /dev/null
}

launcher_has_ended() {
    local parent
    read -r _ _ _ parent _ < "/proc/$BASHPID/stat"
    [[ "$parent" != "$$" ]]
}

# Passes mpirun's stderr on, less the reports that only repeat the exit code; its first line is mpirun's process. Also
# ends mpirun, which ends its ranks, when the launcher has been killed, and all of them where mpirun does not come to an
# end. Returns 6 for a job that is broken.
filter_errors() {
    local LC_ALL=C line="" part status pid frame="" frame_lines=0 held="" silent_hosts=" " in_mpi=()
    local started=0 start_left=$BRAID_START_SECONDS end_left=0 last_tick=$SECONDS broken=0 lost_hosts=0 ended_here=0
    local held_since=0 start_fault="" rank_ended=0
    trap '' TERM INT HUP USR1 TSTP
    read -r pid
    while ((ended_here == 0)); do
        IFS= read -r -t 1 part
        status=$?
        line+=$part
        tick
        if ((status > 128)); then # nothing for a second
            launcher_has_ended && kill -TERM "$pid" 2> /dev/null && end_within
            # What may still become a line to look at waits for more; a second may end in the midst of one.
            if [[ -z "$part$frame" && "$dashes" != "$line"* && ! "$line" =~ ^(mpirun|braid|\[) ]]; then
                emit "$line"
                line=""
            fi
            continue
        fi
        ((status == 0)) && filter_line "$line" $'\n'
        ((status == 0)) || break
        line=""
    done
    [[ -z "$line" ]] || filter_line "$line" ""
    # Broken connections follow from the end of a rank, of which its code or signal tells.
    ((lost_hosts || rank_ended)) || emit "$held"
    ((lost_hosts)) || emit "$start_fault$frame"
    ((broken == 0)) || return 6
}
