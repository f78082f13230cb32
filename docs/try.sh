# To try the stack out by hand, in bash, from the checkout: `. docs/try.sh`
#
#   person ada CREATOR        makes the id $ada, and the command `ada`: `devstack call` with her access token
#   ada POST /sessions BODY   shows the status and the answer
#   … | made                  shows it as well, and keeps the first id in it: x=$(ada POST … | made)
#   eventually TEXT COMMAND…  repeats the command until its answer has the text; 3 minutes at most

person() { # NAME [SCOPE]
    printf -v "$1" %s "$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"
    eval "$1() { .venv/bin/devstack call --user ${!1} ${2:+--scope $2} \"\$@\"; }"
}

made() {
    local answer
    answer=$(cat)
    echo "$answer" >&2
    grep -oE '[0-9a-f]{24}' <<<"$answer" | head -n 1
}

eventually() {
    local text=$1 answer deadline=$((SECONDS + 180))
    shift
    until answer=$("$@") && grep -qF -e "$text" <<<"$answer"; do
        if ((SECONDS > deadline)); then
            echo "not seen in 3 minutes: $text; seen: $answer" >&2
            return 1
        fi
        sleep 0.2
    done
    echo "$answer"
}
