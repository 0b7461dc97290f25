#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs a command on a host of its own: a real systemd as PID 1, on a copy-on-write image of this root in memory, in
# namespaces of its own (only loopback). Nothing that it installs or writes is left behind. Needs root.
#
#   own_systemd.sh SECONDS COMMAND [ARGUMENT...]
#
# Standard output and error of the command come out here; its exit status is ours; 124 when the time was over.

set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# The second stage: inside the new namespaces. $HOST is the new root, $LINK a directory shared with the outside.
if [ "${OWN_SYSTEMD_STAGE-}" = inside ]; then
	mount --make-rprivate /
	mount -t tmpfs -o size=3g,mode=755 none "$HOST"
	mkdir "$HOST/changes" "$HOST/scratch" "$HOST/root"
	mount -t overlay none -o "lowerdir=/,upperdir=$HOST/changes,workdir=$HOST/scratch" "$HOST/root"
	cd "$HOST/root"
	mount -t proc none proc
	mount -t sysfs none sys 2>/dev/null || mount --rbind /sys sys
	mount -t cgroup2 none sys/fs/cgroup
	mount --rbind /dev dev
	mount -t tmpfs -o mode=755 none run
	mkdir run/link
	mount --bind "$LINK" run/link
	ip link set lo up
	# Of this machine's own services none shall start, and /tmp keeps what is in it.
	rm -rf etc/systemd/system/*.wants
	ln -sfn /dev/null etc/systemd/system/systemd-tmpfiles-clean.timer
	mkdir -p etc/tmpfiles.d run/systemd/system
	ln -sfn /dev/null etc/tmpfiles.d/tmp.conf
	cat >run/systemd/system/command.service <<-UNIT
		[Unit]
		Wants=systemd-journald.service dbus.service
		After=systemd-journald.service dbus.service
		[Service]
		Type=oneshot
		TimeoutStartSec=infinity
		ExecStart=/bin/bash /run/link/command
	UNIT
	printf '[Unit]\nWants=command.service\n' >run/systemd/system/host.target
	mkdir -p before
	pivot_root . before
	cd /
	umount -l before
	mount --make-rshared / # else credentials, which systemd mounts in a child, are seen by nobody
	unset OWN_SYSTEMD_STAGE
	export container=portbell-test
	exec /lib/systemd/systemd --system --unit=host.target --show-status=no --log-target=console
fi

seconds=$1
shift
work=$(mktemp -d /var/tmp/own-systemd.XXXXXX)
mkdir "$work/host" "$work/link"
: >"$work/link/out"
{
	printf 'cd %q\n' "$PWD"
	env -0 | while IFS= read -r -d '' variable; do
		case $variable in
		PATH=* | HOME=* | LANG=* | PORTBELL_* | *SAN_OPTIONS=*) printf 'export %q\n' "$variable" ;;
		esac
	done
	printf '%q ' "$@"
	printf '>/run/link/out 2>&1\necho $? >/run/link/status.new; mv /run/link/status.new /run/link/status\n'
} >"$work/link/command"

pid=
finish() {
	status=$?
	trap - EXIT
	if [ -n "$pid" ]; then
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM
OWN_SYSTEMD_STAGE=inside HOST=$work/host LINK=$work/link \
	unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup --mount-proc "$0" 0 inside \
	</dev/null >"$work/console" 2>&1 &
pid=$!
shown=0
end=$((SECONDS + seconds))
while [ ! -e "$work/link/status" ] && kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$end" ]; do
	sleep 0.2
	size=$(stat -c %s "$work/link/out")
	if [ "$size" -gt "$shown" ]; then
		tail -c +$((shown + 1)) "$work/link/out" | head -c $((size - shown))
		shown=$size
	fi
done
tail -c +$((shown + 1)) "$work/link/out"
if [ ! -e "$work/link/status" ]; then
	echo "own_systemd: no result; the console's last words:" >&2
	tail -n 20 "$work/console" >&2
	exit 124
fi
exit "$(cat "$work/link/status")"
