# shellcheck shell=bash
# Sourced by scripts that work in a chroot below build/. They set $root and the array $mounts, and end with unmount_all.

inside() {
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		chroot "$root" "$@" </dev/null
}

# Files of this machine that the chroot needs to reach the mirror: names, proxies, authorities
share_network() {
	local certificates=/etc/ssl/certs/ca-certificates.crt
	cp /etc/resolv.conf /etc/hosts "$root/etc/"
	apt-config dump --format '%f "%v";%n' Acquire | grep -iE '^Acquire::https?::Proxy' \
		>"$root/etc/apt/apt.conf.d/90network" || true
	if [ -e "$certificates" ]; then
		cp "$certificates" "$root/etc/apt/network.crt"
		echo 'Acquire::https::CaInfo "/etc/apt/network.crt";' >>"$root/etc/apt/apt.conf.d/90network"
	fi
}

unpack_chroot() { # CODENAME
	mkdir "$root"
	tar -C "$root" -xf "build/chroot-$1.tar"
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service starts
	chmod 755 "$root" "$root/usr/sbin/policy-rc.d"
	share_network
}

mount_system() {
	mount -t proc proc "$root/proc" && mounts+=("$root/proc")
	mount --bind /dev "$root/dev" && mounts+=("$root/dev")
}

unmount_all() {
	local mount
	for mount in "${mounts[@]}"; do umount "$mount" || umount -l "$mount"; done
	mounts=()
}
