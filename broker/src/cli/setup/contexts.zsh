(( $+functions[_sealstream_contexts] )) ||
_sealstream_contexts() {
    local expl
    local -a names
    names=(${(f)"$(_call_program contexts sealstream context list --names 2>/dev/null)"})
    _wanted contexts expl context compadd "$@" -a names
}

