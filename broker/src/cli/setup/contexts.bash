
# Where a context is wanted its names are asked for: behind --context, and behind `context use`, `show` and `remove`.
_sealstream_or_contexts() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="$3" words=() word
    # Bash makes three words of --context=NAME.
    if [[ "$cur" == "=" ]]; then
        cur=""
    elif [[ "$prev" == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        [[ "$word" == -* ]] || words+=("$word")
    done
    case "$prev,${words[*]}" in
        --context,* | *,"context use" | *,"context show" | *,"context remove")
            if [[ "$cur" != -* ]]; then
                COMPREPLY=( $(compgen -W "$(sealstream context list --names 2>/dev/null)" -- "$cur") )
                # No name is no file's.
                [[ "${BASH_VERSINFO[0]}" -lt 4 ]] || compopt +o default +o bashdefault 2>/dev/null
                return 0
            fi
            ;;
    esac
    _sealstream "$@"
}
