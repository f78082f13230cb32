# To try the stack out by hand, in bash, from the checkout: `. docs/try.sh`
#
#   person ada CREATOR        makes the id $ada, and the command `ada`, which calls the gateway with her access token
#   ada POST /sessions BODY   shows the status and the answer
#   … | made                  shows it as well, and keeps the first id in it: x=$(ada POST … | made)
#   eventually TEXT COMMAND…  repeats the command until its answer has the text; 3 minutes at most

stack() { # a part of `devstack status --json`: stack '["gateway"]'
    local status
    status=$(.venv/bin/devstack status --json) && .venv/bin/python -c "import json, sys; print(json.loads(sys.argv[1])$1)" "$status"
}
gateway=$(stack '["gateway"]')

person() { # NAME [SCOPE]
    printf -v "$1" %s "$(openssl rand -hex 12)"
    local token
    token=$(.venv/bin/devstack token --user "${!1}" ${2:+--scope "$2"})
    eval "$1() { call '$token' \"\$@\"; }"
}

call() { # TOKEN METHOD PATH [BODY]
    local answer
    answer=$(curl --silent --show-error --noproxy '*' --write-out '\n%{http_code}' --request "$2" "$gateway$3" \
        --header "Authorization: Bearer $1" --header 'Content-Type: application/json' ${4:+--data "$4"})
    echo "${answer##*$'\n'} ${answer%$'\n'*}"
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
        sleep 0.3
    done
    echo "$answer"
}
