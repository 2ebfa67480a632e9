# bash completion of tollgate
_tollgate() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    case $COMP_CWORD:${COMP_WORDS[1]}:$before in
    1:*) mapfile -t COMPREPLY < <(compgen -W "run check haproxy version" -- "$word") ;;
    *:*:--config | 2:check:*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    *:haproxy:--out) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    *:run:*) mapfile -t COMPREPLY < <(compgen -W "--config" -- "$word") ;;
    *:haproxy:*) mapfile -t COMPREPLY < <(compgen -W "--config --out" -- "$word") ;;
    esac
}
complete -F _tollgate tollgate
