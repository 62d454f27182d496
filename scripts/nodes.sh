# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of scripts/run
# scripts/run --nodes N: an object store, N nodes with an nginx each, and an nginx before them. Sourced
# by scripts/run, whose variables and functions it uses.

# next_port sets port to the next one after it on which nobody listens.
next_port() {
	port=$((port + 1))
	while ! free; do port=$((port + 1)); done
}

# wait_for waits until a path is answered with 200, or anything if there is no path.
wait_for() {
	local line
	for _ in $(seq 100); do
		line=$(answer "${1:-/}") || line=
		[[ -z ${1:-} && -n $line || $line == *" 200 "* ]] && return
		for pid in "${pids[@]}"; do
			kill -0 "$pid" 2>/dev/null || die "it did not start: see above"
		done
		sleep 0.1
	done
	die "nothing answers on $host:$port after ten seconds: see above"
}

# start_store starts versitygw, whose objects are files in var/objects, on the next port.
start_store() {
	next_port
	for key in access secret; do
		[ -s "$var/s3.$key" ] || (umask 077 && head -c 15 /dev/urandom | base64 | tr +/ ab >"$var/s3.$key")
	done
	mkdir -p "$var/objects/images" "$var/versions"
	ROOT_ACCESS_KEY=$(cat "$var/s3.access") ROOT_SECRET_KEY=$(cat "$var/s3.secret") \
		"$VERSITYGW" --port "$host:$port" --health /health --quiet posix "$var/objects" >"$var/objects.log" 2>&1 9>&- &
	pids+=($!)
	wait_for /health
	export IMGKEEP_SHARED_ENDPOINT=http://$host:$port IMGKEEP_SHARED_BUCKET=images IMGKEEP_SHARED_PATH_STYLE=true
	export IMGKEEP_SHARED_ACCESS_KEY_FILE=$var/s3.access IMGKEEP_SHARED_SECRET_KEY_FILE=$var/s3.secret
}

# start_nginx starts nginx with the configuration in a folder.
start_nginx() {
	PATH=$PATH:/usr/sbin nginx -p "$1" -c "$1/nginx.conf" -e "$1/error.log" 9>&- &
	pids+=($!)
}

# start_node starts a node in a folder of its own, and an nginx before it on the next port.
start_node() {
	local folder=$var/node$1 user=()
	next_port
	mkdir -p "$folder/nginx"
	[ "$(id -u)" -ne 0 ] || user=(--user "$(stat -c %U .)")
	export IMGKEEP_ROOT=$folder/store IMGKEEP_HANDOFF=nginx IMGKEEP_LISTEN=unix:$folder/http.sock IMGKEEP_NGINX_LISTEN=$host:$port
	export IMGKEEP_NGINX_HOT=${shm:-$var}/hot$1 IMGKEEP_NGINX_ACCESS_LOG=$folder/nginx/access.log
	"$bin/imgkeep" nginx --prefix "$folder/nginx" "${user[@]}" >"$folder/nginx/nginx.conf"
	(umask 077 && declare -px "${!IMGKEEP_@}" >"$var/env$1")
	"$bin/imgkeep" serve 9>&- &
	pids+=($!)
	start_nginx "$folder/nginx"
	wait_for /readyz
	addresses+=("$host:$port")
}

# start_balancer starts nginx before the nodes, by the example in nginx/balancer.conf.
start_balancer() {
	local folder=$var/balancer servers='' a
	mkdir -p "$folder/tmp"
	for a in "${addresses[@]}"; do
		servers+="    server $a max_fails=2 fail_timeout=5s;\n"
	done
	{
		printf 'daemon off; worker_processes 1; pid %s/nginx.pid; error_log %s/error.log;\nevents {}\nhttp {\n' "$folder" "$folder"
		for a in client_body proxy fastcgi uwsgi scgi; do
			printf '%s_temp_path %s/tmp/%s;\n' "$a" "$folder" "$a"
		done
		sed -e "0,/^ *server 192/s/^ *server 192.*/$servers/" -e '/^ *server 192/d' -e "s/listen 8080;/listen $address;/" nginx/balancer.conf
		echo '}'
	} >"$folder/nginx.conf"
	start_nginx "$folder"
	host=${address%:*} port=${address##*:}
	wait_for /readyz
}

# run_nodes starts all of it, and prints links.
run_nodes() {
	local n addresses=() image=local:///evening.jpg a
	shm=
	if [ -k /dev/shm ] && [ -w /dev/shm ]; then
		shm=$(mktemp -d /dev/shm/imgkeep-XXXXXXXXXX)
		chmod 711 "$shm"
	fi
	export IMGKEEP_BASE_URL=${IMGKEEP_BASE_URL:-$base}
	start_store
	for n in $(seq "$nodes"); do start_node "$n"; done
	cp "$var/env1" "$var/env" # which the other forms of scripts/run leave too
	start_balancer
	printf '\nimgkeep is ready, as %s nodes on one object store. A picture of the project'"'"'s own:\n\n' "$nodes"
	printf '  by the balancer  %s\n' "$("$bin/imgkeep" sign "$image")" "$("$bin/imgkeep" sign --size 250x250 "$image")"
	for n in $(seq "$nodes"); do
		a=http://${addresses[n - 1]}
		printf '  by node %s        %s\n' "$n" "$(IMGKEEP_BASE_URL=$a "$bin/imgkeep" sign "$image")" "$n" "$(IMGKEEP_BASE_URL=$a "$bin/imgkeep" sign --size 150x "$image")"
	done
	cat <<LINKS

What one node removes is gone at all, within seconds. In another shell:

  cd ${PWD@Q} && . ${var@Q}/env2      # node 2; env1 is node 1
  ${program} block IMAGE

Ctrl-C stops it.

LINKS
	wait -n "${pids[@]}"
}
