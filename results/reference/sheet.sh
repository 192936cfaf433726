#!/bin/bash
# The capacity sheet of a fresh Prosody or ejabberd, as Debian packages them:
#
#	results/reference/sheet.sh prosody|ejabberd BUDGET OUT [options of run]
#
# It needs root, since accounts are made in the server's own files, openssl, the packages
# that make interop-install installs, and bin/xmppbench, or what XMPPBENCH names. The
# server runs in a folder of its own on a loopback address, and is gone afterwards.
set -eu
[ $# -ge 3 ] || { sed -n '2,9s/^# \?//p' "$0" >&2; exit 2; }
kind=$1 budget=$2 out=$3
shift 3
xmppbench=$(realpath "${XMPPBENCH:-$(dirname "$0")/../../bin/xmppbench}")
host=127.77.0.1 domain=xmpp.test
dir=$(mktemp -d)
server=

cleanup() {
	if [ -n "$server" ]; then
		kill "$(cat "$dir/$kind.pid" 2>/dev/null || echo "$server")" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# An authority, and a certificate of the domain.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=sheet -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$domain" -keyout "$dir/key.pem" -out "$dir/request.pem" 2>/dev/null
printf 'subjectAltName=DNS:%s\n' "$domain" > "$dir/extensions"
openssl x509 -req -in "$dir/request.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 30 -extfile "$dir/extensions" -out "$dir/certificate.pem" 2>/dev/null
cat "$dir/certificate.pem" "$dir/key.pem" > "$dir/server.pem"

prosody() {
	cat > "$dir/prosody.cfg.lua" <<C
pidfile = "$dir/prosody.pid"
data_path = "$dir/data"
admin_socket = "$dir/prosody.sock"
log = { info = "$dir/server.log" }
network_backend = "epoll"
network_settings = { tcp_backlog = 4096; }
interfaces = { "$host" }
c2s_ports = { 5222 }
s2s_ports = { }
c2s_direct_tls_ports = { }
s2s_direct_tls_ports = { }
use_ipv6 = false
statistics = "internal"
statistics_interval = "manual"
http_interfaces = { "$host" }
http_ports = { 5280 }
https_ports = { }
openmetrics_allow_cidr = "127.0.0.0/8"
modules_enabled = { "roster"; "saslauth"; "tls"; "disco"; "ping"; "posix"; "presence"; "message"; "iq"; "admin_socket"; "smacks"; "http_openmetrics"; "version" }
authentication = "internal_hashed"
storage = "internal"
c2s_require_encryption = true
limits = { }
ssl = { key = "$dir/key.pem"; certificate = "$dir/certificate.pem"; cafile = "$dir/ca.pem"; }
certificates = "$dir/none"
VirtualHost "$domain"
C
	mkdir "$dir/data"
	observe="metrics: 'http://$host:5280/metrics'"
	provision="data: $dir/data, hash: SHA-1"
	start=(prosody --config "$dir/prosody.cfg.lua" -F)
}

ejabberd() {
	cat > "$dir/ejabberd.yml" <<C
loglevel: info
hosts: [$domain]
certfiles: ["$dir/server.pem"]
ca_file: "$dir/ca.pem"
listen:
  - {port: 5222, ip: "$host", module: ejabberd_c2s, max_stanza_size: infinity, shaper: none, access: all, starttls: true, starttls_required: true, backlog: 4096}
  - {port: 5280, ip: "$host", module: ejabberd_http, request_handlers: {/api: mod_http_api}}
auth_method: sql
auth_password_format: scram
auth_use_cache: true
disable_sasl_mechanisms: [digest-md5, X-OAUTH2]
default_db: sql
acl: {loopback: {ip: [127.0.0.0/8]}}
api_permissions:
  "console": {from: [ejabberd_ctl], who: all, what: "*"}
  "loopback": {from: [mod_http_api], who: {access: {allow: {acl: loopback}}}, what: "*"}
modules:
  mod_admin_extra: {}
  mod_disco: {}
  mod_ping: {}
  mod_version: {}
  mod_stream_mgmt: {resend_on_timeout: if_offline}
  mod_roster: {versioning: true}
host_config:
  "$domain": {sql_type: sqlite, sql_database: "$dir/$domain.db"}
C
	printf '#!/bin/sh\nexec setpriv --pdeathsig TERM /usr/bin/erl "$@"\n' > "$dir/erl"
	chmod 755 "$dir/erl"
	cat > "$dir/ejabberdctl.cfg" <<C
ERLANG_NODE=sheet@localhost
ERL_DIST_PORT=25222
ERL_MAX_PORTS=65536
ERL_PROCESSES=500000
INET_DIST_INTERFACE=127.0.0.1
EJABBERD_PID_PATH=$dir/ejabberd.pid
ERL=$dir/erl
C
	printf '{lookup,["file","native"]}.\n{host,{127,0,0,1},["localhost"]}.\n' > "$dir/inetrc"
	mkdir "$dir/spool" "$dir/log"
	observe="api: 'http://$host:5280/api'"
	provision="database: '$dir/{domain}.db', schema: /usr/share/ejabberd/sql/lite.sql, hash: SHA-1, iterations: 4096"
	start=(ejabberdctl --config-dir "$dir" --ctl-config "$dir/ejabberdctl.cfg" --logs "$dir/log" --spool "$dir/spool" foreground)
}

case $kind in prosody | ejabberd) "$kind" ;; *) echo "$kind is not known: prosody or ejabberd" >&2; exit 2 ;; esac
chown -R "$kind:$kind" "$dir"
chmod 755 "$dir"
cat > "$dir/$kind.yaml" <<C
server: $kind
domains: [$domain]
connect: {host: $host, port: 5222, ca: ca.pem}
observe: {pid-file: $kind.pid, $observe}
provision: {ledger: ledger.jsonl, owner: $kind, $provision}
C
"$xmppbench" provision capacity-sheet --target "$dir/$kind.yaml"
# As the server's own user, with all descriptors.
(cd "$dir" && export HOME="$dir" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 && ulimit -n "$(ulimit -Hn)" &&
	exec setpriv --reuid "$kind" --regid "$kind" --clear-groups --pdeathsig TERM "${start[@]}") > "$dir/console" 2>&1 &
server=$!
for ((i = 0; ; i++)); do
	[ -s "$dir/$kind.pid" ] && (exec 3<> "/dev/tcp/$host/5222") 2>/dev/null && break
	if [ "$i" -ge 1800 ] || ! kill -0 "$server" 2>/dev/null; then
		echo "$kind is not there:" >&2
		cat "$dir/console" >&2
		exit 3
	fi
	sleep 0.1
done
"$xmppbench" run capacity-sheet --target "$dir/$kind.yaml" --set "budget=$budget" --set login.sasl=auto --out "$out" "$@"
